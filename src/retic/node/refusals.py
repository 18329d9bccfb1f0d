"""What STRICT would refuse, pod by pod, as the node's Envoys count it in PERMISSIVE: requests and connections.

Envoy counts from its own beginning; here the sum goes on when Envoy is replaced, and begins with the agent.
"""

import datetime
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
import structlog

from retic.identity import clock, report
from retic.node import admin

_PATH = "/stats?format=json&filter=rbac%5C.strict%5C..*shadow_denied$"
_NAME = re.compile(r"rbac\.strict\.([A-Za-z0-9_-]+)\.shadow_denied$")
_log = structlog.get_logger("retic.node")


class _Stat(msgspec.Struct, frozen=True):
    name: str = ""
    value: int = 0


class _Stats(msgspec.Struct, frozen=True):
    stats: tuple[_Stat, ...] = ()


class Refusals:
    """`sockets` gives the admin sockets of the Envoys that run."""

    def __init__(self, sockets: Callable[[], Iterable[pathlib.Path]], time: clock.Clock) -> None:
        self._sockets = sockets
        self._time = time
        self._seen: dict[pathlib.Path, Counter[str]] = {}
        self._sums: Counter[str] = Counter()
        self._last: dict[str, datetime.datetime] = {}

    async def look(self, uids: Iterable[str]) -> tuple[report.Refusable, ...]:
        """Of these pods, those where something would have been refused; others are forgotten."""
        for socket in self._sockets():
            try:
                self._add(socket, parse(await admin.get(socket, _PATH)))
            except (OSError, msgspec.DecodeError) as error:
                _log.info("what STRICT would refuse is not counted now", reason=str(error))
        known = set(uids)
        for uid in self._sums.keys() - known:
            del self._sums[uid]
            self._last.pop(uid, None)
        return tuple(
            report.Refusable(uid, self._sums[uid], self._last[uid].strftime("%Y-%m-%dT%H:%M:%SZ"))
            for uid in sorted(self._sums)
        )

    def _add(self, socket: pathlib.Path, counts: Counter[str]) -> None:
        before = self._seen.get(socket, Counter())
        for uid, number in counts.items():
            # Fewer than before: another Envoy has taken the place.
            if more := number - before[uid] if number >= before[uid] else number:
                self._sums[uid] += more
                self._last[uid] = self._time.now().astimezone(datetime.UTC)
        self._seen[socket] = counts


def parse(answer: bytes) -> Counter[str]:
    """Sums by the pods' uids, of Envoy's statistics as JSON; zeroes are left out. msgspec.DecodeError."""
    found: Counter[str] = Counter()
    for one in msgspec.json.decode(answer, type=_Stats).stats:
        if one.value and (name := _NAME.search(one.name)):
            found[name[1]] += one.value
    return found
