"""Adoption: which pods a controller counts as its own.

The rules are those of k8s.io/kubernetes/pkg/controller/controller_ref_manager.go: a pod without a controller
whose labels match is taken, one whose labels match no longer is let go. Taken pods are those that manifests
hold themselves. Left out: Deployments do not adopt ReplicaSets, DaemonSets and Jobs adopt nothing.
"""

from collections.abc import Callable

import msgspec

from retic.local.workloads import pods, world
from retic.objects import pods as structs
from retic.objects import workloads

replace = msgspec.structs.replace


def claim(
    bench: world.Bench,
    owner: workloads.ReplicaSet | workloads.StatefulSet,
    member: Callable[[structs.Pod], bool] = lambda _: True,
) -> list[structs.Pod]:
    """The owner's pods, after it has let go and taken what it must; `member`: which ones it could have at all."""
    selector = owner.spec.selector
    # What does not match its own template (RT0106) is no object in a cluster: it would let go all that it makes.
    if selector.matches(owner.spec.template.metadata.labels):
        for pod in bench.owned("Pod", owner):
            if not selector.matches(pod.metadata.labels):
                _let_go(bench, owner, pod)
        for pod in bench.orphans(owner.metadata.namespace):
            if pods.active(pod) and selector.matches(pod.metadata.labels) and member(pod):
                _take(bench, owner, pod)
    return bench.owned("Pod", owner)


def _take(bench: world.Bench, owner: workloads.ReplicaSet | workloads.StatefulSet, pod: structs.Pod) -> None:
    references = (*pod.metadata.owner_references, world.reference(owner))
    bench.put(replace(pod, metadata=replace(pod.metadata, owner_references=references)))
    if pods.ref(pod) in bench.given:
        bench.note(pods.ref(pod), done=owner.metadata.uid)


def _let_go(bench: world.Bench, owner: workloads.ReplicaSet | workloads.StatefulSet, pod: structs.Pod) -> None:
    references = tuple(item for item in pod.metadata.owner_references if item.uid != owner.metadata.uid)
    bench.put(replace(pod, metadata=replace(pod.metadata, owner_references=references)))
    if pods.ref(pod) in bench.given:
        bench.note(pods.ref(pod), done="")
