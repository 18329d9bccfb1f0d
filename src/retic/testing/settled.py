"""What controllers and kubelets make of manifests when everything works: every command of a pod that shall stay
runs and is ready, every other ends well. No process is started; statuses are those that kubelet would write.
"""

from collections.abc import Mapping
from typing import Any

from retic import findings
from retic.local import workloads
from retic.local.kubelet import status
from retic.local.workloads import pods
from retic.objects import pods as structs

START = 1_900_000_000.0
NODES = ("node-1", "node-2")
_ROUNDS = 200
_DONE = status.Facts(network=None, initialized=True)


def settle(given: Mapping[findings.Ref, Any], world: workloads.World, now: float) -> workloads.World:
    """The world at rest. RuntimeError when it does not come to rest."""
    for _ in range(_ROUNDS):
        before = world
        world = workloads.expand(given, world, nodes=NODES, now=now)
        for key, pod in world.pods.items():
            uid = pod.metadata.uid or ""
            if pods.ending(pod):
                world = world.without(key, uid)
            elif pod.status.pod_ip:
                world = world.with_status(key, uid, _next(pod, now))
        if world == before:
            return world
    raise RuntimeError("the manifests do not come to rest")


def _next(pod: structs.Pod, now: float) -> structs.PodStatus:
    """Running first, then, for pods that shall not stay, the end."""
    if pods.terminal(pod):
        return pod.status
    inits = tuple(_init(item) for item in pod.spec.init_containers)
    if pod.status.phase == "Running" and pod.spec.restart_policy != "Always":
        ended = tuple(_ended(item, ready=False) for item in pod.spec.containers)
        facts = status.replace(_DONE, over="Succeeded")
        return status.status(pod, facts, ended, inits, now=now)
    running = tuple(_running(item) for item in pod.spec.containers)
    return status.status(pod, _DONE, running, inits, now=now)


def _init(item: structs.Container) -> structs.ContainerStatus:
    return _running(item) if item.restart_policy == "Always" else _ended(item, ready=True)


def _running(item: structs.Container) -> structs.ContainerStatus:
    state = structs.ContainerState(running=structs.StateRunning())
    return structs.ContainerStatus(name=item.name, ready=True, started=True, state=state)


def _ended(item: structs.Container, *, ready: bool) -> structs.ContainerStatus:
    state = structs.ContainerState(terminated=structs.StateTerminated(exit_code=0, reason="Completed"))
    return structs.ContainerStatus(name=item.name, ready=ready, started=False, state=state)
