"""Questions about limits on their way from Envoy's socket to the control plane."""

import grpc
import grpc.aio
import pytest

from retic.identity import server
from retic.node import questions
from retic.testing import wait

METHOD = f"/{questions.SERVICE}/{questions.METHOD}"


class Above:
    """A control plane that echoes, or says no."""

    def __init__(self):
        self.asked, self.code = [], None
        method = grpc.unary_unary_rpc_method_handler(self._answer)
        handlers = grpc.method_handlers_generic_handler(questions.SERVICE, {questions.METHOD: method})
        self.rpc = grpc.aio.server(options=server.SERVER_OPTIONS)
        self.rpc.add_generic_rpc_handlers((handlers,))
        self.port = self.rpc.add_insecure_port("127.0.0.1:0")

    async def _answer(self, data, call):
        self.asked.append(call.peer())
        if self.code is not None:
            await call.abort(self.code, "sesame")
        return data[::-1]


@pytest.fixture
async def above():
    made = Above()
    await made.rpc.start()
    yield made
    await made.rpc.stop(0)


@pytest.fixture
async def rig(above, tmp_path):
    connected = []

    def connect():
        return connected[-1](f"127.0.0.1:{above.port}") if connected else None

    asking = questions.Questions(connect)
    rpc = grpc.aio.server()
    rpc.add_generic_rpc_handlers((asking.handlers(),))
    rpc.add_insecure_port(f"unix:{tmp_path}/s")
    await rpc.start()
    channel = grpc.aio.insecure_channel(f"unix:{tmp_path}/s")
    yield asking, channel.unary_unary(METHOD, lambda same: same, lambda same: same), connected
    await channel.close()
    await rpc.stop(0)
    await asking.close()


async def refused(awaitable):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code(), caught.value.details()


async def test_bytes_go_up_and_down_on_one_connection_until_it_is_renewed(rig, above):
    asking, ask, connected = rig
    assert await refused(ask(b"ab")) == (grpc.StatusCode.UNAVAILABLE, "no certificate yet")
    connected.append(grpc.aio.insecure_channel)
    assert [await ask(b"ab") for _ in range(3)] == [b"ba"] * 3
    asking.renew()
    assert await ask(b"ab") == b"ba"
    assert len(above.asked) == 4


async def test_what_is_refused_above_is_unavailable_and_says_no_more(rig, above):
    _, ask, connected = rig
    connected.append(grpc.aio.insecure_channel)
    above.code = grpc.StatusCode.PERMISSION_DENIED
    assert await refused(ask(b"ab")) == (grpc.StatusCode.UNAVAILABLE, "the control plane: PERMISSION_DENIED")


async def test_a_control_plane_that_is_away_is_asked_again_when_it_is_back(rig, above):
    _, ask, connected = rig
    connected.append(grpc.aio.insecure_channel)
    await above.rpc.stop(0)
    assert (await refused(ask(b"ab")))[0] is grpc.StatusCode.UNAVAILABLE
    again = Above()
    await again.rpc.start()
    above.port = again.port  # it came back elsewhere: who is told so connects anew
    rig[0].renew()

    async def answered():
        try:
            return await ask(b"ab") == b"ba"
        except grpc.aio.AioRpcError:
            return False

    await wait.until_async(answered, "it answers")
    await again.rpc.stop(0)
