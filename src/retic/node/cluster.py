"""An agent's configuration on a cluster, from the environment that its pod gives it; files come from mounted volumes.

The controller is found by the variables that the kubelet sets for its Service, so no DNS is needed.
"""

import pathlib
from collections.abc import Mapping

from retic.node import config

CONTROL_PORT, ENROL_PORT = 15010, 15011
CGROUP_LIMIT = pathlib.Path("/sys/fs/cgroup/memory.max")
_AGENT_BYTES = 160 << 20  # of the container's memory that are the agent's and not Envoy's
_LEAST_HEAP = 64 << 20
HANDOVER_SECONDS = 30.0  # for the pod of the next agent to come up; terminationGracePeriodSeconds has them too
_DEFAULTS = {
    "RETIC_FOLDER": "/run/retic",
    "RETIC_NAMESPACES": "/run/retic-ns",
    "RETIC_TOKEN_FILE": "/var/run/secrets/retic.dev/token",
    "RETIC_ROOT_FILE": "/etc/retic/root/root.pem",
    "RETIC_TRUST_DOMAIN": "cluster.local",
    "RETIC_CONCURRENCY": "2",
    "RETIC_DRAIN_SECONDS": "30",
    "RETIC_READY_FILE": "/tmp/ready",
    "RETIC_CNI_CONF": "/host/cni/net.d",
    "RETIC_CNI_BIN": "/host/cni/bin",
    "RETIC_CNI_PLUGIN": "/opt/retic/cni/retic-cni",
    "RETIC_CNI_SOCKET": "/run/retic/cni.sock",
    "RETIC_LOGS": "/tmp/logs",
    "RETIC_POD_NETWORKS": "10.244.0.0/16",
    "RETIC_SERVICE_NETWORK": "10.96.0.0/16",
    "RETIC_DNS": "10.96.0.10",
    "RETIC_METRICS_PORT": "0",
    "RETIC_CLUSTER_DOMAIN": "cluster.local",
}


class VariableError(ValueError):
    """A variable that is missing or of no use. The message names it, and says what to write."""


def settings(environment: Mapping[str, str], limit: pathlib.Path = CGROUP_LIMIT) -> config.Config:
    """The configuration of a node's agent. VariableError; ValueError as `config.load`."""
    given = {name: environment.get(name) or default for name, default in _DEFAULTS.items()}
    host, node = _needed(environment, "RETIC_CONTROLLER_SERVICE_HOST"), _needed(environment, "NODE_NAME")
    drain = _whole(given, "RETIC_DRAIN_SECONDS")
    made = config.Config(
        id=f"node/{node}",
        role=config.Role.NODE,
        control=f"{host}:{CONTROL_PORT}",
        enrol=f"{host}:{ENROL_PORT}",
        trust_domain=given["RETIC_TRUST_DOMAIN"],
        root_file=pathlib.Path(given["RETIC_ROOT_FILE"]),
        token_file=pathlib.Path(given["RETIC_TOKEN_FILE"]),
        folder=pathlib.Path(given["RETIC_FOLDER"]),
        logs=pathlib.Path(given["RETIC_LOGS"]),
        netns_dir=given["RETIC_NAMESPACES"],
        zone=environment.get("RETIC_ZONE", ""),
        concurrency=_whole(given, "RETIC_CONCURRENCY"),
        pod_networks=tuple(one.strip() for one in given["RETIC_POD_NETWORKS"].split(",")),
        service_network=given["RETIC_SERVICE_NETWORK"],
        dns=given["RETIC_DNS"],
        heap_bytes=heap(environment, limit),
        drain_seconds=drain,
        handover_seconds=HANDOVER_SECONDS,
        enrolment=config.Enrolment.CLUSTER,
        cni_socket=pathlib.Path(given["RETIC_CNI_SOCKET"]),
        ready_file=pathlib.Path(given["RETIC_READY_FILE"]),
        cni=plugin(environment),
        pod=environment.get("POD_UID", ""),
        metrics_port=_whole(given, "RETIC_METRICS_PORT", least=0),
        cluster_domain=given["RETIC_CLUSTER_DOMAIN"],
    )
    config.check(made)
    return made


def plugin(environment: Mapping[str, str]) -> config.Cni:
    """Where the node's network plugins are."""
    given = {name: environment.get(name) or default for name, default in _DEFAULTS.items()}
    return config.Cni(
        conf=pathlib.Path(given["RETIC_CNI_CONF"]),
        bin=pathlib.Path(given["RETIC_CNI_BIN"]),
        plugin=pathlib.Path(given["RETIC_CNI_PLUGIN"]),
        socket=pathlib.Path(given["RETIC_CNI_SOCKET"]),
    )


def heap(environment: Mapping[str, str], limit: pathlib.Path) -> int:
    """Bytes for Envoy's heap: what is stated, else what the container's limit leaves, else 2 GiB."""
    if "RETIC_HEAP_BYTES" in environment:
        return _whole(environment, "RETIC_HEAP_BYTES")
    try:
        most = int(limit.read_text())
    except (OSError, ValueError):  # no limit, or cgroup v1
        return 2 << 30
    return max(_LEAST_HEAP, min(2 << 30, most - _AGENT_BYTES))


def _needed(environment: Mapping[str, str], name: str) -> str:
    found = environment.get(name, "")
    if not found:
        raise VariableError(
            f"{name} is not set: it comes from the DaemonSet of retic install; elsewhere use --config FILE"
        )
    return found


def _whole(environment: Mapping[str, str], name: str, least: int = 1) -> int:
    text = environment[name]
    if not text.isascii() or not text.isdigit() or not least <= int(text) < 1 << 50:
        raise VariableError(f"{name} is {text!r}: write a whole number of at least {least}")
    return int(text)
