"""How far the proxies are with one object, as a value, and what the condition `retic.dev/Live` says of it."""

import msgspec

from retic.kube import conditions


class Live(msgspec.Struct, frozen=True):
    """Of the proxies that are connected and concerned: how many have acknowledged what the object came to.

    `refused`: resources that one of them rejected.
    """

    live: int
    total: int
    refused: tuple[str, ...] = ()

    def __add__(self, other: "Live") -> "Live":
        return Live(self.live + other.live, self.total + other.total, self.refused + other.refused)


ALL = Live(1, 1)
"""Whoever it concerns has it."""


def condition(found: Live | None) -> conditions.Condition:
    """The condition; None is said when it is not known yet."""
    if found is None:
        return conditions.Condition(
            conditions.LIVE, None, "Pending", "the proxies have not been heard of yet", guessed=True
        )
    text = f"live on {found.live} of {found.total} proxies"
    if found.refused:
        return conditions.Condition(
            conditions.LIVE, False, "Refused", f"{text}; refused: {', '.join(sorted(set(found.refused))[:3])}"
        )
    if not found.total:
        return conditions.Condition(conditions.LIVE, False, "NoProxies", "no proxy is connected that it concerns")
    if found.live < found.total:
        return conditions.Condition(conditions.LIVE, False, "Pending", text)
    return conditions.Condition(conditions.LIVE, True, "Live", text, lasting=True)
