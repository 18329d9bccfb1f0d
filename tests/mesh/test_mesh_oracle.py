"""Every resource kept up to date equals the resource made from nothing, after any sequence of events."""

from hypothesis import given, settings
from hypothesis import strategies as st

from retic import findings, graph, wiring, xds
from retic.envoy import names, resources
from retic.mesh import faults, network, tables
from retic.objects import core, destination, discovery, gateway, meta, pods, routes, security
from retic.objects import virtual_services as vs

NAMESPACES = ("a", "b")
SERVICES = ("s", "t")
CLIENTS = (xds.Client("node/node-1", "z1"), xds.Client("node/node-2"), xds.Client("gateway/a/g"))


def metadata(name, namespace, **fields):
    return meta.Metadata(name=name, namespace=namespace, **fields)


@st.composite
def services(draw):
    namespace, name = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(SERVICES))
    address = draw(st.sampled_from(["10.96.0.1", "10.96.0.2", "None"]))
    ports = draw(st.lists(st.sampled_from([80, 90]), unique=True, max_size=2))
    protocol = draw(st.sampled_from([None, "http", "tcp", "kubernetes.io/h2c"]))
    spec = core.ServiceSpec(
        cluster_ip=address,
        ports=tuple(core.ServicePort(port=p, name=f"p{p}", app_protocol=protocol) for p in ports),
    )
    return core.Service(metadata=metadata(name, namespace), spec=spec)


@st.composite
def pod(draw):
    number = draw(st.integers(1, 3))
    namespace = draw(st.sampled_from(NAMESPACES))
    gate = draw(st.booleans()) and number == 3
    probe = pods.Probe(http_get=pods.HTTPGetAction(port=8080, path=draw(st.sampled_from(["/a", "/b"]))))
    spec = pods.PodSpec(
        containers=draw(st.sampled_from([(), (pods.Container(name="c", readiness_probe=probe),)])),
        node_name=draw(st.sampled_from([None, "node-1", "node-2"])),
        service_account_name=draw(st.sampled_from(["x", "y"])),
        host_network=draw(st.sampled_from([None, None, True])),
    )
    captured = meta.Condition(tables.CAPTURED, draw(st.sampled_from(["True", "False"])))
    status = pods.PodStatus(
        pod_ip=draw(st.sampled_from([None, f"10.244.1.{number}"])),
        phase=draw(st.sampled_from(["Running", "Running", "Succeeded"])),
        conditions=draw(st.sampled_from([(), (captured,)])),
    )
    about = metadata(
        f"p{number}", namespace, uid=f"u-{namespace}-{number}",
        labels={tables.GATEWAY_LABEL: "g"} if gate else draw(st.sampled_from([{}, {tables.MESH_LABEL: "disabled"}])),
        annotations={tables.ROLE_ANNOTATION: "gateway"} if gate else {},
    )
    return pods.Pod(metadata=about, spec=spec, status=status)


@st.composite
def slices(draw):
    namespace, name = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(SERVICES))
    endpoint = st.builds(
        discovery.Endpoint,
        addresses=st.sampled_from([("10.244.1.1",), ("10.244.1.2",), ("192.0.2.1",), ("127.0.0.1",)]),
        conditions=st.builds(discovery.EndpointConditions, ready=st.sampled_from([True, False, None])),
        zone=st.sampled_from([None, "z1", "z2"]),
    )
    return discovery.EndpointSlice(
        metadata=metadata(f"{name}-{draw(st.integers(1, 2))}", namespace, labels={tables.SERVICE_LABEL: name}),
        address_type="IPv4",
        endpoints=tuple(draw(st.lists(endpoint, max_size=3))),
        ports=(discovery.EndpointPort(name="p80", port=draw(st.sampled_from([8080, 15001]))),),
    )


