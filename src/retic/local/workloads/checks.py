"""Faults that only whoever makes pods can see: selectors and named ports that match no template.

Refuses to say anything of routes, policies and listeners: that is `retic.mesh`.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec

from retic import findings
from retic.local.workloads import fields, pods, resolving, slices, world
from retic.objects import core
from retic.objects import pods as structs

_MAKERS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job")


class _Template(msgspec.Struct, frozen=True):
    owner: findings.Ref
    labels: dict[str, str]
    spec: structs.PodSpec
    path: str


def checks(bench: world.Bench) -> None:
    """Report what does not fit together."""
    templates = list(_templates(bench))
    by_space: dict[str, list[_Template]] = {}
    for template in templates:
        by_space.setdefault(template.owner.namespace, []).append(template)
        _fields(bench, template)
        fields.of_template(bench, template.owner, template.spec, template.path)
        _volumes(bench, template)
        _references(bench, template)
        resolving.checks(bench, template.owner, template.path, template.spec)
    for key in sorted(bench.given):
        value = bench.given[key]
        fields.of_object(bench, key, value)
        if key.kind == "Service" and value.spec.selector and value.spec.type != "ExternalName":
            _service(bench, value, by_space.get(key.namespace, []))
        if key.kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"):
            _selector(bench, key, value)


def _templates(bench: world.Bench) -> Iterator[_Template]:
    for key in sorted(bench.given):
        value = bench.given[key]
        if key.kind in _MAKERS:
            template = value.spec.template
            yield _Template(key, template.metadata.labels, template.spec, "spec.template.spec")
        elif key.kind == "CronJob":
            template = value.spec.job_template.spec.template
            path = "spec.jobTemplate.spec.template.spec"
            yield _Template(key, template.metadata.labels, template.spec, path)
        elif key.kind == "Pod":
            yield _Template(key, value.metadata.labels, value.spec, "spec")


def _selector(bench: world.Bench, key: findings.Ref, value: Any) -> None:
    if value.spec.selector.matches(value.spec.template.metadata.labels):
        return
    bench.fault(
        "RT0106",
        key,
        "spec.selector",
        "the selector does not match the labels of the template",
        "write the same labels in spec.selector.matchLabels and spec.template.metadata.labels",
    )


def _service(bench: world.Bench, service: core.Service, templates: list[_Template]) -> None:
    key = pods.ref(service)
    wanted = service.spec.selector.items()
    chosen = [template for template in templates if wanted <= template.labels.items()]
    gateway = "gateway.networking.k8s.io/gateway-name" in service.spec.selector
    if not chosen and not gateway:
        text = ", ".join(f"{name}={value}" for name, value in sorted(wanted))
        bench.fault(
            "RT0101",
            key,
            "spec.selector",
            f"no pod template in namespace {key.namespace} has the labels {text}",
            "write the labels of the pods that should serve, as in their template's metadata.labels",
        )
    for number, port in enumerate(service.spec.ports):
        if not chosen or any(slices.target(port, template.spec) for template in chosen):
            continue
        there = sorted(
            {
                found.name
                for template in chosen
                for container in template.spec.containers
                for found in container.ports
                if found.name
            }
        )
        bench.fault(
            "RT0102",
            key,
            f"spec.ports[{number}].targetPort",
            f"no selected pod has a container port named {port.target_port}",
            f"write one of: {', '.join(there)}" if there else "write the port's number, or name the container's port",
        )


def _fields(bench: world.Bench, template: _Template) -> None:
    """What local mode does not carry out, and containers without a command."""
    spec = template.spec
    if spec.host_network:
        bench.fault(
            "RT0503",
            template.owner,
            f"{template.path}.hostNetwork",
            "hostNetwork is not carried out: the pod gets a network of its own",
            "take the line away for local mode",
        )
    lists = (("initContainers", spec.init_containers), ("containers", spec.containers))
    for field, index, container in itertools.chain.from_iterable(
        ((field, index, item) for index, item in enumerate(items)) for field, items in lists
    ):
        if not container.command:
            bench.fault(
                "RT0501",
                template.owner,
                f"{template.path}.{field}[{index}]",
                f"container {container.name} has no command; local mode runs commands and pulls no image",
                'write what the image\'s entry point does, such as command: ["python", "-m", "app"]',
            )


_MADE = frozenset({"hostPath", "persistentVolumeClaim", "ephemeral"})


def _volumes(bench: world.Bench, template: _Template) -> None:
    """Volumes that are made as empty folders only."""
    for index, item in enumerate(template.spec.volumes):
        for source in sorted(set(item.other_sources) - _MADE):
            bench.fault(
                "RT0503",
                template.owner,
                f"{template.path}.volumes[{index}]",
                f"volume {item.name} is an empty folder here: {source} is not carried out in local mode",
                "use emptyDir, configMap, secret, hostPath or a claim for local mode",
            )


def _references(bench: world.Bench, template: _Template) -> None:
    """ConfigMaps and Secrets, or keys of them, without which a container is not started."""
    for path, kind, name, key in _needed(template.spec):
        found = bench.get(findings.Ref(kind, template.owner.namespace, name))
        if found is not None and (key is None or key in found.data):
            continue
        what = f"{kind} {template.owner.namespace}/{name}"
        missing = f"{what} does not exist" if found is None else f"{what} has no key {key}"
        bench.fault(
            "RT0104",
            template.owner,
            f"{template.path}.{path}",
            f"{missing}, and the container is not started before it does",
            "add it, correct the name, or write optional: true",
        )


def _needed(spec: structs.PodSpec) -> Iterator[tuple[str, str, str, str | None]]:
    """Path, kind, name and key of each reference that is not optional."""
    for field, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for index, container in enumerate(containers):
            for path, kind, ref, key in _of_container(container):
                if not ref.optional:
                    yield f"{field}[{index}].{path}", kind, ref.name, key
    for index, item in enumerate(spec.volumes):
        if item.config_map is not None and not item.config_map.optional:
            yield f"volumes[{index}].configMap", "ConfigMap", item.config_map.name, None
        if item.secret is not None and not item.secret.optional:
            yield f"volumes[{index}].secret", "Secret", item.secret.secret_name or "", None


def _of_container(
    container: structs.Container,
) -> Iterator[tuple[str, str, structs.KeySelector | structs.EnvFromRef, str | None]]:
    for number, source in enumerate(container.env_from):
        if source.config_map_ref is not None:
            yield f"envFrom[{number}].configMapRef", "ConfigMap", source.config_map_ref, None
        if source.secret_ref is not None:
            yield f"envFrom[{number}].secretRef", "Secret", source.secret_ref, None
    for number, variable in enumerate(container.env):
        value = variable.value_from
        if value is not None and value.config_map_key_ref is not None:
            ref = value.config_map_key_ref
            yield f"env[{number}].valueFrom.configMapKeyRef", "ConfigMap", ref, ref.key
        if value is not None and value.secret_key_ref is not None:
            ref = value.secret_key_ref
            yield f"env[{number}].valueFrom.secretKeyRef", "Secret", ref, ref.key
