"""Kubernetes' time stamps: RFC 3339 in UTC with whole seconds, and seconds since 1970. Reads no clock."""

import datetime


def stamp(seconds: float) -> str:
    """The time stamp of `seconds` since 1970; fractions are dropped, as metav1.Time drops them."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str | None) -> float | None:
    """The seconds since 1970 of a time stamp; None for None and for what is none."""
    if text is None:
        return None
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
