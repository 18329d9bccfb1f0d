"""What an Envoy still serves: its connections, counted, and asked to end; the clusters and memory that it uses.

Nothing here opens or closes anything: Envoy is asked on its admin page.
"""

import asyncio
import contextlib
import pathlib
from collections.abc import Iterable

import msgspec

from retic.node import admin

LOOK = 0.5  # seconds between counts
_ACTIVE = "downstream_cx_active"
_USED = "upstream_cx_active"


async def until_empty(socket: pathlib.Path, seconds: float) -> int:
    """Ask for an end of all connections, and wait for it; how many were left after so many seconds.

    HTTP connections are told to end after their next request; others end when their peers end them. Listeners
    stay open: what waits in their queues is served. AdminError when Envoy does not answer.
    """
    await admin.get(socket, "/drain_listeners?graceful&skip_exit", method="POST")
    deadline = asyncio.get_running_loop().time() + seconds
    while left := await connections(socket):
        pause = min(LOOK, deadline - asyncio.get_running_loop().time())
        if pause <= 0:
            return left
        await asyncio.sleep(pause)
    return 0


async def connections(socket: pathlib.Path) -> int:
    """How many connections its listeners hold, the admin page's apart. AdminError when Envoy does not answer."""
    found = await _stats(socket, rf"^listener\..*\.{_ACTIVE}$")
    return sum(value for name, value in found.items() if not name.startswith(("listener.admin.",)) and _whole(name))


async def used(socket: pathlib.Path, clusters: Iterable[str]) -> list[str]:
    """Those of the clusters that there are connections to, or were within the time that idle ones are kept."""
    try:
        found = await _stats(socket, rf"^cluster\..*\.{_USED}$")
    except admin.AdminError:
        return []
    busy = {name for name, value in found.items() if value}
    return sorted(name for name in clusters if f"cluster.{_plain(name)}.{_USED}" in busy)


async def memory(socket: pathlib.Path) -> int:
    """Bytes that it has allocated. AdminError when Envoy does not answer."""
    return (await _stats(socket, r"^server\.memory_allocated$")).get("server.memory_allocated", 0)


async def live(socket: pathlib.Path) -> None:
    """Wait until it has loaded what it was given at its start, and serves."""
    while True:
        with contextlib.suppress(admin.AdminError):
            return await _ready(socket)
        await asyncio.sleep(LOOK / 10)


async def _ready(socket: pathlib.Path) -> None:
    await admin.get(socket, "/ready")  # 503 before (envoy.admin.v3.ServerInfo.State)


def _plain(cluster: str) -> str:
    """As a cluster's name stands in names of statistics (Envoy's Utility::sanitizeStatsName)."""
    return cluster.replace("://", "_").replace(":/", "_").replace(":", "_")


def _whole(name: str) -> bool:
    """Whether it counts a listener's connections, not those of one of its worker threads."""
    return ".worker_" not in name


async def _stats(socket: pathlib.Path, pattern: str) -> dict[str, int]:
    text = await admin.get(socket, f"/stats?format=json&filter={_quoted(pattern)}")
    listed = msgspec.json.decode(text)["stats"]
    return {one["name"]: int(one["value"]) for one in listed if "name" in one}


def _quoted(pattern: str) -> str:
    return pattern.replace("\\", "%5C").replace("^", "%5E").replace("*", "%2A").replace("$", "%24")
