"""The control plane's start: nothing is answered to proxies before everything is known."""

import asyncio
import contextlib

import pytest

from retic import wiring
from retic.control import config
from retic.sources import codec
from retic.testing import ports, wait


async def accepts(port):
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


@pytest.fixture
async def lists(tmp_path):
    """A laptop's cluster that takes its time with the list: the writers of those who asked."""
    asked = []

    async def serve(reader, writer):
        await reader.readline()
        asked.append(writer)

    server = await asyncio.start_unix_server(serve, str(tmp_path / "cluster.sock"))
    yield asked
    for writer in asked:
        writer.close()
    server.close()


async def test_proxies_are_answered_once_the_whole_list_is_there(tmp_path, lists):
    (tmp_path / "token.key").write_bytes(bytes(32))
    discovery, enrolment = ports.free(), ports.free()
    given = config.Config(folder=tmp_path, listen=f"127.0.0.1:{discovery}", enrol=f"127.0.0.1:{enrolment}")
    stop = asyncio.Event()
    running = asyncio.create_task(wiring.run(given, stop))
    await wait.until_async(lambda: lists and (tmp_path / "control.sock").exists(), "it has asked for the list")
    assert not await accepts(discovery)
    lists[0].write(codec.SYNCED)
    await wait.until_async(lambda: accepts(discovery), "discovery is served")
    await wait.until_async(lambda: accepts(enrolment), "enrolment is served")
    stop.set()
    await running


async def test_it_can_be_ended_while_it_waits_for_the_list(tmp_path, lists):
    (tmp_path / "token.key").write_bytes(bytes(32))
    stop = asyncio.Event()
    running = asyncio.create_task(wiring.run(config.Config(folder=tmp_path), stop))
    await wait.until_async(lambda: lists, "it has asked for the list")
    stop.set()
    async with asyncio.timeout(5):
        await running
