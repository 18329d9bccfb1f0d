"""Shares in a hundred as Envoy's fractions, to the millionth."""

from envoy.type.v3 import percent_pb2

_MILLION = 1_000_000


def fraction(share: float) -> percent_pb2.FractionalPercent:
    """`share` in a hundred."""
    return percent_pb2.FractionalPercent(
        numerator=round(share / 100 * _MILLION), denominator=percent_pb2.FractionalPercent.MILLION
    )