@st.composite
def http_routes(draw):
    kind = draw(st.sampled_from(["Service", "Gateway"]))
    parent = routes.ParentReference(
        kind=kind, group="" if kind == "Service" else "gateway.networking.k8s.io",
        name=draw(st.sampled_from(SERVICES)) if kind == "Service" else "g",
        namespace=draw(st.sampled_from([None, *NAMESPACES])),
        port=draw(st.sampled_from([None, 80])),
    )
    backend = st.builds(
        routes.HTTPBackendRef, name=st.sampled_from([*SERVICES, "none"]),
        namespace=st.sampled_from([None, *NAMESPACES]), port=st.sampled_from([80, 90]),
        weight=st.sampled_from([0, 1, 3]),
    )
    match = routes.HTTPRouteMatch(
        path=routes.HTTPPathMatch(type="PathPrefix", value=draw(st.sampled_from(["/", "/x", "/y/"])))
    )
    mirror = routes.HTTPRouteFilter(
        type="RequestMirror",
        request_mirror=routes.RequestMirror(backend_ref=routes.ObjectReference(name="s", port=80)),
    )
    rule = routes.HTTPRouteRule(
        matches=(match,), backend_refs=tuple(draw(st.lists(backend, max_size=2))),
        filters=draw(st.sampled_from([(), (mirror,)])),
    )
    about = metadata(draw(st.sampled_from(["r1", "r2"])), draw(st.sampled_from(NAMESPACES)))
    return routes.HTTPRoute(
        metadata=about,
        spec=routes.HTTPRouteSpec(
            parent_refs=(parent,), hostnames=draw(st.sampled_from([(), ("x.example",), ("*.example",)])),
            rules=(rule,),
        ),
    )


@st.composite
def gateways(draw):
    hostname = draw(st.sampled_from([None, "*.example", "x.example"]))
    listeners = tuple(
        gateway.Listener(name=f"l{i}", port=draw(st.sampled_from([80, 81])), protocol="HTTP", hostname=hostname)
        for i in range(draw(st.integers(1, 2)))
    )
    secured = draw(st.lists(st.sampled_from([None, "*.example", "x.example"]), unique=True))
    tls = gateway.ListenerTLS(certificate_refs=(gateway.SecretObjectReference(name="pair"),))
    listeners += tuple(
        gateway.Listener(name=f"t{i}", port=443, protocol="HTTPS", hostname=name, tls=tls)
        for i, name in enumerate(secured)
    )
    spec = gateway.GatewaySpec(
        gateway_class_name=draw(st.sampled_from(["retic", "other"])), listeners=listeners
    )
    return gateway.Gateway(metadata=metadata("g", "a"), spec=spec)


@st.composite
def grants(draw):
    spec = gateway.ReferenceGrantSpec(
        from_=(gateway.ReferenceGrantFrom(group="gateway.networking.k8s.io", kind="HTTPRoute", namespace="a"),),
        to=(gateway.ReferenceGrantTo(group="", kind="Service", name=draw(st.sampled_from([None, "s"]))),),
    )
    return gateway.ReferenceGrant(metadata=metadata("grant", "b"), spec=spec)


@st.composite
def secrets(draw):
    data = {"tls.crt": draw(st.sampled_from([b"", b"-----BEGIN", b"-----BEGIN again"])), "tls.key": b"-----BEGIN"}
    kind = draw(st.sampled_from(["kubernetes.io/tls", "kubernetes.io/tls", "Opaque"]))
    return core.Secret(metadata=metadata("pair", "a"), type=kind, data=data)


@st.composite
def namespaces(draw):
    labels = draw(st.sampled_from([{}, {tables.MESH_LABEL: "enabled"}, {tables.MESH_LABEL: "disabled"}]))
    return core.Namespace(metadata=meta.Metadata(name=draw(st.sampled_from(NAMESPACES)), labels=labels))


@st.composite
def machines(draw):
    spec = core.NodeSpec(pod_cidrs=draw(st.sampled_from([(), ("10.244.1.0/24",), ("nonsense",)])))
    address = core.NodeAddress("InternalIP", draw(st.sampled_from(["192.168.0.1", "fd00::1"])))
    region = draw(st.sampled_from([{}, {"topology.kubernetes.io/region": "r"}]))
    labels = {"topology.kubernetes.io/zone": "z1", **region}
    about = meta.Metadata(name="node-1", labels=labels)
    return core.Node(metadata=about, spec=spec, status=core.NodeStatus((address,)))


