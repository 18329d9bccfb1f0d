"""The pod of a Gateway: the agent and its Envoy, as nobody, with nothing of its own to write but memory. Pure."""

from typing import Any

from retic.kube import settings

Json = dict[str, Any]

CONFIG, TOKEN, STATE = "/etc/retic", "/var/run/secrets/retic.dev", "/run/retic"
AUDIENCE = "retic.dev"
USER = 65532
TOKEN_SECONDS = 3600
DRAIN_SECONDS = 30
"""How long requests may go on once a pod is to end; the pod is given half as much more."""


def spec(account: str, selector: dict[str, str], told: settings.Settings) -> Json:
    """The spec of the pod template. Envoy listens on the listeners' own ports, low ones among them."""
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": name} for name in told.image_pull_secrets],
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_SECONDS + DRAIN_SECONDS // 2,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
            # A safe sysctl since Kubernetes 1.22: it holds in the pod's own network namespace.
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector},
            }
        ],
        "containers": [_container(told)],
        "volumes": [
            {"name": "config", "configMap": {"name": account}},
            {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {"name": "token", "projected": {"sources": [_token()]}},
        ],
    }  # fmt: skip


def _token() -> Json:
    return {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}}


def _container(told: settings.Settings) -> Json:
    asks = ["python", "-m", "retic.node.ready", f"{STATE}/agent/admin.sock"]
    return {
        "name": "proxy",
        "image": told.image,
        "imagePullPolicy": told.image_pull_policy,
        "command": ["python", "-m", "retic.node", "--config", f"{CONFIG}/agent.json"],
        "env": [
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            {"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "0"},
        ],
        "resources": {
            "requests": {"cpu": told.gateway_cpu, "memory": told.gateway_memory},
            "limits": {"memory": told.gateway_memory_limit},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "readinessProbe": {
            "exec": {"command": asks}, "periodSeconds": 3, "timeoutSeconds": 3, "failureThreshold": 2,
        },
        "lifecycle": {"preStop": {"exec": {"command": [*asks, "--drain", str(DRAIN_SECONDS)]}}},
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
            {"name": "token", "mountPath": TOKEN, "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }  # fmt: skip
