"""Which kinds are read, in which API versions; decoding from and encoding to Kubernetes JSON."""

from typing import Any

import msgspec

from retic.objects import (
    authorizers,
    core,
    destination,
    discovery,
    forms,
    gateway,
    limits,
    meta,
    pods,
    routes,
    security,
    telemetry,
    virtual_services,
    workloads,
)


class Kind(msgspec.Struct, frozen=True):
    """One kind: its struct, the API versions it is read in (the first is written), has it a namespace.

    `name` is the form of `metadata.name`. `required`: Kubernetes paths that must be there.
    """

    struct: type[meta.Object]
    api_versions: tuple[str, ...]
    namespaced: bool = True
    name: forms.Syntax = forms.SUBDOMAIN

    @property
    def required(self) -> tuple[str, ...]:
        """`metadata.name`, then required fields of the object and of its spec, such as `spec.selector`."""
        paths = ["metadata.name"]
        for field in msgspec.structs.fields(self.struct):
            if field.required and field.name != "metadata":
                paths.append(field.encode_name)
            if field.name == "spec":
                paths += [f"spec.{f.encode_name}" for f in msgspec.structs.fields(field.type) if f.required]
        return tuple(paths)


_GATEWAY = ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")

_SECURITY = ("security.istio.io/v1", "security.istio.io/v1beta1")

_NETWORKING = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")

KINDS: dict[str, Kind] = {
    kind.struct.__name__: kind
    for kind in (
        Kind(core.Namespace, ("v1",), namespaced=False, name=forms.LABEL),
        Kind(core.Node, ("v1",), namespaced=False),
        Kind(core.ServiceAccount, ("v1",)),
        Kind(core.ConfigMap, ("v1",)),
        Kind(core.Secret, ("v1",)),
        Kind(core.Service, ("v1",), name=forms.LABEL_1035),
        Kind(pods.Pod, ("v1",)),
        Kind(workloads.Deployment, ("apps/v1",)),
        Kind(workloads.ReplicaSet, ("apps/v1",)),
        Kind(workloads.StatefulSet, ("apps/v1",), name=forms.LABEL),
        Kind(workloads.DaemonSet, ("apps/v1",)),
        Kind(workloads.Job, ("batch/v1",)),
        Kind(workloads.CronJob, ("batch/v1",)),
        Kind(discovery.EndpointSlice, ("discovery.k8s.io/v1",)),
        Kind(gateway.GatewayClass, _GATEWAY, namespaced=False),
        Kind(gateway.Gateway, _GATEWAY),
        Kind(routes.HTTPRoute, _GATEWAY),
        Kind(routes.GRPCRoute, _GATEWAY[:1]),
        Kind(gateway.ReferenceGrant, ("gateway.networking.k8s.io/v1beta1", "gateway.networking.k8s.io/v1")),
        Kind(security.AuthorizationPolicy, _SECURITY),
        Kind(security.PeerAuthentication, _SECURITY),
        Kind(security.RequestAuthentication, _SECURITY),
        Kind(destination.DestinationRule, _NETWORKING),
        Kind(virtual_services.VirtualService, _NETWORKING),
        Kind(authorizers.AuthorizationProvider, ("retic.dev/v1alpha1",), namespaced=False),
        Kind(limits.RateLimit, ("retic.dev/v1alpha1",)),
        Kind(telemetry.Telemetry, ("telemetry.istio.io/v1", "telemetry.istio.io/v1alpha1")),
        Kind(telemetry.TelemetryProvider, ("retic.dev/v1alpha1",), namespaced=False),
    )
}


def decode(raw: dict[str, Any]) -> meta.Object:
    """The struct of a Kubernetes JSON object; fields nobody reads are dropped, defaults are not applied.

    Raises KeyError for a kind that is not in `KINDS`, msgspec.ValidationError for a wrong or missing field.
    """
    return msgspec.convert(raw, KINDS[raw["kind"]].struct)


def encode(value: meta.Object) -> dict[str, Any]:
    """Kubernetes JSON with `apiVersion` and `kind`, without fields at their default; `decode` undoes it."""
    kind = type(value).__name__
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))  # lists, not tuples
    return {"apiVersion": KINDS[kind].api_versions[0], "kind": kind, **body}
