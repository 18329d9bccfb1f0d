"""What is made for a Gateway in its own namespace: an account, a configuration, a Deployment, a Service. Pure.

Names, labels and the owner reference make the API server delete all of it with the Gateway. What listeners mean is
not decided here: the Service has the ports of all listeners that Retic can serve, with or without certificates,
so that it does not change while certificates come and go.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec

from retic.identity import spiffe
from retic.kube import naming, pod_template, requests, settings
from retic.mesh import gateways, tables
from retic.objects import gateway

Json = dict[str, Any]
Roots = Callable[[], bytes]
"""The trust bundle of the moment, as PEM."""
Told = Callable[[tables.Key], None]
"""Takes the key of a Gateway of which something is new."""

HASH = "retic.dev/applied-hash"

PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
}
"""The collections of each kind, in the order in which objects are made."""


class Control(msgspec.Struct, frozen=True):
    """Where gateways find the control plane: its Service's address, and the trust bundle as PEM."""

    address: str
    roots: str


def wanted(
    value: gateway.Gateway, asked: requests.Asked, control: Control, told: settings.Settings
) -> list[Json]:
    """The objects for a Gateway that has been accepted; without a listener that can be served no Service."""
    meta = value.metadata
    account = naming.child(meta.name)
    config = _agent(value, account, control, told)
    made: list[Json] = [
        _object(value, "v1", "ServiceAccount", automountServiceAccountToken=False),
        _object(value, "v1", "ConfigMap", data={"agent.json": config, "root.pem": control.roots}),
        _object(value, "apps/v1", "Deployment", spec=_deployment(value, asked, config, told)),
    ]
    ports = _ports(value)
    if ports:
        made.append(_object(value, "v1", "Service", spec=_service(value, asked, ports)))
    if asked.replicas > 1:
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(meta.name)}}
        made.append(_object(value, "policy/v1", "PodDisruptionBudget", spec=spec))
    return [_stamped(each) for each in made]


def selector(name: str) -> dict[str, str]:
    """The labels by which a Gateway's pods are found; they never change."""
    return {naming.GATEWAY_LABEL: naming.label(name), naming.MANAGED_LABEL: naming.MANAGED_BY}


def labels(value: gateway.Gateway) -> dict[str, str]:
    """Labels of everything that is made: those of `infrastructure`, and ours, which win."""
    extra = value.spec.infrastructure
    own = {**selector(value.metadata.name), naming.CLASS_LABEL: naming.label(value.spec.gateway_class_name)}
    return {**(extra.labels if extra else {}), **own}


def annotations(value: gateway.Gateway) -> dict[str, str]:
    """Annotations of everything that is made; the Gateway's whole name is one."""
    extra = value.spec.infrastructure
    return {**(extra.annotations if extra else {}), tables.GATEWAY_ANNOTATION: value.metadata.name}


def _object(value: gateway.Gateway, version: str, kind: str, **content: Any) -> Json:
    meta = value.metadata
    owner = {
        "apiVersion": f"{gateway.GROUP}/v1", "kind": "Gateway", "name": meta.name, "uid": meta.uid or "",
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": naming.child(meta.name), "namespace": meta.namespace, "labels": labels(value),
            "annotations": annotations(value), "ownerReferences": [owner],
        },
        **content,
    }  # fmt: skip


def _stamped(made: Json) -> Json:
    """With a hash of what is wanted, by which a field that is wanted no more is noticed."""
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
    made["metadata"]["annotations"] = {**made["metadata"]["annotations"], HASH: digest}
    return made


def _agent(value: gateway.Gateway, account: str, control: Control, told: settings.Settings) -> str:
    """agent.json (retic.node.config)."""
    meta = value.metadata
    return json.dumps(
        {
            "id": f"gateway/{meta.namespace}/{meta.name}",
            "role": "gateway",
            "control": f"{control.address}:{told.control_port}",
            "enrol": f"{control.address}:{told.enrol_port}",
            "trust_domain": told.trust_domain,
            "root_file": f"{pod_template.CONFIG}/root.pem",
            "token_file": f"{pod_template.TOKEN}/token",
            "folder": f"{pod_template.STATE}/agent",
            "logs": f"{pod_template.STATE}/logs",
            # Not where the Gateway itself wants that port.
            "metrics_port": 0 if any(x.port == told.metrics_port for x in value.spec.listeners) else told.metrics_port,
            "cluster_domain": told.cluster_domain,
            "identities": [str(spiffe.Workload(told.trust_domain, meta.namespace, account))],
        },
        indent=1, sort_keys=True,
    )  # fmt: skip


def _deployment(value: gateway.Gateway, asked: requests.Asked, config: str, told: settings.Settings) -> Json:
    chosen = selector(value.metadata.name)
    # The roots may change without a restart: the agent reads them again. The rest is read once.
    digest = hashlib.sha256(config.encode()).hexdigest()[:16]
    marks = {**annotations(value), tables.ROLE_ANNOTATION: "gateway", "retic.dev/config-hash": digest}
    metadata = {"labels": labels(value), "annotations": marks}
    return {
        "replicas": asked.replicas,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": chosen},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": metadata,
            "spec": pod_template.spec(naming.child(value.metadata.name), chosen, told),
        },
    }


def _ports(value: gateway.Gateway) -> list[Json]:
    """One port for each number, by the first listener that has it."""
    numbers = dict.fromkeys(x.port for x in value.spec.listeners if x.protocol in gateways.PROTOCOLS)
    return [
        {"name": f"port-{port}", "port": port, "targetPort": port, "protocol": "TCP"} for port in sorted(numbers)
    ]


def _service(value: gateway.Gateway, asked: requests.Asked, ports: list[Json]) -> Json:
    made: Json = {
        "type": asked.service_type,
        "selector": selector(value.metadata.name),
        "ports": ports,
        "ipFamilyPolicy": "SingleStack",
        "ipFamilies": ["IPv4"],
    }
    if asked.cluster_ip:
        made["clusterIP"] = asked.cluster_ip
    if asked.balancer_ip:
        made["loadBalancerIP"] = asked.balancer_ip
    return made
