"""DaemonSets: one pod on each node that the template's node selector allows.

An update ends at most `maxUnavailable` (1) at a time; `maxSurge` is not carried out: two pods of a
DaemonSet never stand on one node here.
"""

import msgspec

from retic.local.workloads import accounts, names, placing, pods, replicas, stateful, world
from retic.objects import pods as structs
from retic.objects import workloads

GENERATION = "pod-template-generation"
replace = msgspec.structs.replace


def daemon_set(bench: world.Bench, owner: workloads.DaemonSet) -> None:
    """Make the missing, end those on nodes that do not fit any more, and update some."""
    key = pods.ref(owner)
    digest = names.template_hash(owner.spec.template)
    note = bench.notes.get(key, world.Note())
    if note.revision != digest:
        bench.note(key, revision=digest, count=note.count + 1)
    found: dict[str, structs.Pod] = {}
    for pod in bench.owned("Pod", owner):
        if pods.terminal(pod):
            bench.end(pod)
        if pod.spec.node_name is not None:
            found[pod.spec.node_name] = pod
    wanted = [node for node in bench.nodes if placing.fits(bench, owner.spec.template.spec, node)]
    for node, pod in found.items():
        if node not in wanted:
            bench.end(pod)
    for node in wanted:
        if node not in found and accounts.exists(bench, owner, owner.spec.template.spec):
            _create(bench, owner, node, digest)
    _update(bench, owner, {node: pod for node, pod in found.items() if node in wanted}, len(wanted), digest)


def _create(bench: world.Bench, owner: workloads.DaemonSet, node: str, digest: str) -> None:
    name = names.generated(f"{owner.metadata.name}-", owner.metadata.namespace, bench.serial(pods.ref(owner)))
    template = replace(owner.spec.template, spec=replace(owner.spec.template.spec, node_name=node))
    labels = {stateful.REVISION: digest, GENERATION: str(bench.notes[pods.ref(owner)].count)}
    bench.create_pod(owner, template, name, owner.metadata.namespace, labels=labels)


def _update(
    bench: world.Bench, owner: workloads.DaemonSet, found: dict[str, structs.Pod], wanted: int, digest: str
) -> None:
    strategy = owner.spec.update_strategy
    if strategy is not None and strategy.type == "OnDelete":
        return
    rolling = strategy.rolling_update if strategy else None
    most = replicas.share(rolling.max_unavailable if rolling else None, wanted, default=1, up=True) or 1
    there = replicas.available(bench, list(found.values()), owner.spec.min_ready_seconds)
    room = most - (wanted - there)
    for node in sorted(found):
        pod = found[node]
        if pods.ending(pod) or pod.metadata.labels.get(stateful.REVISION) == digest:
            continue
        if not pods.ready(pod):
            bench.end(pod)
        elif room > 0:
            bench.end(pod)
            room -= 1
