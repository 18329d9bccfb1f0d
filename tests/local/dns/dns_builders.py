"""Objects for DNS tests, short to write."""

from retic.objects import core, discovery, meta


def service(name, namespace="default", *, ip="10.96.1.1", ports=(("http", 80),), **spec):
    return core.Service(
        metadata=meta.Metadata(name=name, namespace=namespace),
        spec=core.ServiceSpec(
            cluster_ip=ip, ports=tuple(core.ServicePort(port=p, name=n) for n, p in ports), **spec
        ),
    )


def external(name, target, namespace="default"):
    return core.Service(
        metadata=meta.Metadata(name=name, namespace=namespace),
        spec=core.ServiceSpec(type="ExternalName", external_name=target),
    )


def endpoint(address, hostname=None, ready=None):
    return discovery.Endpoint(
        addresses=(address,), hostname=hostname, conditions=discovery.EndpointConditions(ready=ready)
    )


def slice_of(service_name, *endpoints, namespace="default", suffix="1", ports=(("http", 8080),)):
    return discovery.EndpointSlice(
        metadata=meta.Metadata(
            name=f"{service_name}-{suffix}", namespace=namespace,
            labels={"kubernetes.io/service-name": service_name},
        ),
        address_type="IPv4",
        endpoints=tuple(endpoints),
        ports=tuple(discovery.EndpointPort(name=n, port=p, protocol="TCP") for n, p in ports),
    )


def namespace(name):
    return core.Namespace(metadata=meta.Metadata(name=name))
