"""What one client sees of the discovery service, over real gRPC."""

import asyncio

import grpc
import pytest

from retic import ads, graph, xds
from retic.testing import discovery
from retic.testing.wait import until_async

CDS, EDS, RDS, LDS = xds.CLUSTER, xds.ENDPOINTS, xds.ROUTES, xds.LISTENER


def order(client):
    return [
        ("+" if response.resources else "-", response.type_url)
        for response in client.log
        if response.resources or response.removed
    ]


def rejecting(name, message):
    return lambda response: message if any(one.name == name for one in response.resources) else None


async def holds(client, type_url, **contents):
    wanted = {name: xds.encode(type_url, name, content).any for name, content in contents.items()}

    def same():
        return {name: it for (url, name), it in client.held.items() if url == type_url} == wanted

    await until_async(same, f"the client holds {sorted(contents)}")


async def test_a_name_asked_for_is_sent_and_followed(house):
    house.put(CDS, a=b"1", b=b"1")
    client = await house.connected()
    await client.subscribe(CDS, "a")
    await holds(client, CDS, a=b"1")
    house.put(CDS, a=b"2", b=b"2")
    await holds(client, CDS, a=b"2")
    assert client.received() == 2
    house.put(CDS, a=None)
    await holds(client, CDS)
    house.put(CDS, a=b"3")
    await holds(client, CDS, a=b"3")


async def test_a_name_without_resource_is_answered_as_removed_and_its_creation_is_pushed(house):
    client = await house.connected()
    await client.subscribe(CDS, "later")
    await until_async(lambda: client.log and client.log[0].removed == ("later",), "the removal")
    house.put(CDS, later=b"now")
    await holds(client, CDS, later=b"now")


async def test_an_unsubscribed_name_is_watched_no_longer(house):
    house.put(CDS, a=b"1", b=b"1")
    client = await house.connected()
    await client.subscribe(CDS, "a", "b")
    await holds(client, CDS, a=b"1", b=b"1")
    await client.unsubscribe(CDS, "a")
    await client.subscribe(EDS, "x")  # answered after the unsubscription was taken in
    await until_async(lambda: any(one.removed for one in client.log), "the answer")
    house.put(CDS, a=b"2")
    house.put(CDS, b=b"2")
    await holds(client, CDS, b=b"2")
    assert await house.server.settled(5)
    assert house.server.counters.resources == 4


async def test_a_wildcard_follows_the_list(house):
    house.put(LDS, a=b"1", b=b"1")
    client = await house.connected()
    await client.subscribe(LDS, "*")
    await holds(client, LDS, a=b"1", b=b"1")
    house.put(LDS, b=None, c=b"1")
    await holds(client, LDS, a=b"1", c=b"1")


async def test_an_empty_wildcard_is_answered_at_once(house):
    client = await house.connected()
    await client.subscribe(LDS, "*")
    await until_async(lambda: len(client.log) == 1, "an empty response")
    assert client.log[0].resources == ()
    assert await house.server.settled(5)
    assert len(client.log) == 1


async def test_clusters_then_endpoints_then_routes_then_listeners_and_removals_in_reverse(house):
    client = await house.connected()
    for type_url in (LDS, RDS, EDS, CDS):
        await client.subscribe(type_url, "a")
    await until_async(lambda: len(client.log) == 4, "four answers")
    assert await house.server.settled(5)
    client.log.clear()
    types = (LDS, RDS, EDS, CDS)
    before = house.server.counters.messages
    keys = [discovery.Key(type_url, "a") for type_url in types]
    house.graph.commit([graph.Set(discovery.RESOURCES, key, b"1") for key in keys])
    assert await house.server.settled(5)
    house.graph.commit([graph.Delete(discovery.RESOURCES, key) for key in keys])
    assert await house.server.settled(5)
    assert order(client) == [
        ("+", CDS), ("+", EDS), ("+", RDS), ("+", LDS), ("-", LDS), ("-", RDS), ("-", EDS), ("-", CDS),
    ]  # fmt: skip
    assert house.server.counters.messages == before + 8


async def test_companions_come_first_unasked_and_are_followed(house):
    house.put(CDS, mirror=b"1", inner=b"1")
    house.put(RDS, r=b"1")
    house.accompany(RDS, "r", (CDS, "mirror"))
    house.accompany(CDS, "mirror", (CDS, "inner"))
    client = await house.connected()
    await client.subscribe(RDS, "r")
    await holds(client, RDS, r=b"1")
    assert order(client) == [("+", CDS), ("+", RDS)]
    await holds(client, CDS, mirror=b"1", inner=b"1")
    house.put(CDS, mirror=b"2", second=b"1")
    await holds(client, CDS, mirror=b"2", inner=b"1")
    house.accompany(RDS, "r", (CDS, "mirror"), (CDS, "second"))
    await holds(client, CDS, mirror=b"2", inner=b"1", second=b"1")


