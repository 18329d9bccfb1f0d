"""Kubernetes' time stamps (RFC 3339, whole seconds, mostly UTC), and seconds since 1970. Reads no clock."""

import datetime


def stamp(seconds: float, zone: datetime.tzinfo = datetime.UTC) -> str:
    """The time stamp of `seconds` since 1970; fractions are dropped, as metav1.Time drops them."""
    text = datetime.datetime.fromtimestamp(int(seconds), zone).isoformat()
    return text.replace("+00:00", "Z")


def seconds(text: str | None) -> float | None:
    """The seconds since 1970 of a time stamp; None for None and for what is none."""
    if text is None:
        return None
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
