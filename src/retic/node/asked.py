"""`python -m retic.node.asked FOLDER`: passes questions on to the agent with that folder, for whoever may run it here.

Commands of a user run it in the containers of agents on a cluster; so they need no port. One JSON object a line of the
standard input asks: as `reports` says, or `{"numbers": true}`, which answers `{"numbers": TEXT}`: what Envoy has
counted, its Prometheus page (`telemetry.readings`) compressed by zlib, in base64. One line of the standard output
answers, or `{"error": TEXT}`; a `follow` lines until the asker leaves or the agent does, which ends the command.
Questions are answered one after the other. An empty line asks nothing: it says that somebody is still there.

It ends with its input, or when nothing came by it for `SILENCE` seconds: the container's runtime does not end it when
its asker has gone. With it ends what it asks for, such as the reporting of every request.
"""

import argparse
import asyncio
import base64
import os
import pathlib
import stat
import sys
import zlib
from typing import TextIO

import msgspec

from retic.node import admin, sockets
from retic.telemetry import readings

SILENCE = 20.0
"""So many seconds without a line end it; an asker sends one at least every quarter of that."""
_SECONDS = 10.0  # for an answer
_CLOSING = 1.0  # seconds for what was answered last to be read
_LEFT = 3  # the exit code when nobody is there any more


class _Question(msgspec.Struct, frozen=True):
    """What is to be known of one; the agent looks at the rest."""

    numbers: bool = False
    follow: msgspec.Raw = msgspec.Raw()


class Asked:
    """Questions come by `reader`, answers go to `writer`; `folder` is the agent's."""

    def __init__(
        self, folder: pathlib.Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        silence: float = SILENCE,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._reader = reader
        self._writer = writer
        self._silence = silence
        self._questions: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self) -> int:
        """Answer until the questions or the agent's answers end. The exit code."""
        listening = asyncio.create_task(self._listen())
        answering = asyncio.create_task(self._answer())
        try:
            await asyncio.wait({listening, answering}, return_when=asyncio.FIRST_COMPLETED)
            return listening.result() if listening.done() else answering.result()
        except OSError:  # whoever reads the answers has gone
            return _LEFT
        finally:
            for task in (listening, answering):
                task.cancel()
            await asyncio.gather(listening, answering, return_exceptions=True)

    async def _listen(self) -> int:
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    line = await self._reader.readline()
            except (TimeoutError, ValueError):  # nobody is there, or a line is too long
                return _LEFT
            if not line:
                return 0
            if line.strip():
                self._questions.put_nowait(line)

    async def _answer(self) -> int:
        while True:
            line = await self._questions.get()
            try:
                question = msgspec.json.decode(line, type=_Question)
                if question.follow:
                    await self._follow(line)
                    return 0
                answer = await (self._numbers() if question.numbers else self._ask(line))
            except (OSError, ValueError) as error:
                answer = msgspec.json.encode({"error": str(error) or "the agent does not answer"}) + b"\n"
            await self._tell(answer)

    async def _numbers(self) -> bytes:
        page = await admin.get(self._folder / "admin.sock", readings.PATH, seconds=_SECONDS)
        packed = base64.b64encode(await asyncio.to_thread(zlib.compress, page, 1))
        return msgspec.json.encode({"numbers": packed.decode()}) + b"\n"

    async def _ask(self, line: bytes) -> bytes:
        async with asyncio.timeout(_SECONDS):
            answer = await sockets.pass_on(self._folder / "reports.sock", line)
        if not answer:
            raise OSError("the agent went away before it answered")
        return answer

    async def _follow(self, line: bytes) -> None:
        reader, writer = await asyncio.open_unix_connection(
            str(self._folder / "reports.sock"), limit=sockets.MOST_BYTES
        )
        try:
            writer.write(line)
            while said := await reader.readline():
                await self._tell(said)
        finally:
            writer.close()

    async def _tell(self, line: bytes) -> None:
        self._writer.write(line)
        await self._writer.drain()


async def _run(folder: pathlib.Path) -> int:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=sockets.LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), sys.stdout
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        return await Asked(folder, reader, writer).run()
    finally:
        writer.close()
        try:
            async with asyncio.timeout(_CLOSING):
                await writer.wait_closed()
        except TimeoutError:
            transport.abort()
        except OSError:
            pass  # whoever reads has gone


def main() -> int:
    """0 when the asker or the agent has ended it, 3 when nobody is there any more, 2 where nobody can be."""
    parser = argparse.ArgumentParser(prog="retic.node.asked")
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    if not all(map(_speaks, (sys.stdin, sys.stdout))):
        print("its standard input and output are to be pipes", file=sys.stderr)
        return 2
    code = asyncio.run(_run(arguments.folder))
    if code == _LEFT:
        print(f"nobody was there for {SILENCE:g} s", file=sys.stderr)
    return code


def _speaks(file: TextIO) -> bool:
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


if __name__ == "__main__":
    sys.exit(main())
