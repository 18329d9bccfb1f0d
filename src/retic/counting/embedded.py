"""Counting in memory: for one control plane, which forgets all when it ends.

A limit has `MOST_WINDOWS` at most. Who comes beyond shares one with all others who do: nobody can make room for himself
by filling it, nor wipe out what another has used.
"""

import time
from collections.abc import Callable, Sequence

from retic.counting import store

MOST_WINDOWS = 10_000
SWEEP_SECONDS = 60.0
CROWDED_SECONDS = 1.0
"""How often windows that are over are looked for while a limit has too many."""
_SHARED = ""


class _Window:
    __slots__ = ("count", "ends")

    def __init__(self, ends: float) -> None:
        self.count = 0
        self.ends = ends


class Embedded:
    """Fulfils `store.Store`. `now` is a clock in seconds that never goes back."""

    def __init__(self, now: Callable[[], float] = time.monotonic, most: int = MOST_WINDOWS) -> None:
        self._now = now
        self._most = most
        self._limits: dict[str, dict[str, _Window]] = {}
        self._sweep_at = now() + SWEEP_SECONDS
        self._crowded_at = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._limits.values()))

    async def take(self, wants: Sequence[store.Want]) -> list[store.Taken]:
        """See `store.Store`; never fails."""
        now = self._now()
        if now >= self._sweep_at:
            self._sweep(now)
        windows = [self._window(want, now) for want in wants]
        full = [window.count >= want.requests for want, window in zip(wants, windows, strict=True)]
        if not any(each and want.enforced for each, want in zip(full, wants, strict=True)):
            for window in windows:
                window.count += 1
        return [
            store.Taken(not each, max(0, want.requests - window.count), window.ends - now)
            for want, window, each in zip(wants, windows, full, strict=True)
        ]

    async def look(self) -> None:
        """It always can."""

    async def close(self) -> None:
        """Forget everything."""
        self._limits.clear()

    def _window(self, want: store.Want, now: float) -> _Window:
        known = self._limits.setdefault(want.limit, {})
        found = known.get(want.key)
        if found is not None and found.ends > now:
            return found
        if found is None and len(known) >= self._most:
            if now >= self._crowded_at:
                self._crowded_at = now + CROWDED_SECONDS
                self._sweep(now)
                return self._window(want, now)
            return self._shared(known, want, now)
        known[want.key] = made = _Window(now + want.seconds)
        return made

    def _shared(self, known: dict[str, _Window], want: store.Want, now: float) -> _Window:
        found = known.get(_SHARED)
        if found is None or found.ends <= now:
            known[_SHARED] = found = _Window(now + want.seconds)
        return found

    def _sweep(self, now: float) -> None:
        self._sweep_at = now + SWEEP_SECONDS
        for name, known in list(self._limits.items()):
            left = {key: window for key, window in known.items() if window.ends > now}
            if left:
                self._limits[name] = left
            else:
                del self._limits[name]
