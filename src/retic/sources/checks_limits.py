"""Rules between the fields of a RateLimit."""

from collections.abc import Iterator

from retic.objects import gateway, limits
from retic.sources import checks_routes, validate
from retic.sources.checks_core import fault

MOST_LIMITS, MOST_MATCHES = 32, 16
"""Of one RateLimit, and of one of its limits: each is compared with every request."""
_GROUPS = {"Service": (None, "", "core")}


def rate_limit(value: limits.RateLimit) -> Iterator[validate.Fault]:
    """A RateLimit."""
    spec = value.spec
    if spec.selector is not None and spec.target_refs:
        yield fault("spec.selector", "stands beside targetRefs", "keep one of them")
    for i, target in enumerate(spec.target_refs):
        yield from _target(target, f"spec.targetRefs[{i}]")
    if not 1 <= len(spec.limits) <= MOST_LIMITS:
        yield fault("spec.limits", f"has {len(spec.limits)} entries", f"write 1 to {MOST_LIMITS}")
    for i, each in enumerate(spec.limits):
        yield from _limit(each, f"spec.limits[{i}]")


def _target(target: limits.LimitTarget, path: str) -> Iterator[validate.Fault]:
    wanted = _GROUPS.get(target.kind, (None, gateway.GROUP))
    if target.group not in wanted:
        fix = f'remove group, or write group: "{wanted[-1] if target.kind != "Service" else ""}"'
        yield fault(f"{path}.group", f"is {target.group}, where there is no {target.kind}", fix)
    if target.section_name and target.kind != "HTTPRoute":
        fix = "remove it, or name an HTTPRoute, whose rules have names"
        yield fault(f"{path}.sectionName", f"names a part of a {target.kind}, which is limited as a whole", fix)


def _limit(each: limits.Limit, path: str) -> Iterator[validate.Fault]:
    if len(each.matches) > MOST_MATCHES:
        yield fault(f"{path}.matches", f"has {len(each.matches)} entries", f"write {MOST_MATCHES} at most")
    for i, match in enumerate(each.matches):
        yield from checks_routes.path_match(match.path, f"{path}.matches[{i}].path")
