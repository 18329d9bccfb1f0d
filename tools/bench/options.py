"""How long and how often: the full run and the quick one, which shows that things work and proves nothing."""

import msgspec


class Options(msgspec.Struct, frozen=True):
    """Rounds are interleaved repetitions; `seconds` is one load's duration, `scan_seconds` that of one scan."""

    rounds: int = 10
    seconds: int = 2
    scan_seconds: int = 9
    samples: int = 10
    pods: tuple[int, ...] = (1, 10, 100)
    services: tuple[int, ...] = (100, 1_000, 10_000)


FULL = Options()
QUICK = Options(rounds=2, seconds=1, scan_seconds=2, samples=3, pods=(1, 10), services=(100, 1_000))