async def test_a_reconnected_client_is_sent_only_what_differs(house):
    house.put(CDS, a=b"1", b=b"1", c=b"1")
    house.put(LDS, l=b"1", m=b"1")
    client = await house.connected()
    await client.subscribe(CDS, "a", "b", "c")
    await client.subscribe(LDS, "*")
    await holds(client, CDS, a=b"1", b=b"1", c=b"1")
    await holds(client, LDS, l=b"1", m=b"1")
    await house.stop()
    await client.disconnect()
    client.log.clear()
    house.put(CDS, b=b"2", c=None)
    house.put(LDS, m=None)
    await house.start()
    await client.connect()
    await holds(client, CDS, a=b"1", b=b"2")
    await holds(client, LDS, l=b"1")
    assert await house.server.settled(5)
    assert house.server.counters.resources == 3
    assert client.received() == 1


async def test_a_rejected_resource_is_reported_kept_and_not_sent_again(house):
    house.put(CDS, good=b"1", bad=b"1")
    client = await house.connected()
    await client.subscribe(CDS, "good", "bad")
    await holds(client, CDS, good=b"1", bad=b"1")
    client.reject = rejecting("bad", "Error adding/updating cluster(s) bad: no")
    house.put(CDS, good=b"1", bad=b"2")
    assert await house.server.settled(5)
    nack = ads.Nack(
        client=xds.Client("node/node-1", "a"), type_url=CDS, name="bad",
        version=xds.encode(CDS, "bad", b"2").version, message="Error adding/updating cluster(s) bad: no",
    )  # fmt: skip
    assert house.events[-1] == nack
    assert client.received() == 3
    progress = house.server.converged()["node/node-1"]
    assert (progress.sent, progress.acked, progress.pending) == (3, 2, ())
    assert [one.name for _, one in progress.refused] == ["bad"]
    house.put(CDS, good=b"2")
    await holds(client, CDS, good=b"2", bad=b"1")
    assert client.received() == 4
    client.reject = lambda _: None
    house.put(CDS, bad=b"3")
    await holds(client, CDS, good=b"2", bad=b"3")
    assert house.events[-1] == ads.Cleared(client=nack.client, type_url=CDS, name="bad")


async def test_which_of_several_was_bad_is_found_by_sending_each_alone(house):
    house.put(RDS, a=b"1", b=b"1", c=b"1")
    client = await house.connected()
    client.reject = rejecting("b", "Proto constraint validation failed")
    await client.subscribe(RDS, "a", "b", "c")
    await holds(client, RDS, a=b"1", c=b"1")
    assert await house.server.settled(5)
    assert [one.name for one in house.events if isinstance(one, ads.Nack)] == ["b"]
    assert house.server.counters.nacks == 2


async def test_a_storm_is_coalesced_while_the_client_does_not_read(house):
    big = b"x" * 200_000
    house.put(CDS, **{f"c{i}": big for i in range(20)})
    client = await house.connected()
    client.reading.clear()
    await client.subscribe(CDS, *(f"c{i}" for i in range(20)))
    await until_async(lambda: house.server.counters.messages, "a first response")
    for turn in range(50):
        house.put(CDS, **{f"c{i}": big + b"%d" % turn for i in range(20)})
        await asyncio.sleep(0)
    assert len(house.server.converged()["node/node-1"].pending) == 20
    client.reading.set()
    await holds(client, CDS, **{f"c{i}": big + b"49" for i in range(20)})
    assert await house.server.settled(5)
    assert client.received() <= 200  # of 1,020 versions: what was on its way, and the last ones


