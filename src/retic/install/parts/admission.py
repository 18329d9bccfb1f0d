"""What the API server is told: whom to ask about our kinds, and the class of our gateways."""

from retic.install import names
from retic.install.parts import base
from retic.install.template import Concat, V

_GATEWAY_API = "gateway.networking.k8s.io"
_SECURITY_API = "security.istio.io"
_NETWORKING_API = "networking.istio.io"
GATEWAY_CLASS_API = f"{_GATEWAY_API}/v1"


def webhook() -> base.Tree:
    """Asked about the Gateway API's kinds only, never about pods: when it is away, everything else goes on.

    The controller fills in `caBundle`; until then the API server cannot ask, and does not mind.
    """
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": base.metadata(names.WEBHOOK, "controller", namespaced=False),
        "webhooks": [{
            "name": "validate.retic.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "timeoutSeconds": 5,
            "clientConfig": {"service": {
                "namespace": names.NAMESPACE, "name": names.CONTROLLER,
                "path": "/validate", "port": names.HTTPS_PORT,
            }},
            "namespaceSelector": {"matchExpressions": [{
                "key": "kubernetes.io/metadata.name", "operator": "NotIn",
                "values": Concat(names.NEVER_ENROLLED, V.exclude_namespaces),
            }]},
            "rules": [{
                "apiGroups": [_GATEWAY_API], "apiVersions": ["v1", "v1beta1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["gateways", "httproutes", "grpcroutes", "referencegrants"],
                "scope": "Namespaced",
            }, {
                "apiGroups": [_SECURITY_API], "apiVersions": ["v1", "v1beta1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["authorizationpolicies", "peerauthentications", "requestauthentications"],
                "scope": "Namespaced",
            }, {
                "apiGroups": [_NETWORKING_API], "apiVersions": ["v1", "v1beta1", "v1alpha3"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["destinationrules", "virtualservices"],
                "scope": "Namespaced",
            }],
        }],
    }  # fmt: skip


def gateway_class() -> base.Tree:
    """The class that Gateways name to be ours."""
    return {
        "apiVersion": GATEWAY_CLASS_API,
        "kind": "GatewayClass",
        "metadata": base.metadata(names.GATEWAY_CLASS, "controller", namespaced=False),
        "spec": {
            "controllerName": names.GATEWAY_CONTROLLER,
            "description": "Retic: an Envoy of its own for each Gateway.",
        },
    }
