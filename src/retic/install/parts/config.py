"""What the controller is told: the ConfigMap retic-config, and the JSON in it.

The controller reads the file at its start; `drain` it watches: "true" takes every pod out of the mesh.
"""

from retic.install import names
from retic.install.parts import base
from retic.install.template import Json, Ref, V

FIELDS: dict[str, Ref] = {
    "image": V.image,
    "image_pull_policy": V.image_pull_policy,
    "image_pull_secrets": V.image_pull_secrets,
    "mode": V.mode,
    "trust_domain": V.trust_domain,
    "trust_domain_aliases": V.trust_domain_aliases,
    "trusted_roots": V.trusted_roots,
    "cluster_domain": V.cluster_domain,
    "pod_networks": V.pod_networks,
    "service_networks": V.service_networks,
    "lifetime": V.certificate_lifetime,
    "exclude_namespaces": V.exclude_namespaces,
    "log_level": V.log_level,
    "redis": V.rate_limits.redis.address,
    "redis_secret": V.rate_limits.redis.secret,
    "metrics_port": V.metrics.port,
    "gateway_replicas": V.gateway.replicas,
    "service_type": V.gateway.service_type,
    "gateway_cpu": V.gateway.resources.requests.cpu,
    "gateway_memory": V.gateway.resources.requests.memory,
    "gateway_memory_limit": V.gateway.resources.limits.memory,
}
"""The fields of config.json, in the spelling of `retic.control`'s own configuration."""


def config_map() -> base.Tree:
    """The ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": base.metadata(names.CONFIG, "controller"),
        "data": {names.CONFIG_KEY: Json(FIELDS), names.DRAIN_KEY: "false"},
    }
