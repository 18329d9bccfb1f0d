"""Rules between the fields of pods, and of what makes pods."""

import datetime
import re
from collections.abc import Iterator

import cronsim

from retic.objects import pods, workloads
from retic.sources import validate
from retic.sources.checks_core import fault, is_address, unique

Faults = Iterator[validate.Fault]
LongRunning = workloads.Deployment | workloads.ReplicaSet | workloads.StatefulSet | workloads.DaemonSet

_TEMPLATE = "spec.template.spec"
_NAMESERVERS = 3  # of a pod
_WORDS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})


def pod(value: pods.Pod) -> Faults:
    """A pod of its own."""
    yield from spec(value.spec, "spec")


def long_running(value: LongRunning) -> Faults:
    """Selector and template of what keeps pods running; their restart policy must be Always."""
    selector = value.spec.selector
    if not selector.match_labels and not selector.match_expressions:
        yield fault("spec.selector", "is empty", "write matchLabels: with the template's labels", "RT0007")
    policy = value.spec.template.spec.restart_policy
    if policy not in {None, "Always"}:
        path = f"{_TEMPLATE}.restartPolicy"
        message = f"is {policy}, but a {type(value).__name__} wants Always"
        yield fault(path, message, "remove it, or use a Job")
    yield from spec(value.spec.template.spec, _TEMPLATE, claims=_claims(value))


def _claims(value: LongRunning) -> frozenset[str]:
    """Volumes that every pod has beside its template's (apps/v1 StatefulSetSpec)."""
    if not isinstance(value, workloads.StatefulSet):
        return frozenset()
    return frozenset(claim.metadata.name for claim in value.spec.volume_claim_templates)


def rolling(value: workloads.Deployment) -> Faults:
    """A rolling update must be allowed to move at all."""
    strategy = value.spec.strategy
    if strategy is None or strategy.rolling_update is None:
        return
    path = "spec.strategy.rollingUpdate"
    if strategy.type == "Recreate":
        yield fault(path, "does not go with type Recreate", "remove it")
    limits = (strategy.rolling_update.max_surge, strategy.rolling_update.max_unavailable)
    if all(limit in {0, "0%"} for limit in limits):
        yield fault(path, "allows neither more nor fewer pods, so it cannot move", "write maxSurge: 1")


def job(value: workloads.Job) -> Faults:
    """A Job."""
    yield from _job_spec(value.spec, "spec")


def cron_job(value: workloads.CronJob) -> Faults:
    """A CronJob: schedule and the Job's template."""
    if not _schedule(value.spec.schedule):
        message = f'is "{value.spec.schedule[:60]}", which is no schedule'
        yield fault("spec.schedule", message, 'write five fields, such as schedule: "*/5 * * * *"')
    yield from _job_spec(value.spec.job_template.spec, "spec.jobTemplate.spec")


