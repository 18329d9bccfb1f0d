"""config.json of a cluster's control plane: what `retic install` was told, as far as it concerns the controllers."""

import os
import pathlib
from collections.abc import Mapping
from typing import Literal

import msgspec


class TrustedRoot(msgspec.Struct, frozen=True, rename="camel"):
    """Another trust domain, and the roots of its authority, PEM."""

    trust_domain: str
    roots: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One installation. CIDRs as text; networks that are empty are found in the cluster's objects.

    `lifetime` of workload certificates is in seconds; the gateways' amounts are Kubernetes' quantities. `pod` and
    `address` are this replica's own, `namespace` the installation's: from the pod's environment. Global
    rate limits are counted at the address `redis`, in memory if it is ""; `redis_secret` has its user and password.
    Metrics are served at `metrics_port` of every part; 0: nowhere.
    """

    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[dict[str, str], ...] = ()
    mode: Literal["STRICT", "PERMISSIVE"] = "PERMISSIVE"
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    trusted_roots: tuple[TrustedRoot, ...] = ()
    cluster_domain: str = "cluster.local"
    pod_networks: tuple[str, ...] = ()
    service_networks: tuple[str, ...] = ()
    lifetime: float = 86400.0
    exclude_namespaces: tuple[str, ...] = ()
    log_level: str = "info"
    gateway_replicas: int = 1
    gateway_cpu: str = "100m"
    gateway_memory: str = "128Mi"
    gateway_memory_limit: str = "1Gi"
    service_type: str = "LoadBalancer"
    redis: str = ""
    redis_secret: str = ""
    metrics_port: int = 0
    pod: str = ""
    address: str = ""
    namespace: str = "retic-system"


def load(file: pathlib.Path, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration in the file, with the pod's own name and address. ValueError naming what is wrong with it."""
    config = msgspec.json.decode(file.read_bytes(), type=Config)
    return msgspec.structs.replace(
        config,
        pod=environment.get("POD_NAME", ""),
        address=environment.get("POD_IP", ""),
        namespace=environment.get("POD_NAMESPACE", "") or config.namespace,
    )
