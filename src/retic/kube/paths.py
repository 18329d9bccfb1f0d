"""Where the API server keeps what is written here. Pure."""

from retic import findings

GROUP = "/apis/gateway.networking.k8s.io/v1"
_PLURALS = {
    "GatewayClass": "gatewayclasses", "Gateway": "gateways", "HTTPRoute": "httproutes", "GRPCRoute": "grpcroutes",
}  # fmt: skip
STATUS_KINDS = tuple(_PLURALS)
"""The kinds whose status is written."""


def of(ref: findings.Ref) -> str:
    """The path of an object of one of `STATUS_KINDS`. KeyError for another kind."""
    space = f"/namespaces/{ref.namespace}" if ref.namespace else ""
    return f"{GROUP}{space}/{_PLURALS[ref.kind]}/{ref.name}"


def pod(namespace: str, name: str) -> str:
    """A pod's."""
    return f"/api/v1/namespaces/{namespace}/pods/{name}"
