"""Rules between the fields of a Secret, a Service, an EndpointSlice, a Gateway."""

import ipaddress
from collections.abc import Iterator

from retic.objects import core, discovery
from retic.objects import gateway as gateways
from retic.sources import certificates, model, validate

Faults = Iterator[validate.Fault]


def fault(path: str, message: str, fix: str, code: str = "RT0011") -> validate.Fault:
    """A fault whose message begins with its path, as those of single fields do."""
    return validate.Fault(code, path, f"{path} {message}", fix)


def unique(path: str, names: list[str | None], field: str = "name") -> Faults:
    """Faults for names that a list has twice."""
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if name is None:
            continue
        if name in seen:
            where = f"{path}[{i}].{field}"
            message = f'is "{name}" again, as in {path}[{seen[name]}]'
            yield fault(where, message, f"give each one a {field} of its own")
        seen.setdefault(name, i)


def is_address(text: str, family: str | None = None) -> bool:
    """Whether `text` is an IP address, of that family (IPv4, IPv6) when one is given."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return family is None or family == f"IPv{address.version}"


def secret(value: core.Secret) -> Faults:
    """A Secret of type kubernetes.io/tls has a chain and a key that a proxy can use. Values are never quoted."""
    if value.type != certificates.TYPE:
        return
    pair: dict[str, bytes] = {}
    where: dict[str, str] = {}
    for field in (certificates.CHAIN, certificates.KEY):
        if field in value.string_data:
            where[field], pair[field] = model.child("stringData", field), value.string_data[field].encode()
        elif field in value.data:
            where[field], pair[field] = model.child("data", field), value.data[field]
        else:
            path = model.child("stringData" if value.string_data else "data", field)
            yield fault(path, f"is missing, and type {certificates.TYPE} needs it", f"write {field}:", "RT0007")
    if len(pair) == len((certificates.CHAIN, certificates.KEY)):
        for wrong in certificates.judge(pair[certificates.CHAIN], pair[certificates.KEY]):
            yield fault(where[wrong.field], wrong.message, wrong.fix)


def service(value: core.Service) -> Faults:
    """Ports, names of several ports, addresses (core/v1 ValidateService)."""
    spec = value.spec
    if spec.type == "ExternalName":
        if not spec.external_name:
            yield fault("spec.externalName", "is missing", "write externalName: db.example.com", "RT0007")
    elif not spec.ports and spec.cluster_ip != "None":
        yield fault("spec.ports", "is missing", "write ports: and `- port: 80` below it", "RT0007")
    if spec.cluster_ip and spec.cluster_ip != "None" and not is_address(spec.cluster_ip):
        message = f'is "{spec.cluster_ip}", which is no address'
        yield fault("spec.clusterIP", message, "remove it, or write None")
    for i, port in enumerate(spec.ports):
        if port.name is None and len(spec.ports) > 1:
            where = f"spec.ports[{i}].name"
            fix = "name every port when there are several: name: http"
            yield fault(where, "is missing", fix, "RT0007")
    yield from _exposed(spec)
    yield from unique("spec.ports", [port.name for port in spec.ports])
    yield from unique(
        "spec.ports", [f"{port.port}/{port.protocol or 'TCP'}" for port in spec.ports], field="port"
    )


def _exposed(spec: core.ServiceSpec) -> Faults:
    """Fields that go with others only, which a cluster would refuse too (core/v1 ValidateService)."""
    kind = spec.type or "ClusterIP"
    outside = kind in {"NodePort", "LoadBalancer"}
    for i, port in enumerate(spec.ports):
        if port.node_port and not outside:
            yield fault(f"spec.ports[{i}].nodePort", f"does not go with type {kind}", "remove it")
    if spec.external_traffic_policy is not None and not (outside or (kind == "ClusterIP" and spec.external_ips)):
        yield fault("spec.externalTrafficPolicy", f"does not go with type {kind}", "remove it")
    if spec.session_affinity_config is not None and spec.session_affinity != "ClientIP":
        fix = "write sessionAffinity: ClientIP, or remove it"
        yield fault("spec.sessionAffinityConfig", "needs sessionAffinity: ClientIP", fix)


def endpoint_slice(value: discovery.EndpointSlice) -> Faults:
    """Addresses of the slice's type; what they may point at is judged by the mesh."""
    for i, endpoint in enumerate(value.endpoints):
        if not endpoint.addresses:
            yield fault(f"endpoints[{i}].addresses", "is empty", "write one address", "RT0007")
        for j, address in enumerate(endpoint.addresses):
            if value.address_type != "FQDN" and not is_address(address, value.address_type):
                where = f"endpoints[{i}].addresses[{j}]"
                example = "10.1.2.3" if value.address_type == "IPv4" else "fd00::1"
                yield fault(
                    where, f'is "{address}", which is no {value.address_type} address', f"write {example}"
                )
    yield from unique("ports", [port.name or "" for port in value.ports] if len(value.ports) > 1 else [])


def gateway(value: gateways.Gateway) -> Faults:
    """Listener names, TLS where it belongs (Gateway API v1, CEL rules of Gateway and Listener)."""
    listeners = value.spec.listeners
    if not listeners:
        yield fault("spec.listeners", "is empty", "write one listener: name, port, protocol", "RT0007")
    yield from unique("spec.listeners", [listener.name for listener in listeners])
    for i, listener in enumerate(listeners):
        path = f"spec.listeners[{i}]"
        if listener.tls is not None and listener.protocol in {"HTTP", "TCP", "UDP"}:
            fix = "write protocol: HTTPS, or remove tls"
            yield fault(f"{path}.tls", f"does not go with protocol {listener.protocol}", fix)
        if listener.hostname and listener.protocol in {"TCP", "UDP"}:
            yield fault(f"{path}.hostname", f"does not go with protocol {listener.protocol}", "remove it")
        if listener.protocol != "HTTPS":
            continue
        if listener.tls is None:
            fix = "write tls: and `certificateRefs: [{name: my-certificate}]` below it"
            yield fault(f"{path}.tls", "is missing, and HTTPS needs it", fix, "RT0007")
        elif listener.tls.mode == "Passthrough":
            fix = "write mode: Terminate, or protocol: TLS"
            yield fault(f"{path}.tls.mode", "is Passthrough, which does not go with protocol HTTPS", fix)
        elif not listener.tls.certificate_refs and not listener.tls.options:
            fix = "name a Secret of type kubernetes.io/tls: certificateRefs: [{name: my-certificate}]"
            yield fault(f"{path}.tls.certificateRefs", "is missing", fix, "RT0007")
