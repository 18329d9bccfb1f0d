"""What running pods tell of their manifests: commands that cannot be started, and why a pod is waited for.

Pure: reads a world and says what follows. Statuses themselves are the kubelet's.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from retic import findings
from retic.local import workloads
from retic.local.kubelet import status
from retic.local.workloads import jobs, pods
from retic.objects import pods as structs

Look = Callable[[findings.Ref], Any | None]


def origin(pod: structs.Pod, look: Look) -> findings.Ref:
    """The topmost owner of a pod: what stands in a manifest."""
    value: Any = pod
    while (owner := pods.controller(value)) is not None:
        above = look(findings.Ref(owner.kind, pod.metadata.namespace, owner.name))
        if above is None:
            break
        value = above
    return pods.ref(value)


def faults(world: workloads.World, look: Look) -> Iterator[findings.Fault]:
    """RT0502 for each container whose command did not start at its last try; the same for all replicas."""
    for pod in world.pods.values():
        if pods.ending(pod):
            continue
        key = pods.ref(pod)
        owner = key if key in world.notes else origin(pod, look)  # a manifest's own, whoever has taken it
        lists = (
            ("initContainers", pod.status.init_container_statuses),
            ("containers", pod.status.container_statuses),
        )
        for field, found in lists:
            for index, item in enumerate(found):
                ended = item.state.terminated or item.last_state.terminated
                if item.state.running is None and ended is not None and ended.reason == "StartError":
                    yield _fault(owner, f"{field}[{index}]", item.name, ended.message or "")


def _fault(owner: findings.Ref, field: str, name: str, why: str) -> findings.Fault:
    return findings.Fault(
        code="RT0502",
        object=owner,
        path=f"{pods.spec_path(owner.kind)}.{field}.command",
        message=f"container {name} cannot be started: {why}",
        fix="write a command that this machine has, by its whole path or by a name on PATH",
    )


def reasons(
    world: workloads.World,
    look: Look,
    mistaken: Collection[findings.Ref] = (),
    unready: Callable[[structs.Pod], Mapping[str, str]] = lambda _: {},
) -> list[str]:
    """Why not every pod is ready or has done its work; a failed pod of a Job is the Job's to judge.

    Pods that were made from one of `mistaken` are passed over: what is wrong with them is said already.
    `unready`: of a pod's containers that run, by name, what their last probes brought.
    """
    found = []
    for _, pod in sorted(world.pods.items()):
        if mistaken and origin(pod, look) in mistaken:
            continue
        if pods.ending(pod):
            found.append(f"pod {pod.metadata.namespace}/{pod.metadata.name} is ending")
        elif not _excused(world, pod):
            found += status.reasons(pod, unready(pod))
    return found


def _excused(world: workloads.World, pod: structs.Pod) -> bool:
    owner = pods.controller(pod)
    if pod.status.phase != "Failed" or owner is None or owner.kind != "Job":
        return False
    note = world.notes.get(findings.Ref("Job", pod.metadata.namespace, owner.name))
    return note is None or note.done != jobs.FAILED
