"""The agent's stream to a control plane that takes it and ends it."""

import asyncio
import time

import grpc
import grpc.aio
import pytest
from envoy.config.core.v3 import base_pb2

from retic import xds
from retic.identity import clock
from retic.node import session, upstream
from retic.testing import wait


class Refusing:
    """Discovery that ends each stream at once."""

    def __init__(self):
        self.times = []
        self._server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self._refuse)
        service, _, method = upstream.METHOD.strip("/").partition("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    async def _refuse(self, _requests, call):
        self.times.append(time.monotonic())
        await call.abort(grpc.StatusCode.UNAUTHENTICATED, "gone")
        yield b""

    async def __aenter__(self):
        await self._server.start()
        return self

    async def __aexit__(self, *_):
        await self._server.stop(0)


class Watching:
    """Watches something of every type."""

    def watches(self):
        made = {url: session.Watch() for url in (xds.LISTENER, xds.CLUSTER, xds.ENDPOINTS, xds.ROUTES, xds.SECRET)}
        for watch in made.values():
            watch.names.update(f"name-{number}" for number in range(200))
        return made

    def respond(self, response, ticket):
        raise AssertionError(response)


async def test_who_is_refused_again_and_again_goes_on_and_asks_ever_more_slowly():
    async with Refusing() as server:
        above = upstream.Upstream(
            base_pb2.Node(id="n"), lambda: grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"), clock.System()
        )
        running = asyncio.create_task(above.run(Watching()))
        try:
            await wait.until_async(lambda: running.done() or len(server.times) >= 6, "six attempts", 20)
            assert not running.done(), running
            assert server.times[5] - server.times[0] > 1.5  # pauses of 0.05, 0.1, 0.2, 0.4 and 0.8 s
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class Connecting:
    """A channel that is there when it is told so."""

    def __init__(self):
        self.there = asyncio.get_running_loop().create_future()
        self.waited_for = asyncio.Event()

    async def channel_ready(self):
        self.waited_for.set()
        await self.there

    def stream_stream(self, *_args, **_options):
        return lambda: self

    def cancel(self):
        pass

    async def write(self, _request):
        pass

    async def __aiter__(self):
        await asyncio.Event().wait()
        yield

    async def close(self, _grace):
        pass


@pytest.mark.parametrize("steps", range(6))
async def test_who_is_ended_while_it_connects_ends(steps):
    """Whatever comes first: an Envoy that drains has ended in the moment in which its agent was connected."""
    channel = Connecting()
    above = upstream.Upstream(base_pb2.Node(id="n"), lambda: channel, clock.System())
    running = asyncio.create_task(above.run(Watching()))
    await channel.waited_for.wait()
    channel.there.set_result(None)
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()
