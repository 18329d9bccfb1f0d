"""Ratios of interleaved pairs, and what may be said of them: nothing that their spread does not bear out."""

import statistics
from collections.abc import Sequence

import msgspec

ENOUGH = 10
"""Fewer pairs than this bear out nothing."""

MET, MISSED, UNKNOWN = "aim met", "AIM MISSED", "inconclusive"


class Spread(msgspec.Struct, frozen=True):
    """A sample: its size, least, quartiles and greatest."""

    n: int
    least: float
    lower: float
    median: float
    upper: float
    greatest: float

    def text(self, digits: int = 2) -> str:
        """`median (least; lower to upper)`."""
        return f"{self.median:.{digits}f} ({self.least:.{digits}f}; {self.lower:.{digits}f} to {self.upper:.{digits}f})"


def of(values: Sequence[float]) -> Spread:
    """The spread of at least one value; quartiles by linear interpolation, ends included."""
    if not values:
        raise ValueError("nothing was measured")
    if len(values) == 1:
        return Spread(1, *[values[0]] * 5)
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(len(values), min(values), lower, median, upper, max(values))


def ratios(of_these: Sequence[float], to_those: Sequence[float]) -> Spread:
    """The spread of the quotients of two series of one length, pair by pair."""
    return of([a / b for a, b in zip(of_these, to_those, strict=True)])


def against_one(ratio: Spread) -> str:
    """Whether a ratio is more or less than 1.0, as far as its quartiles say."""
    return _say(ratio, 1.0, below="less", above="more")


def against(value: Spread, aim: float) -> str:
    """Whether a value keeps to an upper bound, as far as its quartiles say."""
    return _say(value, aim, below=MET, above=MISSED)


def _say(value: Spread, line: float, *, below: str, above: str) -> str:
    if value.n < ENOUGH:
        return f"{UNKNOWN} (too few)"
    if value.lower > line:
        return above
    return below if value.upper <= line else UNKNOWN
