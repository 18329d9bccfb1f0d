"""The names of Envoy's counters of what policies would have done, both ways.

A filter counts for all its rules under a prefix that we choose, and for each rule under that prefix, `policy.` and the
rule's name; of connections for all rules together only, so that a policy that stands alone is named in the prefix.
Whoever owns a slot (a pod's uid, or a gateway as NS/NAME) is named where the count is for one of them only.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from retic.envoy import authorization
from retic.mesh import policy

_RULE = r"policy\.(?P<policy>[^/]+/[^/]+)/(?P<rule>[^/.]+)\."
_BEGIN = r"rbac\.(?:audit|custom(?:\.[0-9]+)?|dry\.(?P<owner>[^.]+)\.(?P<dry>\w+))\."
_NAME = re.compile(rf"{_BEGIN}(?:{_RULE})?(?P<what>\w+)$")
_FIRST, _MORE, _TCP = "allow", "more", "tcp"


def dry(owner: str, stage: "authorization.Stage", *, single: bool = False) -> str:
    """The prefix for what a stage's dry run counts. Where other policies allow already, one more refuses nothing."""
    action = stage.action.lower()
    if stage.action is policy.Action.ALLOW and stage.enforced is not None:
        action = _MORE
    return f"dry.{_plain(owner)}.{action}.{_single(stage.counted) if single else ''}"


def dry_custom(owner: str, policies: Sequence[policy.Policy], *, single: bool = False) -> str:
    """As `dry`, of CUSTOM policies."""
    return f"dry.{_plain(owner)}.custom.{_single(policies) if single else ''}"


def audited(stage: "authorization.Stage") -> str:
    """The prefix for connections that AUDIT policies match."""
    return f"audit.{_single(stage.counted)}"


def _single(policies: Sequence[policy.Policy]) -> str:
    """The only policy, as a rule's counter would name it."""
    one = policies[0].origin if len(policies) == 1 else None
    return f"policy.{one.namespace}/{one.name}/{_TCP}." if one else ""


def _plain(owner: str) -> str:
    return owner.replace(".", "_")


class Counts(msgspec.Struct, frozen=True):
    """By policies (NS/NAME): what their rules matched, and what these rules would have allowed. By owners: what no
    rule of a dry run's ALLOW policies allowed, where no other policy allows."""

    matched: dict[str, int] = {}
    allowed: dict[str, int] = {}
    refused: dict[str, int] = {}

    def of_owner(self, owner: str) -> int:
        """What would have been refused at a pod (its uid) or a gateway (NS/NAME)."""
        return self.refused.get(_plain(owner), 0)


def read(stats: Sequence[Mapping[str, int]]) -> Counts:
    """The counts in Envoys' statistics, summed."""
    found = Counts({}, {}, {})
    for each in stats:
        for name, value in each.items():
            if value and (said := _NAME.search(name)):
                into, key = _place(found, said)
                into[key] = into.get(key, 0) + value
    return found


def _place(found: Counts, said: "re.Match[str]") -> tuple[dict[str, int], str]:
    """Where a counter is added: to nothing that is kept, where it says nothing of a policy."""
    allowed, connections = said["what"].endswith("allowed"), said["rule"] == _TCP
    if said["dry"] in (_FIRST, _MORE):
        if allowed:
            return (found.allowed, said["policy"]) if said["policy"] else ({}, "")
        # A rule that allows refuses nothing by itself: all of them together do.
        whole = said["dry"] == _FIRST and (connections or not said["policy"])
        return (found.refused, said["owner"]) if whole else ({}, "")
    # Of requests only a rule that held counts, whatever its verdict; of connections, what would be refused.
    held = said["policy"] and not (connections and allowed)
    return (found.matched, said["policy"]) if held else ({}, "")
