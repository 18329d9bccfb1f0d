"""The control plane: its Deployment, its Service, and how much of it may be away at once."""

from typing import Any

from retic.install import names
from retic.install.parts import base, config
from retic.install.template import Digest, V, When

USER = 65532  # "nonroot" of distroless images; the image has an account of that number
_CONFIG_FOLDER = "/etc/retic"
_REDIS = V.rate_limits.redis.secret
_PORTS = {"discovery": names.DISCOVERY_PORT, "enrol": names.ENROL_PORT, "https": names.HTTPS_PORT}


def field(name: str, path: str) -> base.Tree:
    """An environment variable with something of the pod's own (the downward API)."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def service() -> base.Tree:
    """Where agents find the controller: the kubelet tells them its address in their environment."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": base.metadata(names.CONTROLLER, "controller"),
        "spec": {
            "selector": names.selector("controller"),
            "ports": [
                {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
                for name, port in _PORTS.items()
            ],
        },
    }


def budget() -> base.Tree:
    """Drains of nodes take one replica at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": base.metadata(names.CONTROLLER, "controller"),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.selector("controller")}},
    }


def deployment() -> base.Tree:
    """The Deployment. A change of its configuration rolls it."""
    template = {
        "metadata": {
            "labels": names.labels("controller"),
            "annotations": {"retic.dev/config-hash": Digest(config.FIELDS)},
        },
        "spec": _pod(),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": base.metadata(names.CONTROLLER, "controller"),
        "spec": {
            "replicas": V.controller.replicas,
            "selector": {"matchLabels": names.selector("controller")},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    }


def _pod() -> base.Tree:
    return {
        "serviceAccountName": names.CONTROLLER,
        "automountServiceAccountToken": True,
        "priorityClassName": names.PRIORITY_CLASS,
        "imagePullSecrets": V.image_pull_secrets,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": names.selector("controller")},
            }
            for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": names.selector("controller")},
            },
        }]}},
        # Pods of the mesh wait for the node agent, which waits for the controller: it must come up first.
        "tolerations": [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoSchedule"}
            for key in ("not-ready", "memory-pressure")
        ],
        "containers": [_container()],
        "volumes": [
            {"name": "config", "configMap": {"name": names.CONFIG}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            When(_REDIS, {"name": "redis", "secret": {"secretName": _REDIS, "defaultMode": 0o440}}),
        ],
    }  # fmt: skip


def _container() -> base.Tree:
    return {
        "name": "controller",
        "image": V.image,
        "imagePullPolicy": V.image_pull_policy,
        "command": ["python", "-m", "retic.control"],
        "args": ["--cluster", "--config", f"{_CONFIG_FOLDER}/{names.CONFIG_KEY}"],
        "env": [
            field("POD_NAME", "metadata.name"),
            field("POD_IP", "status.podIP"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("NODE_NAME", "spec.nodeName"),
        ],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _PORTS.items()],
        "startupProbe": _probe("/healthz", periodSeconds=1, failureThreshold=120),
        "livenessProbe": _probe("/healthz", periodSeconds=10, failureThreshold=6, timeoutSeconds=5),
        "readinessProbe": _probe("/readyz", periodSeconds=2, failureThreshold=3, timeoutSeconds=3),
        "resources": V.controller.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": _CONFIG_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            When(_REDIS, {"name": "redis", "mountPath": names.REDIS_FOLDER, "readOnly": True}),
        ],
    }


def _probe(path: str, **timing: Any) -> base.Tree:
    return {"httpGet": {"path": path, "port": "https", "scheme": "HTTPS"}, **timing}
