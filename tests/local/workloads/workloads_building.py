"""Objects for tests of controllers, and a cluster whose pods do as they are told."""

from typing import Any

import msgspec

from retic import findings, objects
from retic.local import workloads
from retic.local.workloads import pods, times
from retic.objects import defaults
from retic.objects import pods as structs

NOW = 1_900_000_000.0


def template(app: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "app", "command": ["serve"], "ports": [{"name": "http", "containerPort": 8080}]}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def workload(kind: str, name: str, *, pod: dict[str, Any] | None = None, **spec: Any) -> Any:
    raw: dict[str, Any] = {"template": {**template(name), **(pod or {})}, **spec}
    if kind not in ("Job", "CronJob"):
        raw["selector"] = {"matchLabels": {"app": name}}
    return thing(kind, name, spec=raw)


def thing(kind: str, name: str, namespace: str = "default", **rest: Any) -> Any:
    spaced = objects.KINDS[kind].namespaced
    meta = {"name": name, **({"namespace": namespace} if spaced else {}), **rest.pop("metadata", {})}
    return defaults.apply(objects.decode({"kind": kind, "metadata": meta, **rest}))


class Cluster:
    """Controllers with a clock and pods that a test makes ready, ends or lets go."""

    def __init__(self, *values: Any, nodes: tuple[str, ...] = ("node-1", "node-2")) -> None:
        self.nodes, self.now, self.world = nodes, NOW, workloads.World()
        self.apply(*values)

    def apply(self, *values: Any) -> None:
        self.given = workloads.identified(values)
        self.turn()

    def turn(self) -> None:
        self.world = workloads.expand(self.given, self.world, nodes=self.nodes, now=self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.turn()

    def pods(self, app: str = "") -> list[Any]:
        found = [pod for _, pod in sorted(self.world.pods.items())]
        return [pod for pod in found if not app or pod.metadata.labels.get("app") == app]

    def names(self) -> list[str]:
        return [pod.metadata.name for pod in self.pods()]

    def status(self, pod: Any, phase: str, *, ready: bool = False, **more: Any) -> None:
        kept = tuple(item for item in pod.status.conditions if item.type != "Ready")
        made = objects.meta.Condition(
            type="Ready", status="True" if ready else "False", last_transition_time=times.stamp(self.now)
        )
        new = msgspec.structs.replace(pod.status, phase=phase, conditions=(*kept, made), **more)
        self.world = self.world.with_status(pods.ref(pod), pod.metadata.uid, new)
        self.turn()

    def ready(self, *chosen: Any) -> None:
        for pod in chosen or [p for p in self.pods() if not pods.ending(p) and not pods.ready(p)]:
            self.status(pod, "Running", ready=True)

    def finish(self, *chosen: Any, good: bool = True) -> None:
        """Let the containers of pods end."""
        ended = structs.StateTerminated(exit_code=0 if good else 1, finished_at=times.stamp(self.now))
        status = structs.ContainerStatus(name="app", state=structs.ContainerState(terminated=ended))
        for pod in chosen or [p for p in self.pods() if pods.active(p)]:
            self.status(pod, "Succeeded" if good else "Failed", container_statuses=(status,))

    def go(self, *chosen: Any) -> None:
        """Let pods that were told to end be gone."""
        for pod in chosen or [p for p in self.pods() if pods.ending(p)]:
            self.world = self.world.without(pods.ref(pod), pod.metadata.uid)
        self.turn()

    def codes(self) -> list[str]:
        return sorted(fault.code for fault in self.world.faults)

    def get(self, kind: str, name: str, namespace: str = "default") -> Any:
        return self.world.objects.get(findings.Ref(kind, namespace, name))

    def every(self, kind: str) -> list[Any]:
        return pods.index(self.world.objects, kind)

    def slices(self, service: str) -> list[Any]:
        found = [value for key, value in sorted(self.world.objects.items()) if key.kind == "EndpointSlice"]
        return [value for value in found if value.metadata.labels["kubernetes.io/service-name"] == service]
