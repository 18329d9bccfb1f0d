"""Spans by TLS: a collector has to prove what the provider says, by gRPC and by HTTP alike."""

import http.server
import ssl
import threading

import grpc
import grpc.aio
import msgspec
import pytest

from retic.node import exporting, told
from retic.telemetry import entries, spans
from retic.testing import tls_pairs

NAME = "otel.example.com"
TRACE = f"{'a' * 32}-{'b' * 16}-"
REQUEST = spans.Traced(
    entries.Entry(id="1", side="outbound", protocol="HTTP/1.1", time=1.0, ms=1.0, method="GET", trace=TRACE)
)


class Collector:
    """Takes spans at `target` and counts what came. `path` is "" where it speaks gRPC."""

    def __init__(self, target, path):
        self.target, self.path, self.taken = target, path, 0


@pytest.fixture
def pair():
    """The collector's certificate, which is its own authority, and its key."""
    return tls_pairs.pair(NAME)


@pytest.fixture
async def by_grpc(pair):
    chain, key = pair
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    made = Collector(f"127.0.0.1:{port}", "")

    async def take(request, context):
        made.taken += 1
        return b""

    handlers = {"Export": grpc.unary_unary_rpc_method_handler(take)}
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    await server.start()
    yield made
    await server.stop(0)


@pytest.fixture
def by_http(pair, tmp_path):
    for name, content in zip(("crt", "key"), pair, strict=True):
        (tmp_path / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            made.taken += self.path == made.path and self.headers["host"] == f"{NAME}:{server.server_port}"
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made = Collector(f"127.0.0.1:{server.server_port}", "/v1/traces")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["by_grpc", "by_http"])
def collector(request):
    return request.getfixturevalue(request.param)


def proving(hostname, roots=""):
    return lambda targets: told.Collector((), tls=told.Tls(targets, hostname, roots))


async def sent(collector, made):
    """How many spans went away, and how many requests came."""
    sender = exporting.Exporting()
    known = msgspec.structs.replace(made((collector.target,)), path=collector.path, seconds=5.0)
    sender.set({"otel": known})
    sender.add("otel", REQUEST)
    await sender.flush()
    return sender.sent, collector.taken


async def test_a_collector_that_proves_who_it_is(collector, pair):
    assert await sent(collector, proving(NAME, pair[0].decode())) == (1, 1)


async def test_one_that_does_not_is_told_nothing(collector, pair):
    own, other = pair[0].decode(), tls_pairs.pair(NAME)[0].decode()
    wrong = [("other.example.com", own), (NAME, other), (NAME, ""), (NAME, "-")]
    for each in (*(proving(*one) for one in wrong), told.Collector):
        assert await sent(collector, each) == (0, 0)


async def test_what_is_for_tls_has_no_place_in_plaintext(collector, pair):
    """As an agent of a version that knows of no TLS reads it."""
    known = proving(NAME, pair[0].decode())((collector.target,))
    assert await sent(collector, lambda _: msgspec.structs.replace(known, tls=None)) == (0, 0)
