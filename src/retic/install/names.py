"""Names that the installation, the controller and the agents agree on, in one place."""

NAMESPACE = "retic-system"
CONTROLLER = "retic-controller"
NODE = "retic-node"
GATEWAY_CLASS = "retic"
GATEWAY_CONTROLLER = "retic.dev/gateway-controller"
WEBHOOK = "retic"
PRIORITY_CLASS = "retic"

# Made by the installation.
CONFIG = "retic-config"  # ConfigMap: what the controller is told
CONFIG_KEY = "config.json"
DRAIN_KEY = "drain"  # "true": no pod is in the mesh, whatever namespaces' labels say
RECORD = "retic-install"  # ConfigMap: the values set, the version, the objects applied

# Made by the controller while it runs.
ROOT = "retic-root"  # ConfigMap: the trust bundle
ROOT_KEY = "root.pem"
AUTHORITY = "retic-ca"  # Secret: the certificate authority
NODES = "retic-nodes"  # ConfigMap: the last report of each node's agent
LEASE = "retic-controller"  # Lease: who leads

DISCOVERY_PORT = 15010
ENROL_PORT = 15011
HTTPS_PORT = 15012
CONTROLLER_PORTS = {DISCOVERY_PORT: "discovery", ENROL_PORT: "enrolment", HTTPS_PORT: "the webhook"}

AUDIENCE = "retic.dev"  # of the tokens that agents enrol with
METRICS_AUDIENCE = "retic.dev/metrics"  # of the tokens that metrics are read with

MESH_LABEL = "retic.dev/mesh"
CAPTURED = "retic.dev/Captured"  # the pods' status condition
ROLE = "retic.dev/role"  # an annotation: "gateway" on the pods that are a Gateway's proxies
MANAGED_BY = "app.kubernetes.io/managed-by"
PART_OF = "app.kubernetes.io/part-of"
INSTALLED = "retic"  # the value of managed-by for what the installation and the controller have made
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"  # a label of what the controller makes for Gateways

NEVER_ENROLLED = ("kube-system", NAMESPACE)
CHECKS_URL = "https://retic.dev/checks"


def labels(component: str) -> dict[str, str]:
    """The labels of everything that is installed."""
    return {**selector(component), PART_OF: "retic", MANAGED_BY: INSTALLED}


def selector(component: str) -> dict[str, str]:
    """The labels that a part's pods are found by; they never change."""
    return {"app.kubernetes.io/name": "retic", "app.kubernetes.io/component": component}

REDIS_FOLDER = "/etc/retic-redis"
"""Where the controller finds the Secret with the user and password of Redis."""
