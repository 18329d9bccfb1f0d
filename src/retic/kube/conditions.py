"""Conditions of a status: what is wanted, and how it is merged into what stands there already.

Pure. The rules are those of metav1.Condition and of the Gateway API's notes for implementors: conditions of other
types stay where they are, the time of a transition changes with the status alone, and what was observed of a newer
generation is never overwritten.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]

LIVE = "retic.dev/Live"
LONGEST_MESSAGE = 1024  # characters; a condition may have 32768


class Condition(msgspec.Struct, frozen=True):
    """One condition. `holds`: None is Unknown.

    `guessed`: it is not known yet, and what stands there for this generation is to be believed. `lasting`: where
    it holds already for this generation, not even its message is to change.
    """

    type: str
    holds: bool | None
    reason: str
    message: str = ""
    guessed: bool = False
    lasting: bool = False

    @property
    def status(self) -> str:
        """As Kubernetes writes it."""
        return "Unknown" if self.holds is None else str(self.holds)


def merged(
    present: Iterable[Mapping[str, Any]],
    wanted: Iterable[Condition],
    *,
    generation: int,
    now: str,
    own: Collection[str] = (),
) -> list[Json]:
    """The conditions to write. `now` is RFC 3339 in whole seconds; `own` are types that go when nobody wants them."""
    by_type = {each.type: each for each in wanted}
    answer = []
    for old in present:
        name = str(old.get("type", ""))
        new = by_type.pop(name, None)
        if new is not None:
            answer.append(_next(old, new, generation, now))
        elif name not in own or _newer(old, generation):
            answer.append(dict(old))
    answer += [_made(each, generation, now) for each in by_type.values()]
    return answer


def _newer(old: Mapping[str, Any], generation: int) -> bool:
    return int(old.get("observedGeneration") or 0) > generation


def _next(old: Mapping[str, Any], new: Condition, generation: int, now: str) -> Json:
    same = (old.get("observedGeneration") or 0) == generation
    if _newer(old, generation) or (new.guessed and same):
        return dict(old)
    if new.lasting and same and old.get("status") == new.status:
        return dict(old)
    made = _made(new, generation, now)
    if old.get("status") == new.status and old.get("lastTransitionTime"):
        made["lastTransitionTime"] = old["lastTransitionTime"]
    return made


def _made(new: Condition, generation: int, now: str) -> Json:
    message = new.message if len(new.message) <= LONGEST_MESSAGE else new.message[: LONGEST_MESSAGE - 3] + "..."
    return {
        "type": new.type, "status": new.status, "reason": new.reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": now,
    }
