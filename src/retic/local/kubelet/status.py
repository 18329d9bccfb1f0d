"""A pod's status from those of its containers, as kubelet writes it. Pure."""

from collections.abc import Mapping

import msgspec

from retic.local.workloads import times
from retic.objects import meta
from retic.objects import pods as structs

replace = msgspec.structs.replace
_COMPLETED = "PodCompleted"
_ORDER = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


class Facts(msgspec.Struct, frozen=True):
    """What is known of a pod beyond its containers.

    `network` is None once the pod's network works, else why not yet. `initialized`: every init container is
    done. `over`: "" or Succeeded or Failed, with `reason` and `message`.
    """

    network: str | None = "the network is being set up"
    initialized: bool = False
    over: str = ""
    reason: str | None = None
    message: str | None = None


def phase(facts: Facts, containers: tuple[structs.ContainerStatus, ...]) -> str:
    """Pending until the first container has started, then Running, then how it ended."""
    if facts.over:
        return facts.over
    begun = any(item.state.running or item.state.terminated or item.restart_count for item in containers)
    return "Running" if facts.initialized and begun else "Pending"


def status(
    pod: structs.Pod,
    facts: Facts,
    containers: tuple[structs.ContainerStatus, ...],
    inits: tuple[structs.ContainerStatus, ...],
    *,
    now: float,
) -> structs.PodStatus:
    """The new status; a condition that stays keeps the time of its last change."""
    what = phase(facts, containers)
    sidecars = {item.name for item in pod.spec.init_containers if item.restart_policy == "Always"}
    waiting = [item.name for item in (*containers, *(i for i in inits if i.name in sidecars)) if not item.ready]
    present = {item.type: item for item in pod.status.conditions}
    gates = [gate.condition_type for gate in pod.spec.readiness_gates]
    shut = [name for name in gates if name not in present or present[name].status != "True"]
    finished = what == "Succeeded"
    why = _COMPLETED if finished else "ContainersNotReady"
    text = None if finished or not waiting else f"containers with unready status: [{' '.join(waiting)}]"
    wanted = {
        "PodReadyToStartContainers": (facts.network is None, "NetworkNotReady", facts.network),
        # Of a pod that has done its work kubelet says so here too, though the condition is True.
        "Initialized": (facts.initialized, why if finished else "ContainersNotInitialized", None),
        "ContainersReady": (not waiting and not facts.over, why, text),
        "Ready": (
            not waiting and not shut and not facts.over,
            why if waiting or facts.over else "ReadinessGatesNotReady",
            text or (f"readiness gates not met: {' '.join(shut)}" if shut else None),
        ),
        "PodScheduled": (True, None, None),
    }
    conditions = [_condition(present.get(name), name, *wanted[name], now=now) for name in _ORDER]
    others = [item for name, item in present.items() if name not in wanted]
    return replace(
        pod.status,
        phase=what,
        reason=facts.reason,
        message=facts.message,
        conditions=(*conditions, *others),
        container_statuses=containers,
        init_container_statuses=inits,
    )


def _condition(
    old: meta.Condition | None, name: str, good: bool, reason: str | None, message: str | None, *, now: float
) -> meta.Condition:
    value = "True" if good else "False"
    stamp = times.stamp(now) if old is None or old.status != value else old.last_transition_time
    return meta.Condition(
        type=name,
        status=value,
        reason=reason if not good or reason == _COMPLETED else None,
        message=None if good else message,
        last_transition_time=stamp,
    )


def reasons(pod: structs.Pod, unready: Mapping[str, str] | None = None) -> list[str]:
    """Why a pod is not ready, in words; [] when it is ready or has done its work.

    `unready`: of containers that run, by name, what their last probes brought.
    """
    who = f"pod {pod.metadata.namespace}/{pod.metadata.name}"
    now = pod.status
    found = {item.type: item for item in now.conditions}
    ready = found.get("Ready")
    if now.phase == "Succeeded" or (now.phase == "Running" and ready is not None and ready.status == "True"):
        return []
    scheduled = found.get("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return [f"{who}: {scheduled.message or 'no node takes it'}"]
    network = found.get("PodReadyToStartContainers")
    if network is not None and network.status == "False":
        return [f"{who}: {network.message}"]
    said = [
        f"{who}, container {item.name}: {text}"
        for item in (*now.init_container_statuses, *now.container_statuses)
        if (text := _trouble(item, (unready or {}).get(item.name, "")))
    ]
    why = now.message or now.reason or (ready.message if ready is not None else None)
    return said or [f"{who}: {why or now.phase or 'not started'}"]


def _trouble(item: structs.ContainerStatus, unready: str) -> str:
    state, last = item.state, item.last_state.terminated
    if item.ready or (state.terminated is not None and state.terminated.exit_code == 0):
        return ""
    if state.terminated is not None:
        return ended(state.terminated)
    again = f"restarted after it {ended(last)}" if last is not None else ""
    if state.running is not None:
        return "; ".join(["running, not ready" + (f": {unready}" if unready else ""), *([again] if again else [])])
    waiting = state.waiting or structs.StateWaiting(reason="not started")
    after = f" (it {ended(last)})" if last is not None and waiting.reason == "CrashLoopBackOff" else ""
    return f"{waiting.reason}{': ' + waiting.message if waiting.message else ''}{after}"


def ended(state: structs.StateTerminated) -> str:
    """How a container ended, such as "ended with 3"."""
    return f"ended with {state.exit_code}{': ' + state.message if state.message else ''}"
