"""The delta protocol's rules one by one, without a network."""

import pytest
import xds_streams as streams
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from retic import xds
from retic.xds import delta, kinds, request

CDS, EDS, RDS, LDS = xds.CLUSTER, xds.ENDPOINTS, xds.ROUTES, xds.LISTENER


@pytest.fixture
def pair():
    return streams.Pair(streams.World())


def ask(pair, type_url, **fields):
    """A request as a client other than ours may write it; what the server then says of the type."""
    pair.ask(discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields).SerializeToString())
    pair.serve()
    found = []
    while (content := pair.send()) is not None:
        found.append(streams.delta_response(content))
    pair.down.clear()
    return found


def said(responses):
    return [one.name for response in responses for one in response.resources], [
        name for response in responses for name in response.removed_resources
    ]


def test_a_first_request_without_names_is_a_wildcard_and_later_ones_are_not(pair):
    pair.change(LDS, "a", b"1")
    assert said(ask(pair, LDS)) == (["a"], [])
    assert said(ask(pair, LDS)) == ([], [])
    assert said(ask(pair, CDS, resource_names_subscribe=["x"])) == ([], ["x"])
    pair.change(CDS, "y", b"1")
    assert said(ask(pair, CDS)) == ([], [])


def test_subscribing_again_is_answered_again(pair):
    pair.change(CDS, "a", b"1")
    assert said(ask(pair, CDS, resource_names_subscribe=["a"])) == (["a"], [])
    assert said(ask(pair, CDS, resource_names_subscribe=["a", "b"])) == (["a"], ["b"])
    assert said(ask(pair, CDS, resource_names_subscribe=["b"])) == ([], ["b"])


def test_unsubscribing_under_a_wildcard_is_answered(pair):
    pair.change(CDS, "a", b"1")
    assert said(ask(pair, CDS, resource_names_subscribe=["*", "a", "none"])) == (["a"], ["none"])
    assert said(ask(pair, CDS, resource_names_unsubscribe=["a"])) == (["a"], [])
    assert said(ask(pair, CDS, resource_names_unsubscribe=["none"])) == ([], ["none"])


def test_the_end_of_a_wildcard_keeps_what_was_named(pair):
    pair.change(CDS, "a", b"1")
    pair.change(CDS, "b", b"1")
    ask(pair, CDS, resource_names_subscribe=["*", "a"])
    assert said(ask(pair, CDS, resource_names_unsubscribe=["*"])) == ([], [])
    pair.change(CDS, "a", b"2")
    pair.change(CDS, "b", b"2")
    assert said(ask(pair, CDS)) == (["a"], [])


def test_initial_versions_bring_what_differs_and_removals(pair):
    pair.change(LDS, "same", b"1")
    pair.change(LDS, "changed", b"2")
    pair.change(LDS, "new", b"1")
    versions = {name: xds.encode(LDS, name, b"1").version for name in ("same", "changed", "gone")}
    names, removed = said(ask(pair, LDS, initial_resource_versions=versions))
    assert (sorted(names), removed) == (["changed", "new"], ["gone"])
    pair.change(RDS, "r", b"1")
    versions = {name: xds.encode(RDS, name, b"1").version for name in ("r", "not asked for")}
    answer = ask(pair, RDS, resource_names_subscribe=["r"], initial_resource_versions=versions)
    assert said(answer) == ([], [])


def test_a_cluster_pushed_on_an_earlier_stream_stays_as_long_as_it_exists(pair):
    versions = {}
    for name in ("listed", "pushed"):
        pair.change(CDS, name, b"1")
        versions[name] = xds.encode(CDS, name, b"1").version
    pair.world.names = lambda _: frozenset({"listed"})
    versions["gone"] = "0"
    assert said(ask(pair, CDS, initial_resource_versions=versions)) == ([], ["gone"])
    pair.change(CDS, "pushed", b"2")
    assert said(ask(pair, CDS)) == (["pushed"], [])


def test_an_answer_to_what_was_pushed_begins_no_wildcard(pair):
    pair.change(CDS, "mirror", b"1")
    assert pair.server.push(CDS, "mirror")
    assert not pair.server.push(CDS, "mirror")
    pair.server.offer(CDS, "mirror")
    (nonce,) = (one.nonce for one in ask(pair, RDS, resource_names_subscribe=["r"]) if one.type_url == CDS)
    pair.change(CDS, "other", b"1")
    assert said(ask(pair, CDS, response_nonce=nonce)) == ([], [])
    assert said(ask(pair, CDS)) == (["other"], [])


