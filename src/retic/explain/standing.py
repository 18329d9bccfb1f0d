"""How a pod stands, in the one word of kubectl's STATUS column, and how often its containers were restarted.

The rules are those of kubectl's printer of pods (k8s.io/kubernetes/pkg/printers/internalversion, printPod):
what a container waits for or ended with says more than the pod's phase. Pure, over a pod's status.
"""

import msgspec

from retic.objects import pods

_ENDED = frozenset({"Succeeded", "Failed"})


class Standing(msgspec.Struct, frozen=True):
    """`word` is "Running", "Completed", "Init:0/1" ...; `phase` the pod's own; `restarts` of all that counts."""

    word: str
    phase: str
    restarts: int


def of(pod: pods.Pod) -> Standing:
    """The pod's standing."""
    status = pod.status
    phase = status.phase or "Pending"
    found = {item.type: item for item in status.conditions}
    sidecars = frozenset(item.name for item in pod.spec.init_containers if item.restart_policy == "Always")
    first = _initializing(pod, sidecars)
    initialized = "Initialized" in found and found["Initialized"].status == "True"
    ready = "Ready" in found and found["Ready"].status == "True"
    word = status.reason or phase
    counted = status.init_container_statuses
    if first and not initialized:
        word = first
    else:
        word = _of_containers(status.container_statuses, word, ready=ready)
        counted = tuple(item for item in counted if item.name in sidecars)
        counted += status.container_statuses
    if pod.metadata.deletion_timestamp is not None and phase not in _ENDED:
        word = "Terminating"
    return Standing(word, phase, sum(item.restart_count for item in counted))


def _initializing(pod: pods.Pod, sidecars: frozenset[str]) -> str:
    """Of the first init container that is not through, "" when there is none."""
    for number, item in enumerate(pod.status.init_container_statuses):
        waiting, ended = item.state.waiting, item.state.terminated
        if (ended is not None and ended.exit_code == 0) or (item.name in sidecars and item.started):
            continue
        if ended is not None:
            return f"Init:{_end(ended)}"
        if waiting is not None and waiting.reason and waiting.reason != "PodInitializing":
            return f"Init:{waiting.reason}"
        return f"Init:{number}/{len(pod.spec.init_containers)}"
    return ""


def _of_containers(containers: tuple[pods.ContainerStatus, ...], word: str, *, ready: bool) -> str:
    """The first container that waits or has ended decides, `word` when none does."""
    runs = False
    for item in reversed(containers):
        if item.state.waiting is not None and item.state.waiting.reason:
            word = item.state.waiting.reason
        elif item.state.terminated is not None:
            word = _end(item.state.terminated)
        elif item.state.running is not None and item.ready:
            runs = True
    if word == "Completed" and runs:  # one has done its work, others go on
        return "Running" if ready else "NotReady"
    return word


def _end(ended: pods.StateTerminated) -> str:
    return ended.reason or (f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exit_code}")
