"""The agent's socket for what its Envoys report: one JSON object a line asks, lines of JSON answer.

`{"find": ID}` and `{"failed": N}` answer `{"entries": [...]}`: what is kept of that stream, and the newest that failed
or were refused; the first also says how many are kept, and when the oldest of them was (`kept`, `oldest`).
`{"follow": {"pods": [UID...]}}` answers `{"following": true}` and then `{"entry": ...}` for each request as it ends, of
these pods, or of all with `null`; `{"dropped": N}` when N more came too fast. It goes on until the asker leaves, and
only so long are these requests reported at all. What fails answers `{"error": TEXT}`. The socket's mode (0600, in a
folder of 0700) is its whole access control.
"""

import asyncio
import pathlib
from collections.abc import Callable, Iterable

import msgspec

from retic.node import sockets, switches
from retic.telemetry import intake

MOST_ENTRIES = 1000


class Follow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose requests: pods by uid, or all (None). A gateway's agent has one only, of the uid "". With `failed` also
    what failed or was refused of all others, which is reported anyway."""

    pods: tuple[str, ...] | None = None
    failed: bool = False


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of them."""

    find: str | None = None
    failed: int | None = None
    follow: Follow | None = None


class Reports:
    """`pods` are the uids of all pods there are now; a gateway's is ""."""

    def __init__(
        self, taken: intake.Intake, switch: switches.Switches, pods: Callable[[], Iterable[str]]
    ) -> None:
        self._taken = taken
        self._switch = switch
        self._pods = pods

    async def serve(self, socket: pathlib.Path) -> asyncio.Server:
        """Serve on the socket."""
        return await sockets.serve(socket, self._connected)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                try:
                    asked = msgspec.json.decode(line, type=Request)
                    if asked.follow is not None:
                        await self._follow(asked.follow, reader, writer)
                        return
                    answer = self._answer(asked)
                except ValueError as error:
                    answer = {"error": str(error)}
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except (OSError, ValueError):  # it has gone, or its line is too long
            return
        finally:
            writer.close()

    def _answer(self, asked: Request) -> dict[str, object]:
        if asked.find is not None:
            found = self._taken.find(asked.find)
            return {"entries": found, "kept": self._taken.kept, "oldest": self._taken.oldest}
        if asked.failed is not None:
            most = max(0, min(asked.failed, MOST_ENTRIES))
            return {"entries": [entry for _, entry in zip(range(most), self._taken.failed(), strict=False)]}
        raise ValueError("ask one of find, failed, follow")

    async def _follow(
        self, asked: Follow, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        chosen = frozenset(self._pods() if asked.pods is None else asked.pods)
        subscription = self._taken.subscribe(
            lambda entry: asked.pods is None or entry.pod in chosen or (asked.failed and entry.failed)
        )
        gone = asyncio.create_task(reader.read(1))
        try:
            with self._switch.on(chosen):
                await self._switch.settled()
                writer.write(b'{"following":true}\n')
                telling = asyncio.create_task(_tell(subscription, writer))
                await asyncio.wait([gone, telling], return_when=asyncio.FIRST_COMPLETED)
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
        finally:
            gone.cancel()
            subscription.close()


async def _tell(subscription: intake.Subscription, writer: asyncio.StreamWriter) -> None:
    dropped = 0
    async for entry in subscription:
        writer.write(msgspec.json.encode({"entry": entry}) + b"\n")
        if subscription.dropped != dropped:
            writer.write(msgspec.json.encode({"dropped": subscription.dropped - dropped}) + b"\n")
            dropped = subscription.dropped
        await writer.drain()