@st.composite
def peer_authentications(draw):
    mutual = st.sampled_from(["DISABLE", "PERMISSIVE", "STRICT", "UNSET"]).map(security.MutualTLS)
    spec = security.PeerAuthenticationSpec(
        selector=draw(st.sampled_from([None, security.WorkloadSelector({tables.MESH_LABEL: "disabled"})])),
        mtls=draw(mutual),
        port_level_mtls=draw(st.dictionaries(st.sampled_from(["80", "8080"]), mutual, max_size=1)),
    )
    name = metadata(draw(st.sampled_from(["m", "n"])), draw(st.sampled_from(["retic-system", "a"])))
    return security.PeerAuthentication(metadata=name, spec=spec)


@st.composite
def destination_rules(draw):
    shares = destination.Distribute(from_="r/z1", to={"r/*": 50, "*": 50})
    localities = st.sampled_from([
        None, destination.LocalitySetting(distribute=(shares,)), destination.LocalitySetting(enabled=False),
        destination.LocalitySetting(failover_priority=("app=x", "topology.kubernetes.io/region")),
    ])  # fmt: skip
    balancer = st.builds(
        destination.LoadBalancer, simple=st.sampled_from([None, "RANDOM"]), locality_lb_setting=localities
    )
    policy = st.none() | st.builds(destination.TrafficPolicy, load_balancer=balancer)
    labels = draw(st.sampled_from([{}, {tables.MESH_LABEL: "disabled"}]))
    subsets = draw(st.lists(st.builds(
        destination.Subset, name=st.just("v1"), labels=st.just(labels), traffic_policy=policy
    ), max_size=1))  # fmt: skip
    hosts = ["s", "s.a.svc.cluster.local", "*.svc.cluster.local", "*.a.svc.cluster.local", "none"]
    spec = destination.DestinationRuleSpec(
        host=draw(st.sampled_from(hosts)), traffic_policy=draw(policy), subsets=tuple(subsets),
        export_to=draw(st.sampled_from([(), (".",), ("a",), ("*",)])),
        workload_selector=draw(st.sampled_from([None, None, None, security.WorkloadSelector({"app": "x"})])),
    )
    about = metadata(draw(st.sampled_from(["d", "e"])), draw(st.sampled_from(["retic-system", *NAMESPACES])))
    return destination.DestinationRule(metadata=about, spec=spec)


@st.composite
def virtual(draw):
    """A VirtualService; `v3` is one that the others may delegate to."""
    name = draw(st.sampled_from(["v1", "v2", "v3"]))
    to = st.builds(vs.Destination, host=st.sampled_from(["s", "t.b", "none"]))
    match = st.builds(
        vs.HTTPMatchRequest, uri=st.sampled_from([None, vs.StringMatch(prefix="/x"), vs.StringMatch(prefix="/x/y")]),
        source_labels=st.sampled_from([{}, {tables.MESH_LABEL: "disabled"}]), port=st.sampled_from([None, 80]),
    )  # fmt: skip
    sent = st.builds(
        vs.VirtualHTTPRoute, match=st.lists(match, max_size=1).map(tuple),
        route=st.lists(st.builds(vs.HTTPRouteDestination, destination=to, weight=st.just(1)), max_size=2).map(tuple),
        mirror=st.one_of(st.none(), to),
    )  # fmt: skip
    matches = st.lists(match, max_size=1).map(tuple)
    left = st.builds(vs.VirtualHTTPRoute, match=matches, delegate=st.just(vs.Delegate("v3")))
    lower = name == "v3"
    spec = vs.VirtualServiceSpec(
        hosts=() if lower else draw(st.sampled_from([("s",), ("t", "x.example"), ("*.a.svc.cluster.local",), ("*",)])),
        gateways=() if lower else draw(st.sampled_from([(), ("mesh", "a/g"), ("g",)])),
        http=tuple(draw(st.lists(sent if lower else st.one_of(sent, left), min_size=1, max_size=2))),
        export_to=draw(st.sampled_from([(), (".",), ("a",)])),
    )
    return vs.VirtualService(metadata=metadata(name, draw(st.sampled_from(NAMESPACES))), spec=spec)


