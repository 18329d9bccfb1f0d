"""The filters of all stages of a slot: chains of RBAC filters, of which each request runs one.

Where a stage has a table (`dispatch`), a request shall meet few rules, and no more filters than if there were few. So
one matcher chooses among whole chains, by the callers of ALLOW, as long as little stands in all of them. What DENY's
table is about is asked before that, all of it at once: who begins with nothing in it meets only the rules that are in
no table. The others run the long chain, each of whose stages asks its own table.
"""

import math
from collections.abc import Iterable, Sequence

from envoy.config.core.v3 import extension_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2

from retic.envoy import authorization, counters, dispatch, packing, several
from retic.mesh import policy

Filter = extension_pb2.TypedExtensionConfig
Stage = authorization.Stage


def by_stages(
    name: str, before: Sequence[Filter], stages: Sequence[Stage], whose: str, after: Sequence[Filter] = ()
) -> Filter:
    """The slot of that name: the filters `before`, then the stages in their order, then those `after`. `whose` begins
    the counters of dry runs."""
    long = [*before, *(each for stage in stages for each in _tabled(stage, whose))]
    if after:  # each counts for itself: in several chains there would be several counts
        return several.filled(name, [*long, *after])
    last = stages[-1] if stages and stages[-1].table is not None else None
    guards = [stage.table for stage in stages if stage.table is not None and stage is not last]
    if (last is None and not guards) or not all(table.beginnings() for table in guards):
        return several.filled(name, long)
    short = [*before, *(_least(stage, whose) for stage in (stages[:-1] if last else stages))]
    if last is None or last.table is None:
        chosen = several.whatever(short)
    elif len(last.table.ways) * _weight(before, stages[:-1]) > dispatch.MOST_COPIES * sum(map(_number, stages)):
        chosen = several.whatever([*short, *_tabled(last, whose)])
    else:
        ways = {text: [*short, _some(last, met)] for text, met in last.table.ways.items()}
        chosen = several.longest(dispatch.looks_at(last.table.by), ways, [*short, _some(last, last.table.rest)])
    for table in guards:
        chosen = several.unless(dispatch.looks_at(table.by), table.beginnings(), long, chosen)
    return several.choosing(name, chosen)


def take(made: http_rbac_pb2.RBAC | network_rbac_pb2.RBAC, stage: Stage) -> None:
    """Give the filter the stage's rules."""
    if stage.enforced is not None:
        made.rules.CopyFrom(stage.enforced)
    if stage.dry is not None:
        made.shadow_rules.CopyFrom(stage.dry)


def _weight(before: Sequence[Filter], stages: Iterable[Stage]) -> float:
    """The rules that each short chain would hold again. Large expressions are never held so often."""
    answer = float(len(before))
    for stage in stages:
        met = stage.table.rest if stage.table else stage.enforced.policies if stage.enforced else ()
        answer += math.inf if _large(met) else len(stage.table.rest) if stage.table else _number(stage)
    return answer


def _large(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the rules that are large expressions: what is unreadable."""
    return tuple(name for name in names if name.startswith(authorization.UNREADABLE))


def _number(stage: Stage) -> int:
    return sum(len(rules.policies) for rules in (stage.enforced, stage.dry) if rules is not None)


def _least(stage: Stage, whose: str) -> Filter:
    """What a request meets that is in no way of the stage's table."""
    return _whole(stage, whose) if stage.table is None else _some(stage, stage.table.rest)


def _tabled(stage: Stage, whose: str) -> Iterable[Filter]:
    """The stage by its table, after a filter for what would be large in each of its ways."""
    if stage.table is None:
        return (_whole(stage, whose),)
    large = _large(stage.table.rest)

    def some(met: Iterable[str]) -> Filter:
        return _some(stage, (name for name in met if name not in large))

    ways = {text: some(met) for text, met in stage.table.ways.items()}
    looks_at = dispatch.looks_at(stage.table.by)
    table = several.by_beginning(stage.action.lower(), looks_at, ways, some(stage.table.rest))
    return (_some(stage, large), table) if large else (table,)


def _some(stage: Stage, met: Iterable[str]) -> Filter:
    whole = stage.enforced or rbac_pb2.RBAC()
    made = http_rbac_pb2.RBAC(
        rules_stat_prefix=f"{stage.action.lower()}.", rules=dispatch.part(whole, met)
    )
    return packing.typed(stage.action.lower(), made)


def _whole(stage: Stage, whose: str) -> Filter:
    made = http_rbac_pb2.RBAC(rules_stat_prefix=f"{stage.action.lower()}.")
    take(made, stage)
    if stage.dry is not None:
        made.shadow_rules_stat_prefix = counters.dry(whose, stage)
    made.track_per_rule_stats = stage.dry is not None or stage.action is policy.Action.AUDIT
    return packing.typed(stage.action.lower(), made)
