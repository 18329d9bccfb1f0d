"""The node agent: the DaemonSet retic-node, and the one that cleans nodes up at the end."""

from typing import Any

from retic.install import names
from retic.install.parts import base, controller
from retic.install.template import First, Joined, Sum, Text, V, When

CAPABILITIES = (
    "SYS_ADMIN",  # enter pods' network namespaces, bind-mount them
    "NET_ADMIN",  # packet rules, routes and sysctls inside them; marks on sockets
    "NET_RAW",  # marks, and transparent sockets
    "SYS_PTRACE",  # look at other pods' /proc entries for their namespaces
    "DAC_READ_SEARCH",  # of processes of other users
    "DAC_OVERRIDE",  # folders of network plugins that root does not own
)
"""What the agent may do instead of everything; each with what for."""

CNI_CONF, CNI_BIN, STATE, NAMESPACES = "/host/cni/net.d", "/host/cni/bin", "/run/retic", "/run/retic-ns"
_HOST_RUN = "/host/run"
_TEMPORARY = {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}  # the agent's and Envoy's logs too
_HELD = {"name": "namespaces", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}
_TOKEN_FOLDER, _ROOT_FOLDER, _NETNS = "/var/run/secrets/retic.dev", "/etc/retic/root", "/run/netns"
# In seconds, beside the drain: until the next agent has come up (`node.cluster.HANDOVER_SECONDS`), and to say good-bye.
_MARGIN = 30 + 15


