"""Kinds that decide about calls in a cluster, but not here: what is not done, and what to write instead.

Only kinds that Retic does not read at all; fields of those that it reads are `retic.mesh`'s.
"""

import msgspec


class Lack(msgspec.Struct, frozen=True):
    """What an object of the kind does not do, completing "KIND ...", and what to do about it."""

    message: str
    fix: str


_REFUSES = Lack(
    "is not enforced: what it would refuse goes through",
    "do not rely on it here: every pod of the mesh may call every other",
)
_ENTERS = Lack("routes nothing: no call comes in by it", "write a Gateway, and an HTTPRoute that names it")
_ROUTES = Lack(
    "routes nothing: calls go where they would go without it",
    "write an HTTPRoute or a GRPCRoute, if one of them can say it",
)
_SHAPES = Lack("has no effect: calls are as they would be without it", "do not rely on it here")
_ENDPOINTS = Lack("leads nowhere: its addresses are not read", "write an EndpointSlice (discovery.k8s.io/v1)")
_PODS = Lack("runs no pods: it is not read", "write a Deployment")

_ANY = "*"
_KINDS: dict[str, dict[str, Lack]] = {
    "": {"Endpoints": _ENDPOINTS, "ReplicationController": _PODS},
    "networking.k8s.io": {"NetworkPolicy": _REFUSES, "Ingress": _ENTERS},
    "extensions": {"NetworkPolicy": _REFUSES, "Ingress": _ENTERS},
    "policy.networking.k8s.io": {_ANY: _REFUSES},
    "gateway.networking.k8s.io": {
        "TCPRoute": _ROUTES, "TLSRoute": _ROUTES, "UDPRoute": _ROUTES, "ListenerSet": _ENTERS,
        "BackendTLSPolicy": _SHAPES, "BackendLBPolicy": _SHAPES,
    },
    "gateway.networking.x-k8s.io": {"XListenerSet": _ENTERS, _ANY: _SHAPES},
    # Istio
    "networking.istio.io": {
        "Gateway": _ENTERS, "Sidecar": _SHAPES, "EnvoyFilter": _SHAPES, "ProxyConfig": _SHAPES, _ANY: _ROUTES,
    },
    "extensions.istio.io": {_ANY: _SHAPES},
    # Linkerd
    "policy.linkerd.io": {"HTTPRoute": _ROUTES, "HTTPLocalRateLimitPolicy": _SHAPES, _ANY: _REFUSES},
    "linkerd.io": {"ServiceProfile": _ROUTES},
    # Cilium, Calico
    "cilium.io": {
        "CiliumNetworkPolicy": _REFUSES, "CiliumClusterwideNetworkPolicy": _REFUSES,
        "CiliumEnvoyConfig": _ROUTES, "CiliumClusterwideEnvoyConfig": _ROUTES,
        "CiliumLocalRedirectPolicy": _ROUTES, "CiliumEgressGatewayPolicy": _SHAPES,
    },
    "projectcalico.org": {"NetworkPolicy": _REFUSES, "GlobalNetworkPolicy": _REFUSES},
    "crd.projectcalico.org": {"NetworkPolicy": _REFUSES, "GlobalNetworkPolicy": _REFUSES},
    # Service Mesh Interface, Kuma, Consul
    "access.smi-spec.io": {"TrafficTarget": _REFUSES},
    "split.smi-spec.io": {"TrafficSplit": _ROUTES},
    "kuma.io": {
        "MeshTrafficPermission": _REFUSES, "MeshHTTPRoute": _ROUTES, "MeshTCPRoute": _ROUTES,
        "MeshTimeout": _SHAPES, "MeshRetry": _SHAPES, "MeshRateLimit": _SHAPES, "MeshCircuitBreaker": _SHAPES,
        "MeshFaultInjection": _SHAPES, "MeshTLS": _SHAPES, "MeshGateway": _ENTERS,
    },
    "consul.hashicorp.com": {
        "ServiceIntentions": _REFUSES, "ServiceRouter": _ROUTES, "ServiceSplitter": _ROUTES,
        "ServiceResolver": _ROUTES, "ServiceDefaults": _SHAPES, "IngressGateway": _ENTERS,
    },
    # Ways in
    "gateway.envoyproxy.io": {"SecurityPolicy": _REFUSES, _ANY: _SHAPES},
    "projectcontour.io": {"HTTPProxy": _ENTERS},
    "traefik.io": {"IngressRoute": _ENTERS, "IngressRouteTCP": _ENTERS, "Middleware": _SHAPES},
    "route.openshift.io": {"Route": _ENTERS},
}  # fmt: skip


def lack(group: str, kind: str) -> Lack | None:
    """What is not done for this kind of this group ("" for the core group); None when it decides nothing."""
    kinds = _KINDS.get(group, {})
    return kinds.get(kind, kinds.get(_ANY))