def test_endpoints_follow_a_cluster_that_would_wait_for_them(pair):
    def cluster(name):
        message = cluster_pb2.Cluster(name=name, type="EDS", eds_cluster_config={"service_name": "e"})
        return message.SerializeToString()

    pair.change(EDS, "e", b"1")
    pair.change(CDS, "a", cluster("a"))
    ask(pair, CDS, resource_names_subscribe=["a", "b"])
    ask(pair, EDS, resource_names_subscribe=["e"])
    pair.change(CDS, "b", cluster("b"))
    assert [one.type_url for one in ask(pair, CDS)] == [CDS, EDS]


def test_a_refused_version_that_comes_back_after_another_is_tried_again(pair):
    pair.bad = {xds.encode(CDS, "", b"2").version}
    pair.subscribe(CDS, "a")
    for content, nacks in ((b"1", 0), (b"2", 1), (b"2", 1), (b"1", 1), (b"2", 2), (b"3", 2)):
        pair.change(CDS, "a", content)
        pair.settle()
        assert pair.nacks == nacks
    assert pair.held[CDS, "a"] == xds.encode(CDS, "a", b"3").version


def test_what_is_on_its_way_to_a_client_that_wants_it_no_more_is_not_pending(pair):
    pair.change(CDS, "a", b"1")
    pair.change(CDS, "b", b"1")
    pair.subscribe(CDS, "a", "b")
    pair.serve()
    pair.send()
    (book,) = pair.server.books()
    assert book.pending() == {"a", "b"}
    pair.unsubscribe(CDS, "a")
    pair.serve()
    assert book.pending() == {"b"}
    assert not pair.server.idle
    pair.settle()


def test_a_nack_of_an_old_response_does_not_touch_what_is_newer(pair):
    pair.bad = {xds.encode(CDS, "", b"2").version}
    pair.subscribe(CDS, "a")
    pair.serve()
    for content in (b"2", b"3"):
        pair.change(CDS, "a", content)
        pair.send()
    pair.settle()
    assert pair.held[CDS, "a"] == xds.encode(CDS, "a", b"3").version
    assert pair.responses == 2
    (book,) = pair.server.books()
    assert not book.refused


def test_responses_are_closed_at_a_size(pair):
    for number in range(5):
        pair.change(CDS, f"c{number}", b"x" * (delta.SIZE // 2))
    responses = ask(pair, CDS)
    assert [len(one.resources) for one in responses] == [2, 2, 1]


def test_listeners_wait_for_the_answer_to_those_before(pair):
    for number in range(5):
        pair.change(LDS, f"l{number}", b"x" * (delta.AFTER_ANOTHER // 2))
    (first,) = ask(pair, LDS)
    assert len(first.resources) == 2
    pair.change(RDS, "r", b"1")
    assert [one.type_url for one in ask(pair, RDS, resource_names_subscribe=["r"])] == [RDS], "nothing else waits"
    (second,) = ask(pair, LDS, response_nonce=first.nonce)
    refusal = status_pb2.Status(code=3, message="no")
    rest = ask(pair, LDS, response_nonce=second.nonce, error_detail=refusal)
    assert rest, "a refusal is an answer"


def test_types_come_in_order_and_unknown_ones_last():
    assert sorted(["other", LDS, RDS, EDS, CDS], key=kinds.rank) == [CDS, EDS, RDS, LDS, "other"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"\x12\x03a"])
def test_what_is_no_request_is_refused(content):
    with pytest.raises(xds.MalformedError):
        delta.Delta().receive(content)


def test_a_stream_is_bounded():
    server = delta.Delta(names=3)

    def send(**fields):
        return server.receive(discovery_pb2.DeltaDiscoveryRequest(**fields).SerializeToString())

    send(type_url=CDS, resource_names_subscribe=["a", "b"])
    send(type_url=CDS, resource_names_subscribe=["a", "b"])
    send(type_url=EDS, resource_names_subscribe=["a"])
    with pytest.raises(xds.TooManyError):
        send(type_url=EDS, resource_names_subscribe=["b"])
    with pytest.raises(xds.TooManyError):
        send(type_url=LDS, initial_resource_versions={str(number): "1" for number in range(4)})
    for number in range(request.TYPES - 3):
        send(type_url=f"type {number}")
    with pytest.raises(xds.TooManyError):
        send(type_url="one more")
