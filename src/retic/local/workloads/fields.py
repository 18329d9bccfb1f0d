"""Fields that local mode does not carry out: of whatever makes pods, of Services, ConfigMaps, Nodes.

One fault for each written object and field, however many replicas or containers it has. RT0503 where pods
or traffic would be others than in a cluster, RT0507 where only the machine is another. What stands in no
list here, and why, is told by docs/reference/manifests.md. Refuses to speak of what the mesh leaves out
wherever it runs: that is `retic.mesh.fields`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from retic import findings
from retic.local.workloads import fields_pods, said, world
from retic.objects import core, gateway, pods, workloads

_Said = Iterator[said.Said]
_CONTROLLER = "retic.dev/gateway-controller"


def of_template(bench: world.Bench, owner: findings.Ref, spec: pods.PodSpec, path: str) -> None:
    """Report the fields of a pod's spec, which stands at `path` of `owner`."""
    for each in fields_pods.of_spec(spec):
        bench.fault(each.code, owner, f"{path}.{each.path}", each.message, each.fix)


def of_object(bench: world.Bench, key: findings.Ref, value: Any) -> None:
    """Report the fields of an object itself, without its pod template's."""
    if key.kind == "Gateway" and not _ours(bench, value):
        return
    found = _BY_KIND.get(key.kind)
    for each in found(value) if found else ():
        bench.fault(each.code, key, each.path, each.message, each.fix)


def _ours(bench: world.Bench, value: gateway.Gateway) -> bool:
    """Whether a Gateway is of a class of Retic's; the class `retic` need not be written."""
    name = value.spec.gateway_class_name
    found = bench.given.get(findings.Ref("GatewayClass", "", name))
    if isinstance(found, gateway.GatewayClass):
        return found.spec.controller_name == _CONTROLLER
    return name == "retic"


def _node(value: core.Node) -> _Said:
    for field in ("taints", "unschedulable"):
        if getattr(value.spec, field):
            fix = "use nodeSelector in the pods' templates"
            yield said.changed(f"spec.{field}", f"{field} keeps no pod away: nodeName and nodeSelector decide", fix)


def _immutable(value: core.ConfigMap | core.Secret) -> _Said:
    if value.immutable:
        yield said.Said("immutable", "an edit of the file is taken all the same, where a cluster would refuse it")


def _service(value: core.Service) -> _Said:
    ports = [(i, port.node_port) for i, port in enumerate(value.spec.ports) if port.node_port]
    if ports:
        message = f"port {', '.join(str(port) for _, port in ports)} of this machine is not opened"
        yield said.changed(f"spec.ports[{ports[0][0]}].nodePort", message, said.GATEWAY)
    if value.spec.external_traffic_policy == "Local":
        yield said.Said("spec.externalTrafficPolicy", "no call from outside comes through this Service")


def _deployment(value: workloads.Deployment) -> _Said:
    if value.spec.progress_deadline_seconds not in (None, 600):
        message = "no rollout is said to have failed: retic ps tells what it waits for"
        yield said.Said("spec.progressDeadlineSeconds", message)


def _stateful_set(value: workloads.StatefulSet) -> _Said:
    policy = value.spec.persistent_volume_claim_retention_policy or {}
    if "Delete" in policy.values():
        message = "claims stay for as long as the mesh runs, and end with it"
        yield said.Said("spec.persistentVolumeClaimRetentionPolicy", message)
    rolling = value.spec.update_strategy.rolling_update if value.spec.update_strategy else None
    if rolling is not None and rolling.max_unavailable not in (None, 1):
        yield said.Said("spec.updateStrategy.rollingUpdate.maxUnavailable", "pods are updated one at a time")


def _daemon_set(value: workloads.DaemonSet) -> _Said:
    rolling = value.spec.update_strategy.rolling_update if value.spec.update_strategy else None
    if rolling is not None and rolling.max_surge not in (None, 0, "0%"):
        yield said.changed(
            "spec.updateStrategy.rollingUpdate.maxSurge",
            "no second pod is started on a node: the old one ends before the new one starts",
            "write maxUnavailable: 1, which is what happens",
        )


def _job(value: workloads.Job) -> _Said:
    yield from _job_spec(value.spec, "spec")


def _cron_job(value: workloads.CronJob) -> _Said:
    yield from _job_spec(value.spec.job_template.spec, "spec.jobTemplate.spec")


def _job_spec(spec: workloads.JobSpec, path: str) -> _Said:
    for field, asked, fix in (
        ("podFailurePolicy", spec.pod_failure_policy, "use backoffLimit: every failed pod counts"),
        ("successPolicy", spec.success_policy, "use completions: that many pods must succeed"),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index, "use backoffLimit: it counts for all indexes"),
        ("maxFailedIndexes", spec.max_failed_indexes, "use backoffLimit: it counts for all indexes"),
    ):
        if asked is not None:
            yield said.changed(f"{path}.{field}", f"{field} is not carried out", fix)
    if spec.pod_replacement_policy == "Failed" and spec.pod_failure_policy is None:
        yield said.Said(f"{path}.podReplacementPolicy", "a pod that is ending is replaced before it has ended")
    if spec.managed_by not in (None, "kubernetes.io/job-controller"):
        yield said.changed(f"{path}.managedBy", f"the Job is run here, not by {spec.managed_by}", "remove it")


def _gateway(value: gateway.Gateway) -> _Said:
    if value.spec.addresses:
        message = "a Gateway cannot choose its address here: it gets one of its own, which retic ps shows"
        yield said.Said("spec.addresses", message, code="RT0308")


_BY_KIND: dict[str, Callable[[Any], _Said]] = {
    "Node": _node,
    "ConfigMap": _immutable,
    "Secret": _immutable,
    "Service": _service,
    "Gateway": _gateway,
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
}
