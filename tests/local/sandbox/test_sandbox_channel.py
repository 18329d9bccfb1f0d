"""Messages with descriptors: sizes, overlapping calls, ends."""

import asyncio
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retic.local.sandbox import addresses, channel


@pytest.mark.parametrize("size", [1, 59_999, 60_001, 5_000_000])
def test_a_packet_of_any_size_keeps_its_descriptors(size):
    one, two = channel.pair()
    with one, two:
        reading, writing = os.pipe()
        channel.send(one, b"x" * size, [writing])
        os.close(writing)
        packet = channel.receive(two)
        assert packet.body == b"x" * size
        os.write(packet.fds[0], b"through")
        assert os.read(reading, 100) == b"through"
        assert not os.get_inheritable(packet.fds[0])
        packet.close()
        os.close(reading)


async def test_calls_overlap_and_errors_keep_their_number():
    one, two = channel.pair()
    gate = asyncio.Event()

    async def serve(request):
        if request.verb == "slow":
            await gate.wait()
        elif request.verb == "fail":
            raise PermissionError(13, "not you")
        return [request.verb], ()

    answerer, caller = channel.Answerer(two, serve), channel.Caller(one)
    slow = asyncio.ensure_future(caller.call("slow", None))
    assert (await caller.call("fast", None)).value(list) == ["fast"]
    with pytest.raises(PermissionError, match="not you"):
        await caller.call("fail", None)
    gate.set()
    assert (await slow).value(list) == ["slow"]
    caller.close()
    answerer.close()


async def test_more_calls_than_the_socket_holds():
    one, two = channel.pair()

    async def serve(request):
        return msgspec.json.decode(request.body), ()

    answerer, caller = channel.Answerer(two, serve), channel.Caller(one)
    texts = [str(number) * 20_000 for number in range(100)]
    answers = await asyncio.gather(*(caller.call("echo", text) for text in texts))
    assert [answer.value(str) for answer in answers] == texts
    caller.close()
    answerer.close()


async def test_the_end_of_the_other_side_fails_what_waits_and_what_comes():
    one, two = channel.pair()
    caller = channel.Caller(one)
    waiting = asyncio.ensure_future(caller.call("anything", None))
    await asyncio.sleep(0)
    two.close()
    with pytest.raises(channel.LostError):
        await waiting
    assert caller.lost.is_set()
    with pytest.raises(channel.LostError):
        await caller.call("anything", None)


@given(st.integers(1, addresses.MOST_NODES), st.integers(1, addresses.MOST_NODES))
def test_nodes_have_addresses_of_their_own(one, two):
    assert addresses.node_gateway(one) in addresses.PODS
    assert addresses.node_underlay(one) in addresses.UNDERLAY
    assert (addresses.node_network(one) == addresses.node_network(two)) == (one == two)
    assert (addresses.node_underlay(one) == addresses.node_underlay(two)) == (one == two)
    assert addresses.node_underlay(one) != addresses.FABRIC


@pytest.mark.parametrize("index", [0, -1, addresses.MOST_NODES + 1])
def test_there_are_not_more_nodes_than_addresses(index):
    with pytest.raises(ValueError, match="nodes"):
        addresses.node_network(index)
