"""Asking whether the proxies have heard: once, for a while, and never in vain."""

import asyncio
import json

from retic.local.cluster import heard


async def served(path, answer):
    asked = []

    async def serve(reader, writer):
        asked.append(json.loads(await reader.readline()))
        await answer()
        writer.write(b'{"answer":{"ready":true}}\n')
        await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(serve, path), asked


async def test_it_returns_when_the_control_plane_answers(tmp_path):
    known = asyncio.Event()
    server, asked = await served(tmp_path / "control", known.wait)
    async with server:
        waiting = asyncio.create_task(heard.everywhere(tmp_path / "control", 60))
        while not asked:
            await asyncio.sleep(0)
        assert asked == [{"ask": "converged", "seconds": 60}]
        assert not waiting.done()
        known.set()
        await waiting


async def test_nobody_waits_for_more_than_that(tmp_path):
    known = asyncio.Event()
    server, asked = await served(tmp_path / "control", known.wait)
    async with server:
        await heard.everywhere(tmp_path / "control", 1)
        known.set()
    assert asked == [{"ask": "converged", "seconds": 1}]


async def test_a_control_plane_that_is_away_is_not_waited_for(tmp_path):
    await heard.everywhere(tmp_path / "control", 60)
    (tmp_path / "left").touch()
    await heard.everywhere(tmp_path / "left", 60)
