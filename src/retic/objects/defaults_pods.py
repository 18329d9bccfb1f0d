"""Defaults inside a pod's spec, for Pods and for the templates of everything that makes Pods."""

from typing import Any, TypeVar

import msgspec

from retic.objects import meta, pods, volume

P = TypeVar("P", bound=meta.Part)

_FILE_MODE = 0o644


def fill(part: P, **values: Any) -> P:
    """The part with those of `values` whose field is None."""
    missing = {name: value for name, value in values.items() if getattr(part, name) is None}
    return msgspec.structs.replace(part, **missing) if missing else part


def template(value: pods.PodTemplateSpec) -> pods.PodTemplateSpec:
    """A pod template with its spec completed; its metadata gets no namespace."""
    return msgspec.structs.replace(value, spec=spec(value.spec))


def spec(value: pods.PodSpec) -> pods.PodSpec:
    """A pod's spec completed (core/v1 SetDefaults_PodSpec, ServiceAccount admission)."""
    host = bool(value.host_network)
    return msgspec.structs.replace(
        fill(
            value, restart_policy="Always", service_account_name=value.service_account or "default",
            dns_policy="ClusterFirst", termination_grace_period_seconds=30, enable_service_links=True,
        ),
        containers=tuple(_container(c, host) for c in value.containers),
        service_account=None,
        init_containers=tuple(_container(c, host) for c in value.init_containers),
        volumes=tuple(_volume(v) for v in value.volumes),
    )


def _container(value: pods.Container, host: bool) -> pods.Container:
    ports = tuple(
        fill(port, protocol="TCP", **({"host_port": port.container_port} if host else {}))
        for port in value.ports
    )
    return msgspec.structs.replace(
        value, ports=ports,
        env=tuple(_env(variable) for variable in value.env),
        readiness_probe=_probe(value.readiness_probe),
        liveness_probe=_probe(value.liveness_probe),
        startup_probe=_probe(value.startup_probe),
        lifecycle=_lifecycle(value.lifecycle),
    )


def _env(variable: pods.EnvVar) -> pods.EnvVar:
    source = variable.value_from
    if source is None or source.field_ref is None:
        return variable
    field = fill(source.field_ref, api_version="v1")
    return msgspec.structs.replace(variable, value_from=msgspec.structs.replace(source, field_ref=field))


def _http(action: pods.HTTPGetAction | None) -> pods.HTTPGetAction | None:
    if action is None:
        return None
    return msgspec.structs.replace(action, path=action.path or "/", scheme=action.scheme or "HTTP")


def _probe(probe: pods.Probe | None) -> pods.Probe | None:
    if probe is None:
        return None
    grpc = fill(probe.grpc, service="") if probe.grpc else None
    return msgspec.structs.replace(
        fill(
            probe, initial_delay_seconds=0, timeout_seconds=1, period_seconds=10, success_threshold=1,
            failure_threshold=3,
        ),
        http_get=_http(probe.http_get), grpc=grpc,
    )


def _lifecycle(lifecycle: pods.Lifecycle | None) -> pods.Lifecycle | None:
    if lifecycle is None:
        return None
    return msgspec.structs.replace(
        lifecycle, post_start=_action(lifecycle.post_start), pre_stop=_action(lifecycle.pre_stop)
    )


def _action(action: pods.LifecycleAction | None) -> pods.LifecycleAction | None:
    return action and msgspec.structs.replace(action, http_get=_http(action.http_get))


def _volume(value: volume.Volume) -> volume.Volume:
    config_map = fill(value.config_map, default_mode=_FILE_MODE) if value.config_map else None
    secret = fill(value.secret, default_mode=_FILE_MODE) if value.secret else None
    downward = fill(value.downward_api, default_mode=_FILE_MODE) if value.downward_api else None
    projected = fill(value.projected, default_mode=_FILE_MODE) if value.projected else None
    given = (config_map, secret, downward, projected, value.empty_dir)
    empty = all(source is None for source in given) and not value.other_sources
    return msgspec.structs.replace(
        value, config_map=config_map, secret=secret, downward_api=downward, projected=projected,
        empty_dir=volume.EmptyDirSource() if empty else value.empty_dir,
    )
