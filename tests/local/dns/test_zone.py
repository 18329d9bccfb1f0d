"""The zone's records against the Kubernetes DNS specification, and its updates against a zone made anew."""

import dns_builders as make
import hypothesis
from hypothesis import strategies as st

from retic.local import zone as zones

FOUND, NO_DATA, NO_NAME, OUTSIDE = zones.Status


def of(*things):
    zone = zones.Zone()
    for thing in things:
        zone.put(thing)
    return zone


def data(zone, name, kind):
    return sorted(record.data for record in zone.look_up(name, kind).records)


def status(zone, name, kind="A"):
    return zone.look_up(name, kind).status


def test_a_service_has_address_port_and_reverse_records():
    zone = of(make.service("web", ports=(("http", 80), (None, 81))))
    assert data(zone, "web.default.svc.cluster.local", "A") == ["10.96.1.1"]
    assert data(zone, "_http._tcp.web.default.svc.cluster.local", "SRV") == [
        "0 100 80 web.default.svc.cluster.local."
    ]
    assert data(zone, "1.1.96.10.in-addr.arpa", "PTR") == ["web.default.svc.cluster.local."]


def test_unnamed_ports_have_no_srv_name():
    zone = of(make.service("web", ports=((None, 81),)))
    assert status(zone, "_tcp.web.default.svc.cluster.local", "SRV") is NO_NAME


def test_names_differ_only_in_case():
    zone = of(make.service("web"))
    assert data(zone, "WEB.Default.SVC.cluster.LOCAL.", "A") == ["10.96.1.1"]


def test_a_name_with_another_type_is_no_data_and_names_the_zone():
    answer = of(make.service("web")).look_up("web.default.svc.cluster.local", "AAAA")
    assert answer.status is NO_DATA
    assert answer.soa is not None
    assert answer.soa.name == "cluster.local"


def test_names_that_only_have_names_below_them_exist():
    zone = of(make.service("web"), make.namespace("empty"))
    for name in (
        "_tcp.web.default.svc.cluster.local", "default.svc.cluster.local", "svc.cluster.local",
        "pod.cluster.local", "empty.svc.cluster.local", "default.pod.cluster.local",
    ):
        assert status(zone, name) is NO_DATA, name


def test_unknown_names_inside_are_absent_and_outside_are_not_ours():
    zone = of()
    assert status(zone, "web.default.svc.cluster.local") is NO_NAME
    assert status(zone, "example.com.default.svc.cluster.local") is NO_NAME
    assert status(zone, "9.9.244.10.in-addr.arpa", "PTR") is NO_NAME
    assert status(zone, "example.com") is OUTSIDE
    assert status(zone, "8.8.8.8.in-addr.arpa", "PTR") is OUTSIDE
    assert status(zone, ".") is OUTSIDE
    assert status(zone, "notcluster.local") is OUTSIDE


def test_a_headless_service_answers_with_its_ready_endpoints():
    zone = of(
        make.service("db", ip="None"),
        make.slice_of(
            "db", make.endpoint("10.244.1.5", "db-0"), make.endpoint("10.244.1.6", "db-1", ready=False),
            make.endpoint("10.244.1.7", ready=True), ports=(("pg", 5432),),
        ),
    )
    name = "db.default.svc.cluster.local"
    assert data(zone, name, "A") == ["10.244.1.5", "10.244.1.7"]
    assert data(zone, f"db-0.{name}", "A") == ["10.244.1.5"]
    assert status(zone, f"db-1.{name}") is NO_NAME
    assert data(zone, f"10-244-1-7.{name}", "A") == ["10.244.1.7"]
    assert data(zone, f"_pg._tcp.{name}", "SRV") == [
        f"0 100 5432 10-244-1-7.{name}.", f"0 100 5432 db-0.{name}.",
    ]
    assert data(zone, "5.1.244.10.in-addr.arpa", "PTR") == [f"db-0.{name}."]


def test_a_headless_service_without_ready_endpoints_does_not_exist():
    zone = of(make.service("db", ip="None"), make.slice_of("db", make.endpoint("10.244.1.5", ready=False)))
    assert status(zone, "db.default.svc.cluster.local") is NO_NAME


def test_addresses_that_are_not_ready_can_be_published():
    zone = of(
        make.service("db", ip="None", publish_not_ready_addresses=True),
        make.slice_of("db", make.endpoint("10.244.1.5", "db-0", ready=False)),
    )
    assert data(zone, "db-0.db.default.svc.cluster.local", "A") == ["10.244.1.5"]


def test_one_hostname_with_several_addresses():
    zone = of(
        make.service("db", ip="None"),
        make.slice_of("db", make.endpoint("10.244.1.5", "x"), make.endpoint("10.244.1.6", "x")),
    )
    assert data(zone, "x.db.default.svc.cluster.local", "A") == ["10.244.1.5", "10.244.1.6"]


def test_an_external_name_is_a_cname_for_every_type():
    zone = of(make.external("ext", "WWW.Example.com"))
    for kind in ("A", "AAAA", "CNAME", "TXT"):
        assert data(zone, "ext.default.svc.cluster.local", kind) == ["www.example.com."]


