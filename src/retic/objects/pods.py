"""Pods: what is to run (spec) and what runs (status)."""

from typing import Annotated

import msgspec

from retic.objects import forms, meta, volume

_RESTART = forms.one_of("Always", "OnFailure", "Never")


class KeySelector(meta.Part, frozen=True):
    """A key of a ConfigMap or of a Secret."""

    key: str
    name: str = ""
    optional: bool | None = None


class EnvVarSource(meta.Part, frozen=True):
    """Where the value of a variable comes from: exactly one of these."""

    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    field_ref: volume.ObjectFieldSelector | None = None
    resource_field_ref: volume.ResourceFieldSelector | None = None
    file_key_ref: forms.Raw | None = None


class EnvVar(meta.Part, frozen=True):
    """An environment variable; `$(VAR)` in `value` is expanded by whoever starts the container."""

    name: Annotated[str, forms.ENV_NAME]
    value: str | None = None
    value_from: EnvVarSource | None = None


class EnvFromRef(meta.Part, frozen=True):
    """A whole ConfigMap or Secret by name."""

    name: str = ""
    optional: bool | None = None


class EnvFrom(meta.Part, frozen=True):
    """Every key as a variable, `prefix` before its name."""

    prefix: str | None = None
    config_map_ref: EnvFromRef | None = None
    secret_ref: EnvFromRef | None = None


class ContainerPort(meta.Part, frozen=True):
    """A port a container listens on. `name` can be a Service's targetPort."""

    container_port: forms.Port
    name: forms.PortName | None = None
    protocol: forms.Protocol | None = None
    host_port: forms.NodePort | None = None
    host_ip: str | None = None


class HTTPHeader(meta.Part, frozen=True):
    """A header of a probe."""

    name: forms.HeaderName
    value: str


class HTTPGetAction(meta.Part, frozen=True):
    """A GET; from 200 to 399 is success."""

    port: forms.PortReference
    path: str | None = None
    host: str | None = None
    scheme: Annotated[str | None, forms.one_of("HTTP", "HTTPS")] = None
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(meta.Part, frozen=True):
    """A connection that must be accepted."""

    port: forms.PortReference
    host: str | None = None


class ExecAction(meta.Part, frozen=True):
    """A command, without a shell; 0 is success."""

    command: tuple[str, ...] = ()


class GRPCAction(meta.Part, frozen=True):
    """grpc.health.v1.Health/Check of `service`."""

    port: forms.Port
    service: str | None = None


class SleepAction(meta.Part, frozen=True):
    """Wait so many seconds."""

    seconds: int


class Probe(meta.Part, frozen=True):
    """One probe. All times in seconds; defaults (delay 0, timeout 1, period 10, 1 success, 3 failures)."""

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: forms.AtLeastZero | None = None
    timeout_seconds: forms.AtLeastOne | None = None
    period_seconds: forms.AtLeastOne | None = None
    success_threshold: forms.AtLeastOne | None = None
    failure_threshold: forms.AtLeastOne | None = None
    termination_grace_period_seconds: forms.AtLeastOne | None = None


class LifecycleAction(meta.Part, frozen=True):
    """What is done after the start or before the end."""

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(meta.Part, frozen=True):
    """Hooks of a container."""

    post_start: LifecycleAction | None = None
    pre_stop: LifecycleAction | None = None
    stop_signal: str | None = None


class Resources(meta.Part, frozen=True):
    """Quantities as written; for `resourceFieldRef`, and to say that limits are not enforced."""

    limits: dict[str, forms.Quantity] = msgspec.field(default_factory=dict)
    requests: dict[str, forms.Quantity] = msgspec.field(default_factory=dict)


class Container(meta.Part, frozen=True):
    """A container. An init container with `restart_policy` Always is a sidecar that keeps running."""

    name: forms.Name
    image: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str | None = None
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    volume_mounts: tuple[volume.VolumeMount, ...] = ()
    volume_devices: tuple[forms.Raw, ...] = ()
    restart_policy: Annotated[str | None, _RESTART] = None
    restart_policy_rules: tuple[forms.Raw, ...] = ()
    resources: Resources | None = None
    security_context: forms.Raw | None = None
    stdin: bool | None = None
    stdin_once: bool | None = None
    tty: bool | None = None


