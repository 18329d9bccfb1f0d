"""Faults that only whoever makes pods can see: selectors and named ports that match no template.

Refuses to say anything of routes, policies and listeners: that is `retic.mesh`.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec

from retic import findings
from retic.local.workloads import pods, slices, world
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
    for key in sorted(bench.given):
        value = bench.given[key]
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


def runnable(pod: structs.Pod) -> bool:
    """Whether each container of the pod has a command."""
    return all(container.command for container in (*pod.spec.init_containers, *pod.spec.containers))