async def test_a_failing_query_leaves_what_was_good_and_says_nothing_of_what_never_was(house):
    house.put(CDS, a=b"1", b=b"raise")
    client = await house.connected()
    await client.subscribe(CDS, "a", "b")
    await holds(client, CDS, a=b"1")
    house.put(CDS, a=b"raise")
    assert await house.server.settled(5)
    assert client.names(CDS) == {"a"}
    assert not any(one.removed for one in client.log)
    assert house.server.counters.failed
    house.put(CDS, a=b"2", b=b"2")
    await holds(client, CDS, a=b"2", b=b"2")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (b"", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_malformed_request_ends_its_stream_only(house, content, code):
    other = await house.connected()
    house.put(CDS, a=b"1")
    client = await house.connected()
    await client.send(content)
    assert (await client.failure())[0] is code
    await other.subscribe(CDS, "a")
    await holds(other, CDS, a=b"1")


async def test_another_clients_name_is_refused_with_both_names(house):
    house.peer = "node/node-2"
    client = await house.connected()
    await client.subscribe(CDS, "a")
    code, message = await client.failure()
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "node/node-1" in message
    assert "node/node-2" in message


async def test_too_many_names_end_the_stream(house):
    client = await house.connected()
    await client.subscribe(CDS, *(f"n{i}" for i in range(house.limit)))
    await until_async(lambda: client.log, "an answer within the limit")
    await client.subscribe(EDS, "one more")
    assert (await client.failure())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_half_closed_stream_is_answered_and_then_ended(house):
    house.put(CDS, a=b"1")
    client = await house.connected()
    await client.subscribe(CDS, "a")
    await client.finish()
    assert (await client.failure())[0] is grpc.StatusCode.OK
    assert client.names(CDS) == {"a"}
    await until_async(lambda: house.server.counters.open == 0, "the stream is over")


async def test_dropped_clients_leave_nothing(house):
    house.put(CDS, **{f"c{i}": b"1" for i in range(50)})
    clients = [await house.connected() for _ in range(20)]
    for client in clients:
        await client.subscribe(CDS, *(f"c{i}" for i in range(50)))
    for client in clients:
        await until_async(lambda client=client: len(client.names(CDS)) == 50, "all clusters")
        await client.disconnect()
    await until_async(lambda: house.server.counters.open == 0, "all streams over")
    assert house.server.converged() == {}
    assert sum(isinstance(one, ads.Disconnected) for one in house.events) == 20
    assert house.graph.memos <= 4_096


async def test_huge_metadata_is_taken(house):
    house.put(CDS, a=b"1")
    client = house.client()
    client.state._node.metadata.update({"blob": "x" * 3_000_000})
    await client.connect()
    await client.subscribe(CDS, "a")
    await holds(client, CDS, a=b"1")


async def test_a_change_is_encoded_once_for_all_streams(house):
    house.put(EDS, **{f"e{i}": b"1" for i in range(30)})
    clients = [await house.connected() for _ in range(10)]
    for client in clients:
        await client.subscribe(EDS, *(f"e{i}" for i in range(30)))
    for client in clients:
        await until_async(lambda client=client: len(client.names(EDS)) == 30, "all endpoints")
    assert await house.server.settled(5)
    runs, sent = house.graph.counters.run, house.server.counters.resources
    house.put(EDS, e7=b"2")
    assert await house.server.settled(5)
    assert house.graph.counters.run - runs == 1
    assert house.server.counters.resources - sent == 10
    assert all(client.held[EDS, "e7"] == xds.encode(EDS, "e7", b"2").any for client in clients)


async def test_settled_says_no_while_a_client_is_silent_and_converged_says_what_is_missing(house):
    house.put(CDS, a=b"1", b=b"1")
    client = await house.connected()
    await client.subscribe(CDS, "a", "b")
    assert await until_async(lambda: client.names(CDS) == {"a", "b"}, "both")
    assert await house.server.settled(5)
    silent = asyncio.Event()
    client.reading = silent
    house.put(CDS, a=b"2")  # the client was waiting for this one; it answers, and reads no more
    await holds(client, CDS, a=b"2", b=b"1")
    house.put(CDS, b=b"2")
    assert not await house.server.settled(0.05)
    assert house.server.converged()["node/node-1"].pending == ((CDS, "b"),)
    silent.set()
    await holds(client, CDS, a=b"2", b=b"2")
    assert await house.server.settled(5)


async def test_two_streams_of_one_client_are_added_up(house):
    house.put(CDS, a=b"1")
    first, second = await house.connected(), await house.connected()
    for client in (first, second):
        await client.subscribe(CDS, "a")
        await holds(client, CDS, a=b"1")
    assert await house.server.settled(5)
    assert house.server.converged() == {"node/node-1": ads.Progress(sent=2, acked=2, pending=(), refused=())}


async def test_the_zone_and_the_id_of_the_node_are_what_resources_are_scoped_by(house):
    client = await house.connected(zone="b")
    await client.subscribe(CDS, "a")
    await until_async(lambda: client.log, "an answer")
    assert house.events[0] == ads.Connected(client=xds.Client(id="node/node-1", zone="b"))
