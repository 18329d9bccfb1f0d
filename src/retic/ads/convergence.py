"""How long a change takes until every proxy has answered. Refuses to ask all streams at each message: it counts."""

import bisect
import time
from collections.abc import Callable, Hashable

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets, in seconds; a last one has no bound."""


class Convergence:
    """`tell` of each stream whether it waits for its client. From the first that waits until none does is one time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: set[Hashable] = set()
        self._since = 0.0
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def tell(self, stream: Hashable, *, idle: bool) -> None:
        """A stream has news, or has gone, which is as if it waited for nothing."""
        if not idle:
            if not self._waiting:
                self._since = self._now()
            self._waiting.add(stream)
        elif stream in self._waiting:
            self._waiting.discard(stream)
            if not self._waiting:
                took = self._now() - self._since
                self.counts[bisect.bisect_left(BOUNDS, took)] += 1
                self.sum += took
