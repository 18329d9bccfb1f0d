"""How often somebody may do something: token buckets by peer, in bounded memory."""

import collections
from collections.abc import Callable

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """So many at once, and so many a second after that."""

    burst: float
    per_second: float


class _Bucket:
    def __init__(self, level: float, seen: float) -> None:
        self.level = level
        self.seen = seen


class Buckets:
    """One bucket a name, at most `most` of them: the one that was used longest ago is forgotten first."""

    def __init__(self, rate: Rate, now: Callable[[], float], *, most: int = 4096) -> None:
        self._rate = rate
        self._now = now
        self._most = most
        self._buckets: collections.OrderedDict[str, _Bucket] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str) -> bool:
        """Whether it may do it once more now."""
        now = self._now()
        bucket = self._buckets.pop(name, None) or _Bucket(self._rate.burst, now)
        self._buckets[name] = bucket
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        bucket.level = min(self._rate.burst, bucket.level + (now - bucket.seen) * self._rate.per_second)
        bucket.seen = now
        if bucket.level < 1:
            return False
        bucket.level -= 1
        return True