OBJECTS = st.one_of(
    services(), pod(), slices(), http_routes(), gateways(), grants(), secrets(), namespaces(), machines(),
    peer_authentications(), destination_rules(), virtual(), virtual(),
)
SETTINGS = st.builds(
    network.Settings, enrolment=st.sampled_from(["all", "labelled"]), mode=st.sampled_from(["STRICT", "PERMISSIVE"])
)
EVENTS = st.lists(st.tuples(OBJECTS, st.booleans()), min_size=1, max_size=14)


def every_key():
    wanted = []
    for client in CLIENTS:
        listed = [names.APPLICATION, names.DESTINATIONS, names.PODS, *(names.routes(n) for n in NAMESPACES)]
        listed += [names.gateway("a", "g", 80), names.gateway_routes("a", "g", 80), names.gateway_routes("a", "g", 81)]
        listed += [names.gateway("a", "g", 443), names.tls("a", "pair")]
        listed += [names.listener_routes("a", "g", 443, f"t{i}") for i in range(3)]
        for n in NAMESPACES:
            listed += [f(f"u-{n}-{i}") for i in (1, 3) for f in (names.inbound, names.outbound)]
            listed += [names.filter_slot(s, f"u-{n}-1") for s in ("plaintext", "plaintext-http")]
            listed += [names.service("a", n, s, 80) for s in SERVICES]
            listed += [names.endpoints(n, s, 80) for s in SERVICES]
            listed += [names.service("a", n, "s", 80, "v1"), names.view(n, "a", "s", 80)]
            listed += [names.view("b", n, "s", 80, "v1")]
        listed += [names.virtual("a", f"10.96.0.{i}:80") for i in (1, 2)]
        listed += [names.address("b", f"10.244.1.{i}") for i in (1, 3)]
        for name in listed:
            parsed = names.parse(name)
            wanted.append(resources.scope(parsed.type_url, name, client))
    return sorted(set(wanted))


KEYS = every_key()
LISTS = [resources.wildcard(t, c) for t in (names.LISTENER, names.CLUSTER) for c in CLIENTS]


def ref_of(value):
    return findings.Ref(type(value).__name__, value.metadata.namespace, value.metadata.name)


@settings(max_examples=150, deadline=None)
@given(st.lists(SETTINGS, min_size=1, max_size=2), EVENTS, st.sets(st.sampled_from(KEYS), max_size=25))
def test_incremental_equals_from_nothing(told, events, watched):
    db = wiring.mesh(told[0])
    watches = {key: db.watch(resources.resource, key) for key in watched}
    state = {}
    for number, (value, keep) in enumerate(events):
        ref = ref_of(value)
        now = told[-1] if number > len(events) // 2 else told[0]
        db.commit([graph.Set(tables.SETTINGS, tables.ONE, now)])
        db.commit(tables.changes(ref, value if keep else None))
        if keep:
            state[ref] = value
        else:
            state.pop(ref, None)
        fresh = wiring.offline(state.values(), now)
        for key, watch in watches.items():
            assert watch.latest == fresh.ask(resources.resource, key), key
        for key in LISTS:
            assert db.ask(resources.wanted, key) == fresh.ask(resources.wanted, key)
        for ref in state:
            assert db.ask(faults.of, ref) == fresh.ask(faults.of, ref)
    for key in KEYS:
        assert db.ask(resources.resource, key) == fresh.ask(resources.resource, key)
        assert db.ask(resources.companions, key) == fresh.ask(resources.companions, key)
    for watch in watches.values():
        watch.close()
