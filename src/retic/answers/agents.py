"""The agents of a laptop's mesh, asked for what their proxies have reported: by the sockets in its state folder."""

import asyncio
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from retic.answers import responses
from retic.control import admin
from retic.explain.request.world import World

_SECONDS = 5.0
_LONGEST = 1 << 24  # bytes of an answer; an agent keeps 4 MiB


def responses_of(folder: pathlib.Path, world: Callable[[], World]) -> responses.Responses:
    """Of the mesh in that folder."""

    def proxies() -> list[str]:
        return list(admin.proxies(folder).values())

    async def ask(proxy: str, question: Mapping[str, Any]) -> bytes:
        agent = next((agent for agent, name in admin.proxies(folder).items() if name == proxy), "")
        return await _line(folder / "agents" / agent / "reports.sock", question)

    return responses.Responses(ask, proxies, world)


async def _line(socket: pathlib.Path, question: Mapping[str, Any]) -> bytes:
    """The agent's answer. OSError when none comes in time."""
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LONGEST)
            try:
                writer.write(msgspec.json.encode(question) + b"\n")
                return await reader.readline()
            finally:
                writer.close()
    except (TimeoutError, ValueError) as error:
        raise OSError(f"{socket} does not answer") from error
