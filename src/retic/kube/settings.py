"""What the controllers of a cluster are told at their start."""

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """One installation. `pod` is this replica's own pod name.

    `service` is the Service of the controllers in `namespace`; `webhook` the ValidatingWebhookConfiguration whose
    caBundle the leader keeps, "" for none; `image_pull_secrets` are Secrets in the Gateways' own namespaces;
    `metrics_port` is where Gateways' agents serve metrics, 0 for nowhere;
    `grace` the seconds for which proxies may be unheard of after a start.
    """

    image: str
    pod: str
    namespace: str = "retic-system"
    service: str = "retic-controller"
    webhook: str = "retic"
    trust_domain: str = "cluster.local"
    image_pull_policy: str = "IfNotPresent"
    service_type: str = "LoadBalancer"
    control_port: int = 15010
    enrol_port: int = 15011
    webhook_port: int = 15012
    image_pull_secrets: tuple[str, ...] = ()
    gateway_replicas: int = 1
    gateway_cpu: str = "100m"
    gateway_memory: str = "128Mi"
    gateway_memory_limit: str = "1Gi"
    grace: float = 30.0
    metrics_port: int = 0
    cluster_domain: str = "cluster.local"
