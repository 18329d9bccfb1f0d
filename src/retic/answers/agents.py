"""The agents of a mesh as who asks them for what their proxies report; and those of a laptop's, by their sockets."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

import msgspec

from retic.control import admin

_SECONDS = 5.0
_LONGEST = 1 << 24  # bytes of an answer; an agent keeps 4 MiB


class Agents(Protocol):
    """Wherever they are. Questions and answers are those of node/reports.py."""

    pause: float
    """Seconds between two looks at which there are, and two attempts to reach one."""

    async def names(self) -> Mapping[str, str]:
        """How a user names their proxies, each by what stands for the agent here."""
        ...

    async def ask(self, agent: str, question: Mapping[str, Any]) -> bytes:
        """The line that it answers. OSError when it does not."""
        ...

    def follow(self, agent: str, question: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """Lines until it leaves, or the caller does. OSError when it cannot be reached."""
        ...


class Sockets:
    """Of the mesh in that folder."""

    pause = 0.1

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    async def names(self) -> Mapping[str, str]:
        """By the agents' folders."""
        return admin.proxies(self._folder)

    async def ask(self, agent: str, question: Mapping[str, Any]) -> bytes:
        """The agent's answer. OSError when none comes in time."""
        try:
            async with asyncio.timeout(_SECONDS), contextlib.aclosing(self.follow(agent, question)) as lines:
                return await anext(lines, b"")
        except (TimeoutError, ValueError) as error:
            raise OSError(f"the agent {agent} does not answer") from error

    async def follow(self, agent: str, question: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """Its lines, each of at most 16 MiB."""
        socket = self._folder / "agents" / agent / "reports.sock"
        reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LONGEST)
        try:
            writer.write(msgspec.json.encode(question) + b"\n")
            while line := await reader.readline():
                yield line
        finally:
            writer.close()
