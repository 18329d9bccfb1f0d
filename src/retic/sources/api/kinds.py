"""Which kinds are read from an API server, and how: versions, selections, whole or metadata only."""

import msgspec

from retic import objects
from retic.sources.api import resources


class Read(msgspec.Struct, frozen=True):
    """How one kind is read. `kind` is one of `objects.KINDS`, `plural` its name in paths.

    `metadata_only`: nothing but metadata is asked for, which is all that the struct has. `is_checked`: forms are
    judged too, for kinds whose rules come from a CRD that anybody may have installed in any version.
    `fields` is a field selector; `namespace` None reads all namespaces.
    """

    kind: str
    plural: str
    metadata_only: bool = False
    is_checked: bool = False
    fields: str | None = None
    namespace: str | None = None

    @property
    def struct(self) -> type[objects.Object]:
        """What objects are decoded to."""
        return objects.KINDS[self.kind].struct

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the kind may be served, the best version first."""
        middle = f"namespaces/{self.namespace}/" if self.namespace else ""
        return tuple(f"{resources.prefix(v)}/{middle}{self.plural}" for v in objects.KINDS[self.kind].api_versions)

    @property
    def right(self) -> str:
        """What must be allowed to follow the kind, as a rule of a role has it."""
        where = f"in the namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"list and watch {self.resource} {where}"

    @property
    def resource(self) -> str:
        """The kind as rules of roles and kubectl name it."""
        group = resources.group(objects.KINDS[self.kind].api_versions[0])
        return f"{self.plural}.{group}" if group else self.plural


def mesh(own_namespace: str = "retic-system") -> tuple[Read, ...]:
    """All that the mesh reads. Keys of the installation's own namespace never enter the store."""
    certificates = f"type=kubernetes.io/tls,metadata.namespace!={own_namespace}"
    return (
        Read("Namespace", "namespaces", metadata_only=True),
        Read("ServiceAccount", "serviceaccounts", metadata_only=True),
        Read("Node", "nodes"),
        Read("Pod", "pods"),
        Read("Service", "services"),
        Read("EndpointSlice", "endpointslices"),
        Read("Secret", "secrets", is_checked=True, fields=certificates),
        Read("GatewayClass", "gatewayclasses", is_checked=True),
        Read("Gateway", "gateways", is_checked=True),
        Read("HTTPRoute", "httproutes", is_checked=True),
        Read("GRPCRoute", "grpcroutes", is_checked=True),
        Read("ReferenceGrant", "referencegrants", is_checked=True),
        Read("AuthorizationPolicy", "authorizationpolicies", is_checked=True),
        Read("PeerAuthentication", "peerauthentications", is_checked=True),
        Read("RequestAuthentication", "requestauthentications", is_checked=True),
        Read("DestinationRule", "destinationrules", is_checked=True),
        Read("VirtualService", "virtualservices", is_checked=True),
        Read("AuthorizationProvider", "authorizationproviders", is_checked=True),
        Read("RateLimit", "ratelimits", is_checked=True),
        Read("Telemetry", "telemetries", is_checked=True),
        Read("TelemetryProvider", "telemetryproviders", is_checked=True),
    )
