"""The objects as everybody sees them, and the watch stream that carries each change of them."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from retic import findings
from retic.sources import codec, model

# Bytes that a reader may leave unread before it is cut off; it connects again and lists anew.
_PATIENCE = 64 << 20

Listener = Callable[[findings.Ref, Any | None], None]


class Published:
    """All objects, given and made. `listeners` are told of each that changes."""

    def __init__(self) -> None:
        self.objects: dict[findings.Ref, Any] = {}
        self.positions: dict[findings.Ref, model.Position] = {}
        self.found: tuple[findings.Finding, ...] = ()
        self.listeners: list[Listener] = []
        self._readers: set[asyncio.StreamWriter] = set()
        self._complete = asyncio.Event()

    def update(
        self,
        objects: Mapping[findings.Ref, Any],
        positions: Mapping[findings.Ref, model.Position],
        found: tuple[findings.Finding, ...],
    ) -> None:
        """Make this the state; only what differs is told."""
        lines: list[bytes] = []
        for ref in self.objects.keys() - objects.keys():
            lines.append(codec.event(codec.Type.DELETED, self.objects[ref]))
            self._tell(ref, None)
        for ref, value in objects.items():
            old, place = self.objects.get(ref), positions.get(ref)
            if old == value and place == self.positions.get(ref):
                continue
            kind = codec.Type.ADDED if old is None else codec.Type.MODIFIED
            lines.append(codec.event(kind, value, place))
            if old != value:
                self._tell(ref, value)
        if found != self.found:
            lines.append(codec.report(found))
        self.objects, self.positions, self.found = dict(objects), dict(positions), found
        self._complete.set()
        if lines:
            self._send(b"".join(lines))

    def _tell(self, ref: findings.Ref, value: Any | None) -> None:
        for listener in self.listeners:
            listener(ref, value)

    def _send(self, data: bytes) -> None:
        for writer in list(self._readers):
            if writer.transport.get_write_buffer_size() > _PATIENCE:
                self._readers.discard(writer)
                writer.transport.abort()
            else:
                writer.write(data)

    async def watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one watcher until it goes: the list, SYNCED, then each change.

        Nothing is sent before the first `update`: an empty list would pass for an empty mesh.
        """
        await self._complete.wait()
        lines = [codec.report(self.found)]
        lines += [
            codec.event(codec.Type.ADDED, value, self.positions.get(ref))
            for ref, value in self.objects.items()
        ]
        writer.write(b"".join([*lines, codec.SYNCED]))
        self._readers.add(writer)
        try:
            await reader.read(1)
        finally:
            self._readers.discard(writer)
