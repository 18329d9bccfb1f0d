"""Who may connect to the controller: agents and gateways, and the API server. All else in the namespace is shut.

Agents and API servers use the nodes' addresses (or others outside the cluster), which a policy can state only
as "no pod's": with `podNetworks` set, pods are left out of what it allows.
"""

from retic.install import names
from retic.install.parts import base
from retic.install.template import V, When

_API = "networking.k8s.io/v1"


def policies() -> list[base.Tree]:
    """Nothing to anybody; and to the controller from those who must."""
    return [
        _policy("retic-default-deny", {}, []),
        _policy(
            names.CONTROLLER,
            {"matchLabels": names.selector("controller")},
            [
                {
                    "from": [
                        {
                            "namespaceSelector": {},
                            "podSelector": {
                                "matchLabels": {names.MANAGED_BY: names.INSTALLED},
                                "matchExpressions": [{"key": names.GATEWAY_NAME, "operator": "Exists"}],
                            },
                        }
                    ],
                    "ports": [_port(names.DISCOVERY_PORT), _port(names.ENROL_PORT)],
                },
                {
                    "from": [
                        {"ipBlock": {"cidr": "0.0.0.0/0", "except": When(V.pod_networks, V.pod_networks)}},
                    ],
                    "ports": [_port(port) for port in (names.DISCOVERY_PORT, names.ENROL_PORT, names.HTTPS_PORT)],
                },
            ],
        ),
    ]


def _port(number: int) -> base.Tree:
    return {"protocol": "TCP", "port": number}


def _policy(name: str, selector: base.Tree, ingress: list[base.Tree]) -> base.Tree:
    return {
        "apiVersion": _API,
        "kind": "NetworkPolicy",
        "metadata": base.metadata(name, "controller"),
        # An empty list is not kept by the API server, and each application of one would count as a change.
        "spec": {"podSelector": selector, "policyTypes": ["Ingress"], **({"ingress": ingress} if ingress else {})},
    }
