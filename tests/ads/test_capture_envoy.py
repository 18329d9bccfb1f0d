"""A pod that is captured or released while it is called: its endpoint changes, and neither a request nor an open
connection is lost. Kept connections of before are used up, not used again."""

import asyncio
import collections
import contextlib
import pathlib
import socket
import ssl
import threading

import ads_envoy as proxy
import httpx
import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401  (known to json_format)
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import json_format

from retic import xds
from retic.envoy import clusters, endpoints
from retic.mesh import service
from retic.testing import outsider
from retic.testing.wait import until_async

IDENTITY = "spiffe://cluster.local/ns/default/sa/web"


class Server(threading.Thread):
    """HTTP/1.1 and lines, with the mesh's TLS or without it on one port, as a captured pod in PERMISSIVE takes them."""

    def __init__(self, pair):
        super().__init__(daemon=True)
        self._trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._trust.load_cert_chain(pair[1], pair[0])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.asked, self.release = threading.Event(), threading.Event()

    def run(self):
        while True:
            try:
                made, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(made,), daemon=True).start()

    def _serve(self, made):
        with contextlib.suppress(OSError), made:
            how = "plaintext"
            if made.recv(1, socket.MSG_PEEK) == b"\x16":
                how, made = "mTLS", self._trust.wrap_socket(made, server_side=True)
            stream = made.makefile("rwb")
            while line := stream.readline():
                if not line.endswith(b"HTTP/1.1\r\n"):
                    stream.write(f"{how}\n".encode())
                else:
                    while stream.readline().strip():
                        pass
                    if b"/slow" in line:
                        self.asked.set()
                        self.release.wait(150)
                    stream.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(how)}\r\n\r\n{how}".encode())
                stream.flush()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def cluster(name, identities=(IDENTITY,)):
    made = clusters.mesh_service(name, "web", service.Protocol.AUTO, identities, strangers=True)
    made.ClearField("upstream_bind_config")  # pods' namespaces, which there are none of here
    return made.SerializeToString(deterministic=True)


def endpoint(port, secured):
    one = service.Endpoint("127.0.0.1", port, "", "web", "default", secured)
    return endpoints.assignment("web", [one], "").SerializeToString(deterministic=True)


def secrets(root, pair):
    """The root, and the certificate of whoever calls."""
    trusted = secret_pb2.Secret(name="root")
    trusted.validation_context.trusted_ca.inline_bytes = root.read_bytes()
    own = secret_pb2.Secret(name="none")
    own.tls_certificate.private_key.inline_bytes = pathlib.Path(pair[0]).read_bytes()
    own.tls_certificate.certificate_chain.inline_bytes = pathlib.Path(pair[1]).read_bytes()
    return {one.name: one.SerializeToString() for one in (trusted, own)}


def lines(path):
    """A listener that passes connections on."""
    tcp = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "lines", "cluster": "c",
    }  # fmt: skip
    content = {
        "name": "lines", "address": {"pipe": {"path": str(path)}},
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": tcp}]}],
    }  # fmt: skip
    return json_format.ParseDict(content, listener_pb2.Listener()).SerializeToString()


async def load(path, met):
    """Requests one after the other on a kept connection; what came back, or what went wrong, is counted."""
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
        while True:
            try:
                met[(await client.get("http://x/")).text] += 1
            except httpx.HTTPError as error:
                met[repr(error)] += 1


@pytest.fixture
def files(tmp_path):
    """A folder for keys, the root, and a forger of the mesh's certificates."""
    forger = outsider.Forger(tmp_path, tmp_path / "ca")
    return tmp_path / "ca" / "root.pem", forger.pair(IDENTITY), forger.pair("spiffe://cluster.local/ns/default/sa/c")


