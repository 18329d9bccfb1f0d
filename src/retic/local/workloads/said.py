"""A fault of a field before it is known whose: what `fields` and `fields_pods` make."""

import msgspec

KEEP = "keep it for the cluster"
GATEWAY = "write a Gateway of class retic to reach it from this machine"


class Said(msgspec.Struct, frozen=True):
    """A fault without its object; `path` is relative to whatever was asked about."""

    path: str
    message: str
    fix: str = KEEP
    code: str = "RT0507"


def changed(path: str, message: str, fix: str) -> Said:
    """One that makes pods or traffic others than in a cluster."""
    return Said(path, message, fix, "RT0503")
