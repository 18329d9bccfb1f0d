"""Responses composed from bytes are what protobuf would have written, and NACK messages are read right."""

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2
from hypothesis import given, strategies

from retic import xds
from retic.xds import refusal, warming, wire

TEXT = strategies.text(min_size=1)
RESOURCES = strategies.lists(strategies.tuples(TEXT, strategies.binary(max_size=40_000)))


@given(resources=RESOURCES, removed=strategies.lists(TEXT), url=TEXT)
def test_a_composed_delta_response_is_read_back(resources, removed, url):
    encoded = [xds.encode(url, name, content) for name, content in resources]
    content = wire.delta_response(url, "7", (one.resource for one in encoded), removed)
    message = discovery_pb2.DeltaDiscoveryResponse.FromString(content)
    assert (message.type_url, message.nonce, list(message.removed_resources)) == (url, "7", removed)
    assert [(one.name, one.resource.type_url, one.resource.value) for one in message.resources] == [
        (name, url, content) for name, content in resources
    ]
    assert [one.version for one in message.resources] == [one.version for one in encoded]


@given(resources=RESOURCES, url=TEXT)
def test_a_composed_sotw_response_is_what_protobuf_writes(resources, url):
    encoded = [xds.encode(url, name, content) for name, content in resources]
    message = discovery_pb2.DiscoveryResponse(
        version_info="v", type_url=url, nonce="7",
        resources=[any_pb2.Any(type_url=url, value=content) for _, content in resources],
    )  # fmt: skip
    assert wire.sotw_response(url, "7", "v", (one.any for one in encoded)) == message.SerializeToString()


def test_a_version_is_16_hexadecimal_digits_of_the_bytes():
    one, same, other = (xds.encode(xds.CLUSTER, "a", content) for content in (b"x", b"x", b"y"))
    assert one == same
    assert one.version != other.version
    assert len(one.version) == 16
    int(one.version, 16)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("Error adding/updating listener(s) inbound/x: error adding listener", {"inbound/x"}),
        (
            "Error adding/updating listener(s) inbound/x: bad\ninbound/y: route a is bad\n",
            {"inbound/x", "inbound/y"},
        ),
        ("Error adding/updating cluster(s) vip/b/10.96.0.10:80: no, a: no", {"vip/b/10.96.0.10:80", "a"}),
        ("Error adding/updating cluster(s) b: needs a", set()),
        ("Only unique values for domains are permitted. Duplicate entry of domain x in route a", {"a"}),
        ("no such cluster as inbound/xy", set()),
        ("no", set()),
    ],
)
def test_names_in_envoys_messages(message, named):
    names = ["inbound/x", "inbound/y", "vip/b/10.96.0.10:80", "a", "10.96.0.10"]
    assert refusal.named(message, names) == named


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"type": "EDS", "eds_cluster_config": {}}, "c"),
        ({"type": "EDS", "eds_cluster_config": {"service_name": "e"}}, "e"),
        ({"type": "STATIC"}, None),
    ],
)
def test_the_endpoints_that_a_cluster_waits_for(fields, name):
    message = cluster_pb2.Cluster(name="c", **fields).SerializeToString()
    assert warming.endpoints(xds.encode(xds.CLUSTER, "c", message).any) == name
    assert warming.endpoints(b"\xff") is None