def _schedule(text: str) -> bool:
    """Whether this is cron's five fields, one of its words, or `@every` with a Go duration (robfig/cron)."""
    if text.startswith("@"):
        return text in _WORDS or re.fullmatch(r"@every ([0-9.]+(h|m|s|ms|us|ns))+", text) is not None
    try:
        cronsim.CronSim(text.strip(), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    except cronsim.CronSimError:
        return False
    return len(text.split()) == 5


def _job_spec(value: workloads.JobSpec, path: str) -> Faults:
    policy = value.template.spec.restart_policy
    where = f"{path}.template.spec.restartPolicy"
    if policy is None:
        yield fault(where, "is missing", "write restartPolicy: Never, or OnFailure", "RT0007")
    elif policy == "Always":
        yield fault(where, "is Always, but a Job's pods must end", "write restartPolicy: Never, or OnFailure")
    yield from spec(value.template.spec, f"{path}.template.spec")


def spec(value: pods.PodSpec, path: str, *, claims: frozenset[str] = frozenset()) -> Faults:
    """Containers, volumes and what connects them (core/v1 ValidatePodSpec); `claims` are volumes too."""
    if not value.containers:
        yield fault(f"{path}.containers", "is empty", "write one container: name, image, command", "RT0007")
    names: list[str | None] = [each.name for each in value.containers]
    yield from unique(f"{path}.containers", names)
    for i, init in enumerate(value.init_containers):
        if init.name in names:
            where = f"{path}.initContainers[{i}].name"
            yield fault(where, f'is "{init.name}", as a container of this pod', "give it a name of its own")
    yield from unique(f"{path}.initContainers", [each.name for each in value.init_containers])
    yield from unique(f"{path}.volumes", [each.name for each in value.volumes])
    for i, alias in enumerate(value.host_aliases):
        if not is_address(alias.ip):
            where = f"{path}.hostAliases[{i}].ip"
            yield fault(where, f'is "{alias.ip}", which is no address', "write ip: 10.1.2.3")
    yield from _resolving(value, path)
    volumes = claims | {each.name for each in value.volumes}
    for field, containers in (("containers", value.containers), ("initContainers", value.init_containers)):
        for i, container in enumerate(containers):
            yield from _container(container, f"{path}.{field}[{i}]", volumes)


def _resolving(value: pods.PodSpec, path: str) -> Faults:
    """`dnsConfig` (core/v1 validatePodDNSConfig)."""
    config = value.dns_config or pods.DNSConfig()
    where = f"{path}.dnsConfig.nameservers"
    if value.dns_policy == "None" and not config.nameservers:
        yield fault(where, "is empty, and dnsPolicy None adds none", "write the address of a nameserver", "RT0007")
    if len(config.nameservers) > _NAMESERVERS:
        yield fault(where, f"has {len(config.nameservers)} addresses", f"write {_NAMESERVERS} at most")
    for i, server in enumerate(config.nameservers):
        if not is_address(server):
            yield fault(f"{where}[{i}]", f'is "{server}", which is no address', "write an address, such as 10.1.2.3")
    for i, option in enumerate(config.options):
        if not option.name:
            yield fault(f"{path}.dnsConfig.options[{i}].name", "is missing", "write name: ndots", "RT0007")


def _container(value: pods.Container, path: str, volumes: frozenset[str]) -> Faults:
    for i, mount in enumerate(value.volume_mounts):
        if mount.name not in volumes:
            have = f"one of {', '.join(sorted(volumes))}" if volumes else "a volume under spec.volumes"
            where = f"{path}.volumeMounts[{i}].name"
            message = f'is "{mount.name}", but the pod has no such volume'
            yield fault(where, message, f"name {have}, or add it")
    yield from unique(f"{path}.ports", [port.name for port in value.ports])
    for i, variable in enumerate(value.env):
        yield from _variable(variable, f"{path}.env[{i}]")
    for i, source in enumerate(value.env_from):
        if (source.config_map_ref is None) == (source.secret_ref is None):
            fix = "write either configMapRef or secretRef"
            yield fault(f"{path}.envFrom[{i}]", "names not exactly one source", fix)
    probes = {
        "readinessProbe": value.readiness_probe, "livenessProbe": value.liveness_probe,
        "startupProbe": value.startup_probe,
    }
    for field, probe in probes.items():
        if probe is not None:
            yield from _probe(probe, f"{path}.{field}", once=field != "readinessProbe")


def _variable(value: pods.EnvVar, path: str) -> Faults:
    source = value.value_from
    if source is None:
        return
    if value.value:
        yield fault(f"{path}.valueFrom", "stands beside value", "keep one of the two")
    named = (
        source.config_map_key_ref, source.secret_key_ref, source.field_ref, source.resource_field_ref,
        source.file_key_ref,
    )
    if sum(each is not None for each in named) != 1:
        fix = "write one of configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef"
        yield fault(f"{path}.valueFrom", "names not exactly one source", fix)


def _probe(value: pods.Probe, path: str, *, once: bool) -> Faults:
    actions = (value.http_get, value.tcp_socket, value.exec, value.grpc)
    if sum(each is not None for each in actions) != 1:
        yield fault(path, "has not exactly one action", "write one of httpGet, tcpSocket, exec, grpc")
    if once and value.success_threshold not in {None, 1}:
        yield fault(f"{path}.successThreshold", f"is {value.success_threshold}", "write 1, or remove it")
    if value.exec is not None and not value.exec.command:
        yield fault(f"{path}.exec.command", "is missing", 'write command: ["cat", "/tmp/ready"]', "RT0007")
