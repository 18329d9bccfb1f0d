"""The relay between two sockets, also on a Python whose transports read although they were told to pause."""

import asyncio
import asyncio.selector_events
import socket

import pytest

from retic.local import egress


def _reads_regardless(self, fd, callback, *arguments):
    """As Python 3.11.2 does: what `connection_made` pauses is read all the same."""
    if not self._closing:
        self._loop._add_reader(fd, callback, *arguments)


@pytest.fixture(params=["this Python", "an older one"])
def _python(request, monkeypatch):
    if request.param != "this Python":
        monkeypatch.setattr(asyncio.selector_events._SelectorTransport, "_add_reader", _reads_regardless)


@pytest.mark.usefixtures("_python")
async def test_what_was_there_before_the_other_side_arrives(monkeypatch):
    (near, one), (two, far) = socket.socketpair(), socket.socketpair()
    monkeypatch.setattr(one.__class__, "setsockopt", lambda *_: None)  # TCP_NODELAY, on sockets that are not TCP's
    loop = asyncio.get_running_loop()
    for sock in (near, one, two, far):
        sock.setblocking(False)
    near.sendall(b"asked before")
    near.shutdown(socket.SHUT_WR)
    far.sendall(b"said first")
    relay = loop.create_task(egress._both_ways(one, two))
    async with asyncio.timeout(10):
        assert await loop.sock_recv(far, 100) == b"asked before"
        assert await loop.sock_recv(far, 100) == b""
        assert await loop.sock_recv(near, 100) == b"said first"
        far.close()
        assert await loop.sock_recv(near, 100) == b""
        near.close()
        await relay