def test_pod_records_need_a_namespace_and_an_address():
    zone = of(make.namespace("shop"))
    assert data(zone, "10-244-1-5.shop.pod.cluster.local", "A") == ["10.244.1.5"]
    assert status(zone, "10-244-1-5.shop.pod.cluster.local", "AAAA") is NO_DATA
    assert status(zone, "10-244-1-5.nowhere.pod.cluster.local") is NO_NAME
    assert status(zone, "10-244-1-500.shop.pod.cluster.local") is NO_NAME
    assert status(zone, "x.10-244-1-5.shop.pod.cluster.local") is NO_NAME


def test_the_schema_version_and_the_server_itself():
    zone = of()
    assert data(zone, "dns-version.cluster.local", "TXT") == ['"1.1.0"']
    assert data(zone, "cluster.local", "NS") == ["ns.dns.cluster.local."]
    assert data(zone, "ns.dns.cluster.local", "A") == ["10.96.0.10"]
    assert status(zone, "cluster.local") is NO_DATA


def test_a_slice_that_moves_to_another_service_leaves_the_first():
    zone = of(make.service("a", ip="None"), make.service("b", ip="None"))
    first = make.slice_of("a", make.endpoint("10.244.1.5"))
    zone.put(first)
    moved = make.slice_of("b", make.endpoint("10.244.1.5"))
    zone.put(type(moved)(
        metadata=type(moved.metadata)(
            name=first.metadata.name, namespace="default", labels=moved.metadata.labels
        ),
        address_type="IPv4", endpoints=moved.endpoints, ports=moved.ports,
    ))
    assert status(zone, "a.default.svc.cluster.local") is NO_NAME
    assert data(zone, "b.default.svc.cluster.local", "A") == ["10.244.1.5"]


def test_two_services_over_one_pod_share_its_reverse_name():
    zone = of(
        make.service("a", ip="None"), make.slice_of("a", make.endpoint("10.244.1.5")),
        make.service("b", ip="None"), make.slice_of("b", make.endpoint("10.244.1.5")),
    )
    assert len(data(zone, "5.1.244.10.in-addr.arpa", "PTR")) == 2
    zone.remove("Service", "default", "a")
    assert data(zone, "5.1.244.10.in-addr.arpa", "PTR") == ["10-244-1-5.b.default.svc.cluster.local."]


def test_malformed_endpoint_addresses_are_left_out():
    zone = of(make.service("db", ip="None"), make.slice_of("db", make.endpoint("nonsense")))
    assert status(zone, "db.default.svc.cluster.local") is NO_NAME


NAMES = st.sampled_from(["a", "b"])
SPACES = st.sampled_from(["x", "y"])
ADDRESSES = st.sampled_from(["10.244.1.2", "10.244.1.3", "10.244.2.2"])
ENDPOINTS = st.lists(
    st.builds(make.endpoint, ADDRESSES, st.sampled_from([None, "a-0", "a-1"]), st.booleans()), max_size=3
)
SERVICES = st.one_of(
    st.builds(make.service, NAMES, SPACES, ip=st.sampled_from(["None", "10.96.1.1", "10.96.1.2"])),
    st.builds(make.external, NAMES, st.sampled_from(["example.com", "a.x.svc.cluster.local"]), SPACES),
)
SLICES = st.builds(
    lambda name, endpoints, space, suffix: make.slice_of(name, *endpoints, namespace=space, suffix=suffix),
    NAMES, ENDPOINTS, SPACES, st.sampled_from(["1", "2"]),
)
PUTS = st.one_of(SERVICES, SLICES, st.builds(make.namespace, SPACES))
REMOVALS = st.one_of(
    st.tuples(st.just("Service"), SPACES, NAMES),
    st.tuples(st.just("EndpointSlice"), SPACES, st.sampled_from(["a-1", "a-2", "b-1", "b-2"])),
    st.tuples(st.just("Namespace"), st.just(""), SPACES),
)


def everything(zone):
    """Every record held, and every name that exists without one."""
    return (
        {name: {k: frozenset(v) for k, v in kinds.items()} for name, kinds in zone._names.items()},
        set(zone._ancestors), set(zone._namespaces),
    )


@hypothesis.given(st.lists(st.one_of(PUTS, REMOVALS), max_size=25))
def test_any_sequence_of_updates_equals_a_zone_made_anew(events):
    zone = zones.Zone()
    present = {}
    for event in events:
        if isinstance(event, tuple):
            present.pop(event, None)
            zone.remove(*event)
        else:
            key = (type(event).__name__, event.metadata.namespace, event.metadata.name)
            present[key] = event
            zone.put(event)
    assert everything(zone) == everything(of(*present.values()))
    for key in present:
        zone.remove(*key)
    assert everything(zone) == everything(zones.Zone())


@hypothesis.given(st.text(max_size=40), st.sampled_from([*zones.Kind, "MX", "ANY"]))
def test_any_name_gets_an_answer_with_an_authority_when_it_is_ours(text, kind):
    zone = of(make.service("web"))
    for name in (text, f"{text}.cluster.local", f"{text}.default.pod.cluster.local"):
        answer = zone.look_up(name, kind)
        assert (answer.status in (NO_DATA, NO_NAME)) == (answer.soa is not None)
        assert (answer.status is FOUND) == bool(answer.records)