async def test_no_request_is_lost_when_a_pod_is_captured_or_released(house, tmp_path, files):
    root, own, callers = files
    server = Server(own)
    server.start()
    front, held = tmp_path / "front.sock", tmp_path / "lines.sock"
    house.put(xds.SECRET, **secrets(root, callers))
    house.put(xds.CLUSTER, c=cluster("c"))
    house.put(xds.ENDPOINTS, web=endpoint(server.port, secured=False))
    house.put(xds.ROUTES, r=proxy.routes("r", ("*", {"route": {"cluster": "c", "timeout": "0s"}})))
    house.put(xds.LISTENER, front=proxy.listener("front", front, "r"), lines=lines(held))
    envoy = proxy.Proxy(tmp_path, tmp_path / "ads.sock", "DELTA_GRPC")
    await envoy.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(envoy.stop)
        stack.callback(server.close)
        await stack.enter_async_context(asyncio.timeout(150))

        async def says(how):
            return await envoy.get("/", front) == how

        await until_async(lambda: says("plaintext"), "the server is reached", seconds=20)
        reader, writer = await asyncio.open_unix_connection(held)
        stack.callback(writer.close)
        client = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(front)), timeout=150)
        await stack.enter_async_context(client)
        slow = asyncio.create_task(client.get("http://x/slow"))
        await until_async(server.asked.is_set, "the slow request is there")
        met = collections.Counter()
        loads = [asyncio.create_task(load(front, met)) for _ in range(4)]
        for secured in (True, False, True, False, True):
            house.put(xds.ENDPOINTS, web=endpoint(server.port, secured))
            how = "mTLS" if secured else "plaintext"
            await until_async(lambda how=how: says(how), f"by {how}", seconds=20)
            assert [await envoy.get("/", front) for _ in range(20)] == [how] * 20, "kept connections are of before"
            writer.write(b"line\n")
            assert await reader.readline() == b"plaintext\n", "a connection that is open goes on as it was"
        # Another account comes to stand behind the Service: the cluster itself changes.
        for identities in ((IDENTITY, "spiffe://cluster.local/ns/default/sa/x"), (IDENTITY,)):
            house.put(xds.CLUSTER, c=cluster("c", identities))
            assert await house.server.settled(20)
            assert [await envoy.get("/", front) for _ in range(20)] == ["mTLS"] * 20
        server.release.set()
        assert (await slow).text == "plaintext"
        for one in loads:
            one.cancel()
        await asyncio.wait(loads)
        assert met.keys() == {"plaintext", "mTLS"}, met
        assert min(met.values()) > 100, met
        writer.write(b"line\n")
        assert await reader.readline() == b"plaintext\n"
        assert await envoy.stat("cluster.c.upstream_cx_connect_fail") == 0


async def test_our_tls_begins_at_once_even_while_the_certificate_is_fetched(house, tmp_path, files):
    """What `limits.SILENT_SECONDS` rests on: who says nothing for so long is no proxy of the mesh.

    The certificate never comes here: what waited for it would say nothing for ever, on a slow machine too.
    """
    root, _, callers = files
    front = tmp_path / "front.sock"
    house.put(xds.SECRET, root=secrets(root, callers)["root"])
    house.put(xds.CLUSTER, c=cluster("c"))
    house.put(xds.ROUTES, r=proxy.routes("r", ("*", {"route": {"cluster": "c", "timeout": "0s"}})))
    house.put(xds.LISTENER, front=proxy.listener("front", front, "r"))
    envoy = proxy.Proxy(tmp_path, tmp_path / "ads.sock", "DELTA_GRPC")
    await envoy.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(envoy.stop)
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.setblocking(False)
        house.put(xds.ENDPOINTS, web=endpoint(listening.getsockname()[1], secured=True))

        async def active():
            return await envoy.stat("listener_manager.total_listeners_active") == 1

        await until_async(active, "the listener is there", seconds=20)
        asking = asyncio.create_task(envoy.get("/", front))
        stack.callback(asking.cancel)
        loop = asyncio.get_running_loop()
        made, _ = await asyncio.wait_for(loop.sock_accept(listening), 20)
        with made:
            first = await asyncio.wait_for(loop.sock_recv(made, 1), 10)
        assert first == b"\x16", "a handshake record"
        assert await envoy.stat("cluster.c.ssl.handshake") == 0
