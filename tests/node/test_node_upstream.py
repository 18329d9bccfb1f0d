"""The agent's stream to the control plane, where the control plane behaves as it should not."""

import asyncio

import grpc
import grpc.aio
import pytest
from envoy.config.core.v3 import base_pb2

from retic import xds
from retic.identity import clock
from retic.node import session, upstream


class Over:
    """A call that was refused before the first request was written."""

    async def write(self, _request):
        raise asyncio.InvalidStateError("RPC already finished.")

    async def __aiter__(self):
        for _ in range(20):  # later than the write
            await asyncio.sleep(0)
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAUTHENTICATED, grpc.aio.Metadata(), grpc.aio.Metadata(), "the pod is not known yet"
        )
        yield

    def cancel(self):
        pass


def _wildcard():
    watch = session.Watch()
    watch.wildcard = True
    return watch


class Watching:
    def watches(self):
        return {xds.CLUSTER: _wildcard()}

    def respond(self, response, ticket):
        raise AssertionError("nothing is answered")


async def test_a_refusal_that_comes_before_the_first_request_is_told_and_no_failure():
    made = upstream.Upstream(base_pb2.Node(id="node/node-1"), lambda: None, clock.System())
    made._listener = Watching()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asyncio.wait_for(made._converse(Over()), 5)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