def daemon_set() -> base.Tree:
    """A new agent comes up beside the old one, takes over, and the old one drains."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": base.metadata(names.NODE, "node"),
        "spec": {
            "selector": {"matchLabels": names.selector("node")},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": names.labels("node")}, "spec": _pod()},
        },
    }


def clean_up() -> base.Tree:
    """What `retic uninstall` runs on every node when the agents are gone; it is no part of an installation."""
    container = {
        "name": "clean-up",
        "image": V.image,
        "imagePullPolicy": V.image_pull_policy,
        "command": ["python", "-m", "retic.node", "clean-up"],
        "env": [*_environment(), {"name": "RETIC_FOLDER", "value": f"{_HOST_RUN}/{STATE.rpartition('/')[2]}"}],
        "readinessProbe": {
            "exec": {"command": ["test", "-e", "/tmp/cleaned"]}, "periodSeconds": 1, "failureThreshold": 3,
        },
        "securityContext": _security(CAPABILITIES),
        "volumeMounts": [
            *_cni_mounts(),
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "run", "mountPath": _HOST_RUN},
            {"name": "namespaces", "mountPath": NAMESPACES},
        ],
    }  # fmt: skip
    spec = {
        **_everywhere(),
        "hostPID": True,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        # The folder above, so that the agents' own can go.
        "volumes": [
            *_cni_volumes(),
            _TEMPORARY,
            _HELD,
            {"name": "run", "hostPath": {"path": STATE.rpartition("/")[0]}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": base.metadata("retic-clean-up", "clean-up"),
        "spec": {
            "selector": {"matchLabels": names.selector("clean-up")},
            "template": {"metadata": {"labels": names.labels("clean-up")}, "spec": spec},
        },
    }


def _everywhere() -> base.Tree:
    """What a pod needs that must run on every node, before the node has a network."""
    return {
        "serviceAccountName": names.NODE,
        "automountServiceAccountToken": False,
        "priorityClassName": names.PRIORITY_CLASS,
        "imagePullSecrets": V.image_pull_secrets,
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
    }


def _pod() -> base.Tree:
    return {
        **_everywhere(),
        "hostPID": True,
        "terminationGracePeriodSeconds": Sum(V.node.drain_seconds, _MARGIN),
        "containers": [_container()],
        "volumes": [
            *_cni_volumes(),
            *_state_volumes(),
            _HELD,
            {"name": "netns", "hostPath": {"path": V.node.netns_folder, "type": "DirectoryOrCreate"}},
            {"name": "root", "configMap": {"name": names.ROOT}},
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"audience": names.AUDIENCE, "expirationSeconds": 3600, "path": "token"}}
            ]}},
        ],
    }  # fmt: skip


def _container() -> base.Tree:
    return {
        "name": "agent",
        "image": V.image,
        "imagePullPolicy": V.image_pull_policy,
        "command": ["python", "-m", "retic.node", "supervise"],
        "env": _environment(),
        # The file is there while every pod that the agent was told of has its listeners.
        "startupProbe": _probe(periodSeconds=1, failureThreshold=120),
        "readinessProbe": _probe(periodSeconds=2, failureThreshold=3),
        "resources": V.node.resources,
        "securityContext": _security(CAPABILITIES),
        "volumeMounts": [
            *_cni_mounts(),
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "namespaces", "mountPath": NAMESPACES},
            {"name": "netns", "mountPath": _NETNS, "mountPropagation": "HostToContainer"},
            {"name": "root", "mountPath": _ROOT_FOLDER, "readOnly": True},
            {"name": "token", "mountPath": _TOKEN_FOLDER, "readOnly": True},
        ],
    }


def _environment() -> list[Any]:
    """What `python -m retic.node` reads; all else the agent is told by the controller."""
    stated: dict[str, Any] = {
        "RETIC_TOKEN_FILE": f"{_TOKEN_FOLDER}/token",
        "RETIC_ROOT_FILE": f"{_ROOT_FOLDER}/{names.ROOT_KEY}",
        "RETIC_TRUST_DOMAIN": V.trust_domain,
        "RETIC_CONCURRENCY": Text((V.node.concurrency,)),
        "RETIC_DRAIN_SECONDS": Text((V.node.drain_seconds,)),
        "RETIC_METRICS_PORT": Text((V.metrics.port,)),
        "RETIC_CLUSTER_DOMAIN": V.cluster_domain,
        "RETIC_LOG_LEVEL": V.log_level,
        "RETIC_CNI_CONF": CNI_CONF,
        "RETIC_CNI_BIN": CNI_BIN,
        "RETIC_CNI_PLUGIN": "/opt/retic/cni/retic-cni",
    }
    return [
        controller.field("NODE_NAME", "spec.nodeName"),
        controller.field("NODE_IP", "status.hostIP"),
        controller.field("POD_NAME", "metadata.name"),
        controller.field("POD_UID", "metadata.uid"),
        *({"name": name, "value": value} for name, value in stated.items()),
        When(V.pod_networks, {"name": "RETIC_POD_NETWORKS", "value": Joined(V.pod_networks)}),
        When(V.service_networks, {"name": "RETIC_SERVICE_NETWORK", "value": First(V.service_networks)}),
    ]


def _security(capabilities: tuple[str, ...]) -> base.Tree:
    """Root, but with stated capabilities; AppArmor's default profile forbids mounts, which the agent makes."""
    return {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": True,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": list(capabilities)},
        "seccompProfile": {"type": "Unconfined"},
        "appArmorProfile": {"type": "Unconfined"},
    }


def _probe(**timing: int) -> base.Tree:
    return {"exec": {"command": ["test", "-e", "/tmp/ready"]}, **timing}


def _cni_mounts() -> list[base.Tree]:
    return [{"name": "cni-conf", "mountPath": CNI_CONF}, {"name": "cni-bin", "mountPath": CNI_BIN}]


def _cni_volumes() -> list[base.Tree]:
    return [
        {"name": "cni-conf", "hostPath": {"path": V.cni.conf_folder, "type": "DirectoryOrCreate"}},
        {"name": "cni-bin", "hostPath": {"path": V.cni.bin_folder, "type": "DirectoryOrCreate"}},
    ]


def _state_volumes() -> list[base.Tree]:
    return [
        {"name": "state", "hostPath": {"path": STATE, "type": "DirectoryOrCreate"}},
        _TEMPORARY,
    ]
