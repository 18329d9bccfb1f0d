"""The word for a pod's standing is the one that kubectl shows for the same status."""

import pytest

from retic import objects
from retic.explain import standing

RUNS = {"state": {"running": {}}, "ready": True, "started": True}
STARTS = {"state": {"running": {}}, "ready": False}
DONE = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
BROKEN = {"state": {"terminated": {"exitCode": 3, "reason": "Error"}}, "restartCount": 1}
KILLED = {"state": {"terminated": {"exitCode": 137, "signal": 9}}}
BARE = {"state": {"terminated": {"exitCode": 4}}}


def waits(reason, **more):
    return {"state": {"waiting": {"reason": reason}}, **more}


def pod(phase, *containers, init=(), sidecars=(), ready=False, initialized=True, ending=False, **status):
    def named(items, letter):
        return [{"name": f"{letter}{number}", **item} for number, item in enumerate(items)]

    first = [
        {"name": f"i{number}", "command": ["x"], **({"restartPolicy": "Always"} if number in sidecars else {})}
        for number in range(len(init))
    ]
    meta = {"name": "p", "namespace": "d", **({"deletionTimestamp": "2030-01-01T00:00:00Z"} if ending else {})}
    conditions = [
        {"type": "Ready", "status": str(ready)}, {"type": "Initialized", "status": str(initialized)},
    ]
    return objects.decode({
        "kind": "Pod", "metadata": meta,
        "spec": {"containers": [{"name": "c0", "command": ["x"]}], "initContainers": first},
        "status": {
            "phase": phase, "conditions": conditions, "containerStatuses": named(containers, "c"),
            "initContainerStatuses": named(init, "i"), **status,
        },
    })


@pytest.mark.parametrize(("value", "word"), [
    (pod("Running", RUNS, ready=True), "Running"),
    (pod("Running", STARTS), "Running"),
    (pod("Pending"), "Pending"),
    (pod("Pending", waits("ContainerCreating")), "ContainerCreating"),
    (pod("Pending", waits("CreateContainerConfigError")), "CreateContainerConfigError"),
    (pod("Succeeded", DONE), "Completed"),
    (pod("Failed", BROKEN), "Error"),
    (pod("Failed", KILLED), "Signal:9"),
    (pod("Failed", BARE), "ExitCode:4"),
    (pod("Failed", BROKEN, reason="DeadlineExceeded"), "Error"),
    (pod("Failed", reason="Evicted"), "Evicted"),
    (pod("Running", waits("CrashLoopBackOff")), "CrashLoopBackOff"),
    (pod("Running", DONE, RUNS), "NotReady"),
    (pod("Running", DONE, RUNS, ready=True), "Running"),
    (pod("Running", BROKEN, RUNS), "Error"),
    (pod("Pending", waits("PodInitializing"), init=(STARTS, waits("PodInitializing")), initialized=False), "Init:0/2"),
    (pod("Pending", waits("PodInitializing"), init=(DONE, STARTS), initialized=False), "Init:1/2"),
    (pod("Pending", waits("PodInitializing"), init=(BROKEN,), initialized=False), "Init:Error"),
    (pod("Pending", waits("PodInitializing"), init=(BARE,), initialized=False), "Init:ExitCode:4"),
    (pod("Pending", waits("PodInitializing"), init=(waits("CrashLoopBackOff"),), initialized=False),
     "Init:CrashLoopBackOff"),
    (pod("Pending", waits("PodInitializing"), init=(RUNS, STARTS), sidecars=(0,), initialized=False), "Init:1/2"),
    (pod("Running", RUNS, init=(RUNS,), sidecars=(0,), ready=True), "Running"),
    (pod("Running", RUNS, ready=True, ending=True), "Terminating"),
    (pod("Succeeded", DONE, ending=True), "Completed"),
])
def test_the_word(value, word):
    assert standing.of(value).word == word


def test_restarts_are_those_of_the_containers_that_are_to_run():
    runs = {**RUNS, "restartCount": 2}
    assert standing.of(pod("Running", runs, runs, init=({**DONE, "restartCount": 5},))).restarts == 4
    assert standing.of(pod("Running", runs, init=(runs,), sidecars=(0,))).restarts == 4
    crashing = waits("CrashLoopBackOff", restartCount=7)
    assert standing.of(pod("Pending", waits("PodInitializing"), init=(crashing,), initialized=False)).restarts == 7
