"""The status of a GatewayClass, and the features that work: each is shown by a test of this repository. Pure."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from retic.kube import conditions
from retic.objects import gateway

Json = dict[str, Any]

OWN = ("Accepted", "SupportedVersion")
BUNDLE = "gateway.networking.k8s.io/bundle-version"

# Versions of the Gateway API's CRDs in which every field that is read means the same (v1 of all kinds).
FIRST, LAST = (1, 1), (1, 6)
_VERSION = re.compile(r"v(\d+)\.(\d+)\.")

# Names of sigs.k8s.io/gateway-api/pkg/features, sorted. Absent is what is not carried out: CORS, retries,
# client certificates, BackendTLSPolicy, ListenerSet, TLSRoute, TCPRoute, UDPRoute.
FEATURES = (
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructurePropagation",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "ReferenceGrant",
)


class Class(msgspec.Struct, frozen=True):
    """What is to stand in a class's status."""

    conditions: tuple[conditions.Condition, ...]
    features: tuple[str, ...] = FEATURES


def wanted(value: gateway.GatewayClass, bundle: str | None) -> Class:
    """The status of a class of Retic's. `bundle` is the version of the CRDs; None when it could not be read."""
    return Class((_accepted(value), _version(bundle)))


def _accepted(value: gateway.GatewayClass) -> conditions.Condition:
    if value.spec.parameters_ref is not None:
        text = "spec.parametersRef: Retic reads no parameters; remove it, and annotate each Gateway instead"
        return conditions.Condition("Accepted", False, "InvalidParameters", text)
    return conditions.Condition("Accepted", True, "Accepted", "Gateways of this class are served by Retic")


def _version(bundle: str | None) -> conditions.Condition:
    if bundle is None:
        return conditions.Condition(
            "SupportedVersion", None, "Pending", "the version of the CRDs has not been read", guessed=True
        )
    found = _VERSION.match(bundle)
    if found and FIRST <= (int(found[1]), int(found[2])) <= LAST:
        text = f"the CRDs are of Gateway API {bundle}"
        return conditions.Condition("SupportedVersion", True, "SupportedVersion", text)
    text = (
        f"the CRDs are of Gateway API {bundle or '(no version is written)'}; Retic knows "
        f"{FIRST[0]}.{FIRST[1]} to {LAST[0]}.{LAST[1]} and does what it can"
    )
    return conditions.Condition("SupportedVersion", False, "UnsupportedVersion", text)


def merged(present: Mapping[str, Any], made: Class, *, generation: int, now: str) -> Json:
    """The whole status."""
    found = conditions.merged(
        present.get("conditions") or (), made.conditions, generation=generation, now=now, own=OWN
    )
    return {**present, "conditions": found, "supportedFeatures": [{"name": name} for name in made.features]}