class ReadinessGate(meta.Part, frozen=True):
    """A condition that must be True before the pod is ready."""

    condition_type: str


class HostAlias(meta.Part, frozen=True):
    """A line of /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...] = ()


class DNSOption(meta.Part, frozen=True):
    """An option of resolv.conf."""

    name: str = ""
    value: str | None = None


class DNSConfig(meta.Part, frozen=True):
    """What is added to resolv.conf, or is all of it with dnsPolicy None."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DNSOption, ...] = ()


class PodSpec(meta.Part, frozen=True):
    """What a pod runs. `service_account` is the old name of `service_account_name`, merged by defaults.

    From `security_context` on: read to say what of it has no effect.
    """

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[volume.Volume, ...] = ()
    restart_policy: Annotated[str | None, _RESTART] = None
    service_account_name: str | None = None
    service_account: str | None = None
    node_name: str | None = None
    node_selector: forms.Labels = msgspec.field(default_factory=dict)
    hostname: forms.Name | None = None
    subdomain: forms.Name | None = None
    set_hostname_as_fqdn: bool | None = None
    host_network: bool | None = None
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: Annotated[
        str | None, forms.one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
    ] = None
    dns_config: DNSConfig | None = None
    enable_service_links: bool | None = None
    readiness_gates: tuple[ReadinessGate, ...] = ()
    termination_grace_period_seconds: forms.AtLeastZero | None = None
    active_deadline_seconds: forms.AtLeastOne | None = None
    share_process_namespace: bool | None = None
    security_context: forms.Raw | None = None
    resources: Resources | None = None
    affinity: forms.Raw | None = None
    topology_spread_constraints: tuple[forms.Raw, ...] = ()
    scheduling_gates: tuple[forms.Raw, ...] = ()
    resource_claims: tuple[forms.Raw, ...] = ()
    ephemeral_containers: tuple[forms.Raw, ...] = ()
    runtime_class_name: str | None = None
    hostname_override: str | None = None
    host_pid: bool | None = None
    host_users: bool | None = None
    os: forms.Raw | None = None


class PodTemplateSpec(meta.Part, frozen=True):
    """What a controller makes pods of."""

    spec: PodSpec
    metadata: meta.Metadata = meta.Metadata()


class PodIP(meta.Part, frozen=True):
    """One address of a pod."""

    ip: str


class StateWaiting(meta.Part, frozen=True):
    """Not started yet, and why."""

    reason: str | None = None
    message: str | None = None


class StateRunning(meta.Part, frozen=True):
    """Running since."""

    started_at: str | None = None


class StateTerminated(meta.Part, frozen=True):
    """Ended, with its exit code."""

    exit_code: int
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str | None = None


class ContainerState(meta.Part, frozen=True):
    """At most one of these is set; none means waiting."""

    waiting: StateWaiting | None = None
    running: StateRunning | None = None
    terminated: StateTerminated | None = None


class ContainerStatus(meta.Part, frozen=True):
    """What became of one container."""

    name: str
    ready: bool = False
    restart_count: int = 0
    started: bool | None = None
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    image: str | None = None
    image_id: str | None = None
    container_id: str | None = None


class PodStatus(meta.Part, frozen=True):
    """What became of the pod."""

    phase: Annotated[
        str | None, forms.one_of("Pending", "Running", "Succeeded", "Failed", "Unknown")
    ] = None
    reason: str | None = None
    message: str | None = None
    host_ip: str | None = None
    pod_ip: str | None = None
    pod_ips: tuple[PodIP, ...] = ()
    start_time: str | None = None
    conditions: tuple[meta.Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(meta.Object, frozen=True):
    """A pod."""

    spec: PodSpec
    status: PodStatus = PodStatus()
