"""The control plane's list of a node's pods: what is taken, and what is refused as a whole."""

import contextlib

import cluster_rig as rig
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st
from xds.type.v3 import typed_struct_pb2

from retic import xds
from retic.envoy import resources
from retic.node import listed

POD = {
    "uid": "0d3b…".replace("…", "-1"), "namespace": "shop", "name": "cart-1", "service_account": "cart",
    "ip": "10.42.0.5", "mesh": True, "probes": [{"port": 8080}],
}  # fmt: skip
NETWORK = {"pods": ["10.42.0.0/16"], "services": ["10.43.0.0/16"], "dns": "10.43.0.10"}


def message(**value):
    made = typed_struct_pb2.TypedStruct()
    made.value.update(value)
    return made.SerializeToString()


def test_pods_and_networks_are_read():
    said = listed.decode(message(pods=[POD, {**POD, "uid": "u2", "mesh": False, "ip": ""}], network=NETWORK, more=1))
    assert set(said.pods) == {POD["uid"], "u2"}
    first = said.pods[POD["uid"]]
    assert (first.namespace, first.name, first.service_account, first.mesh) == ("shop", "cart-1", "cart", True)
    assert not said.pods["u2"].mesh
    assert said.network == listed.Network(("10.42.0.0/16",), ("10.43.0.0/16",), "10.43.0.10")
    assert listed.decode(message(pods=[])).network is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"uid": "../etc"}, "is no uid"), ({"uid": ""}, "is no uid"), ({"uid": "a/b"}, "is no uid"),
        ({"uid": "."}, "is no uid"), ({"uid": "u" * 129}, "is no uid"), ({"uid": 5}, "Expected `str`"),
        ({"namespace": "Shop"}, "is no name"), ({"name": "a b"}, "is no name"), ({"service_account": ""}, "is no name"),
        ({"service_account": "x/../y"}, "is no name"), ({"name": "n" * 254}, "is no name"),
        ({"mesh": "true"}, "Expected `bool`"), ({"mesh": None}, "Expected `bool`"), ({"ip": "ten"}, "is no address"),
        ({"probes": [{}] * 257}, "are too many"), ({"probes": "all"}, "Expected `array`"),
    ],
    ids=str,
)
def test_a_pod_that_is_none_refuses_the_list(fields, words):
    with pytest.raises(listed.MalformedError, match=words):
        listed.decode(message(pods=[{**POD, "uid": "good"}, {**POD, **fields}]))


@pytest.mark.parametrize(
    "network",
    [{}, {"pods": []}, {**NETWORK, "pods": ["10.42.0.1/16"]}, {**NETWORK, "dns": "kube-dns"},
     {**NETWORK, "pods": ["10.42.0.0/16; drop"]},
     {**NETWORK, "pods": ["10.0.0.0/8"] * 16385}],
    ids=str,
)  # fmt: skip
def test_networks_that_are_none_refuse_the_list(network):
    with pytest.raises(listed.MalformedError):
        listed.decode(message(pods=[POD], network=network))


def test_of_two_families_one_is_carried():
    both = {"pods": ["10.42.0.0/16", "fd00::/64"], "services": ["fd01::/112", "10.43.0.0/16"], "dns": ""}
    said = listed.decode(message(pods=[], network=both)).network
    assert said.carried == ("10.42.0.0/15",)
    nodes = {"pods": [f"10.42.{i}.0/24" for i in range(256)], "services": ["10.42.3.0/28", "10.96.0.0/16"]}
    assert listed.decode(message(pods=[], network=nodes)).network.carried == ("10.42.0.0/16", "10.96.0.0/16")


async def test_what_the_control_plane_makes_is_what_is_read(control, tmp_path):
    mesh = rig.made(rig.cluster_settings(control, tmp_path), "u1", "u2")
    made = mesh.ask(resources.resource, resources.scope(listed.TYPE_URL, listed.NAME, xds.Client(f"node/{rig.NODE}")))
    said = listed.decode(discovery_pb2.Resource.FromString(made.resource).resource.value)
    assert sorted(said.pods) == ["u1", "u2"]
    assert all(entry.mesh for entry in said.pods.values())
    assert said.network == listed.Network(("10.244.0.0/16",), ("10.96.0.0/16",))


def test_missing_and_double_and_too_many():
    for bad in ({}, {"pods": "all"}, {"pods": [{"uid": "u"}]}, {"pods": [POD, POD]}):
        with pytest.raises(listed.MalformedError):
            listed.decode(message(**bad))
    many = [{**POD, "uid": f"u{i}"} for i in range(listed.MOST_PODS + 1)]
    with pytest.raises(listed.MalformedError, match="more than a node can have"):
        listed.decode(message(pods=many))


def test_deeply_nested_values_are_refused():
    value = struct_pb2.Value(string_value="x")
    for _ in range(25):
        value = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[value]))
    made = typed_struct_pb2.TypedStruct()
    made.value.fields["pods"].CopyFrom(value)
    with pytest.raises(listed.MalformedError):
        listed.decode(made.SerializeToString())


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(content):
    with contextlib.suppress(listed.MalformedError):
        listed.decode(content)
