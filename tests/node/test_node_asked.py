"""Questions passed on to an agent by a command in its container: the answers, and that nothing outlasts its asker."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import zlib

import pytest

from retic.node import asked, sockets
from retic.testing import agent_ends, wait

POD = "0f2d-uid"
PIPE = asyncio.subprocess.PIPE


@pytest.fixture
async def agent(tmp_path):
    async with agent_ends.Agent(tmp_path / "agent", [POD, "another"]) as made:
        yield made


@pytest.fixture
async def command(agent):
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "retic.node.asked", str(agent.folder), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    yield made
    if made.returncode is None:
        made.kill()
    await made.wait()


async def answer(command, question):
    command.stdin.write(json.dumps(question).encode() + b"\n")
    return json.loads(await asyncio.wait_for(command.stdout.readline(), 20))


async def test_questions_are_answered_one_after_the_other(agent, command):
    agent.take(agent_ends.request(1), agent_ends.request(2, code=404, details="route_not_found"))
    wanted = agent_ends.answer_id(1)
    command.stdin.write(json.dumps({"find": wanted}).encode() + b'\n\n{"failed": 1}\n')
    found = json.loads(await asyncio.wait_for(command.stdout.readline(), 20))
    assert [entry["answer"] for entry in found["entries"]] == [wanted]
    assert found["kept"] == 2
    failed = json.loads(await asyncio.wait_for(command.stdout.readline(), 20))
    assert [entry["code"] for entry in failed["entries"]] == [404]
    assert await answer(command, {"failed": 0}) == {"entries": []}
    command.stdin.close()
    assert await asyncio.wait_for(command.wait(), 20) == 0
    assert await command.stderr.read() == b""


async def test_what_envoy_has_counted(agent, command):
    agent.page = agent_ends.PAGE % 7 * 5000
    found = await answer(command, {"numbers": True})
    assert zlib.decompress(base64.b64decode(found["numbers"])).decode() == agent.page


async def test_requests_are_reported_as_long_as_somebody_is_there(agent, command):
    assert await answer(command, {"follow": {"pods": [POD]}}) == {"following": True}
    assert agent.switched == {POD}
    for number, pod in enumerate((POD, "another", POD)):
        agent.take(agent_ends.request(number, code=200, details="via_upstream", pod=pod, path=f"/{number}"))
    told = [json.loads(await asyncio.wait_for(command.stdout.readline(), 20))["entry"]["path"] for _ in range(2)]
    assert told == ["/0", "/2"]
    command.stdin.close()
    assert await asyncio.wait_for(command.wait(), 20) == 0
    await wait.until_async(lambda: not agent.switched, "switched off")


async def test_an_agent_that_leaves_ends_the_command(agent, command):
    async def leaving(reader, writer):
        await reader.readline()
        writer.write(b'{"following":true}\n{"dropped":3}\n')
        writer.close()

    server = await sockets.serve(agent.folder / "reports.sock", leaving)
    assert await answer(command, {"follow": {"pods": None}}) == {"following": True}
    assert await command.stdout.read() == b'{"dropped":3}\n'
    assert await asyncio.wait_for(command.wait(), 20) == 0
    server.close()


@pytest.mark.parametrize(("question", "words"), [
    ({}, "ask one of find, failed, follow"),
    ({"find": 7}, "Expected `str | null`"),
    ("nothing", "Expected `object`"),
    ({"numbers": "yes"}, "Expected `bool`"),
])  # fmt: skip
async def test_what_is_no_question(agent, command, question, words):
    assert words in (await answer(command, question))["error"]
    assert await answer(command, {"failed": 0}) == {"entries": []}


@pytest.mark.parametrize("question", [{"failed": 1}, {"follow": {"pods": None}}, {"numbers": True}])
async def test_nobody_serves(agent, command, question):
    for name in ("reports.sock", "admin.sock"):
        (agent.folder / name).unlink()
    assert (await answer(command, question))["error"]
    await agent.serve()
    assert await answer(command, {"failed": 0}) == {"entries": []}


@pytest.fixture
async def piped(agent):
    """The command's part in this process, with little patience: what it reads from and writes to."""
    ends = [os.pipe() for _ in range(2)]
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ends[0][0], "rb"))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(ends[1][1], "wb")
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    with os.fdopen(ends[0][1], "wb", buffering=0) as into, os.fdopen(ends[1][0], "rb", buffering=0) as out:
        yield asked.Asked(agent.folder, reader, writer, silence=8.0), into, out
    if not transport.is_closing():
        transport.abort()


async def test_it_ends_when_nobody_is_there_and_its_input_is_open(agent, piped):
    part, into, _ = piped
    running = asyncio.create_task(part.run())
    into.write(b'{"follow": {"pods": null}}\n')
    await wait.until_async(lambda: agent.switched, "reported")
    for _ in range(9):
        await asyncio.sleep(1)
        into.write(b"\n")
    assert not running.done()
    assert await asyncio.wait_for(running, 20) == 3
    await wait.until_async(lambda: not agent.switched, "switched off")


async def test_it_ends_though_nobody_reads_what_it_says(agent, piped):
    part, into, _ = piped
    running = asyncio.create_task(part.run())
    into.write(b'{"follow": {"pods": null}}\n')
    await wait.until_async(lambda: agent.switched, "reported")
    path = "/" + "x" * 1000
    agent.take(*(agent_ends.request(n, code=200, details="via_upstream", pod=POD, path=path) for n in range(900)))
    assert await asyncio.wait_for(running, 20) == 3
    await wait.until_async(lambda: not agent.switched, "switched off")


def test_it_takes_pipes_only(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "retic.node.asked", str(tmp_path)], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "its standard input and output are to be pipes\n"
