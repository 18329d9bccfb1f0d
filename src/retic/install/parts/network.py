"""Who may connect to the controller: agents and gateways, the API server, and readers of metrics. All else in the
namespace is shut.

Agents and API servers use the nodes' addresses (or others outside the cluster), which a policy can state only
as "no pod's": with `podNetworks` set, pods are left out of what it allows.
"""

from typing import Any

from retic.install import names
from retic.install.parts import base
from retic.install.template import Ref, V, When

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
                # Whoever has no token that counts gets nothing there.
                When(V.metrics.port, {"ports": [_port(V.metrics.port)]}),
            ],
        ),
    ]


def _port(number: int | Ref) -> base.Tree:
    return {"protocol": "TCP", "port": number}


def _policy(name: str, selector: base.Tree, ingress: list[Any]) -> base.Tree:
    return {
        "apiVersion": _API,
        "kind": "NetworkPolicy",
        "metadata": base.metadata(name, "controller"),
        # An empty list is not kept by the API server, and each application of one would count as a change.
        "spec": {"podSelector": selector, "policyTypes": ["Ingress"], **({"ingress": ingress} if ingress else {})},
    }
