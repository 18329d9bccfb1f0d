"""What tests do from inside a pod: `python pod_probes.py` obeys lines of JSON, {"call": NAME, "with": {...}}.

Each answers with one line of JSON, {"answer": ...} or {"error": text}. The same functions run in the tests'
own process for calls from the host.
"""

import asyncio
import collections
import contextlib
import json
import socket
import ssl
import sys
import threading
import time
import traceback

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

DNS = "10.96.0.10"


def http(url, method="GET", headers=None, body=None, version="1.1", host=None, follow=False, timeout=10, resolve=None):
    """One request on a connection of its own, by httpx. `resolve` is the host:port to connect to instead."""
    import httpx

    extensions = {}
    headers = dict(headers or {})
    if host:
        headers["host"] = host
    if resolve:
        wanted = httpx.URL(url)
        headers.setdefault("host", wanted.netloc.decode())
        if wanted.scheme == "https":
            extensions["sni_hostname"] = wanted.host
        where, _, port = resolve.partition(":")
        url = wanted.copy_with(host=where, port=int(port))
    begin = time.monotonic()
    with httpx.Client(
        http1=version == "1.1", http2=version == "2", verify=False, timeout=timeout, trust_env=False,
        follow_redirects=follow,
    ) as client:
        try:
            got = client.request(method, url, headers=headers, content=body, extensions=extensions)
        except httpx.HTTPError as error:
            return {"status": 0, "error": repr(error), "seconds": time.monotonic() - begin}
        answer = {
            "status": got.status_code, "headers": dict(got.headers), "text": got.text,
            "version": got.http_version, "seconds": time.monotonic() - begin,
        }
    with contextlib.suppress(ValueError):
        answer["json"] = got.json()
    return answer


def count(host, path="/", port=80, headers=None, times=100, connections=4, field="version", say=""):
    """How often each backend answered (its `field`), or else which status or error there was."""
    return dict(asyncio.run(_count(host, path, port, headers or {}, times, connections, field, say)))


async def _count(host, path, port, headers, times, connections, field, say):
    found = collections.Counter()
    lines = "".join(f"{k}: {v}\r\n" for k, v in {"host": say or host, **headers}.items())
    request = f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()

    async def some(number):
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(number):
            writer.write(request)
            status, body = await _answer(reader)
            found[json.loads(body)[field] if status == 200 else str(status)] += 1
        writer.close()

    share, rest = divmod(times, connections)
    await asyncio.gather(*(some(share + (i < rest)) for i in range(connections)))
    return found


def order(host, path="/", port=80, headers=None, times=1, field="name", sticky=""):
    """Who answered, one request after the other on one connection, and the cookies that were set. `sticky` is the name
    of a cookie that is sent back from its first setting on."""
    return asyncio.run(_order(host, path, port, headers or {}, times, field, sticky))


async def _order(host, path, port, headers, times, field, sticky):
    found, cookies = [], []
    reader, writer = await asyncio.open_connection(host, port)
    for _ in range(times):
        told = {**headers, "cookie": cookies[0].split(";")[0]} if sticky and cookies else headers
        lines = "".join(f"{k}: {v}\r\n" for k, v in {"host": host, **told}.items())
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        sizes = [int(value) for name, _, value in lines if name.lower() == b"content-length"]
        cookies += [value.decode() for name, _, value in lines if name.lower() == b"set-cookie"]
        body = await reader.readexactly(sizes[0] if sizes else 0)
        status = int(head.split(b" ", 2)[1])
        found.append(json.loads(body)[field] if status == 200 else f"{status} {body.decode()}")
    writer.close()
    return {"who": found, "cookies": cookies}


async def _answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(f.split(b": ", 1) for f in head.lower().split(b"\r\n")[1:] if f)
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(fields.get(b"content-length", b"0")))


def bursts(host, pauses, at_once, port=80, method="GET"):
    """Requests on connections that are kept, all of them together and again after each pause (seconds): the statuses
    or errors that there were. A connection that has ended is made anew."""
    return dict(asyncio.run(_bursts(host, pauses, at_once, port, method)))


async def _bursts(host, pauses, at_once, port, method):
    found = collections.Counter()
    kept = [None] * at_once
    request = f"{method} / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n".encode()

    async def one(number):
        try:
            kept[number] = kept[number] or await asyncio.open_connection(host, port)
            kept[number][1].write(request)
            found[str((await _answer(kept[number][0]))[0])] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            found[f"error {type(error).__name__}"] += 1
            kept[number] = None

    for pause in (0, *pauses):
        await asyncio.sleep(pause)
        await asyncio.gather(*map(one, range(at_once)))
    for streams in filter(None, kept):
        streams[1].close()
    return found


LOOPS = {}


class Loop(threading.Thread):
    """Requests without pause on connections of their own kind until told to end."""

    def __init__(self, host, port, keep, path):
        super().__init__(daemon=True)
        self.host, self.port, self.keep, self.path = host, port, keep, path
        self.found = collections.Counter()
        self.ended = False

    def run(self):
        asyncio.run(self.go())

    async def go(self):
        streams = None
        while not self.ended:
            try:
                async with asyncio.timeout(5):
                    streams = streams or await asyncio.open_connection(self.host, self.port)
                    streams[1].write(f"GET {self.path} HTTP/1.1\r\nhost: {self.host}\r\n\r\n".encode())
                    status, body = await _answer(streams[0])
                self.found[json.loads(body)["version"] if status == 200 else str(status)] += 1
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.found[f"error {type(error).__name__}"] += 1
                streams = None
            if streams and not self.keep:
                streams[1].close()
                streams = None


def begin(name, host, port=80, keep=False, path="/"):
    """Start a loop of requests: each on a new connection, or all on one."""
    LOOPS[name] = Loop(host, port, keep, path)
    LOOPS[name].start()


def seen(name):
    """What a loop has met so far."""
    return dict(LOOPS[name].found)


def end(name):
    """End a loop; what it met."""
    loop = LOOPS.pop(name)
    loop.ended = True
    loop.join(10)
    return dict(loop.found)


def ask_again(name):
    """As a resolver asks, again after 2 s without an answer, since datagrams get lost: rcode, and how many times."""
    query = dns.message.make_query(name, "A")
    for times in (1, 2, 3):
        try:
            return {"rcode": dns.rcode.to_text(dns.query.udp(query, DNS, timeout=2).rcode()), "times": times}
        except dns.exception.Timeout:
            pass
    return {"rcode": "no answer", "times": 3}


def ask(name, kind="A", tcp=False):
    """A question to the cluster's DNS: rcode, records (TYPE DATA, sorted), seconds."""
    begin = time.monotonic()
    query = dns.message.make_query(name, kind)
    got = (dns.query.tcp if tcp else dns.query.udp)(query, DNS, timeout=8)
    records = [
        f"{dns.rdatatype.to_text(s.rdtype)} {r.to_text()}" for s in got.answer for r in s
    ]
    return {
        "rcode": dns.rcode.to_text(got.rcode()), "records": sorted(records), "seconds": time.monotonic() - begin,
    }


def resolve(name):
    """The addresses that the C library finds, as applications see it, and the seconds it took."""
    begin = time.monotonic()
    try:
        found = sorted({entry[4][0] for entry in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        found = [f"error {error.errno}"]
    return {"addresses": found, "seconds": time.monotonic() - begin}


def reverse(address):
    """The name that the C library finds for an address."""
    return socket.gethostbyaddr(address)[0]


def say(host, port, text="", lines=1, tls=False, timeout=8):
    """Connect, send text, read lines. Seconds are until the first line."""
    begin = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout) as sock:
            if tls:
                trust = ssl.create_default_context()
                trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
                sock = trust.wrap_socket(sock, server_hostname=host)
            sock.sendall(text.encode())
            stream = sock.makefile("r", encoding="latin-1")
            first = stream.readline()
            seconds = time.monotonic() - begin
            rest = [stream.readline() for _ in range(lines - 1)]
            answer = {"lines": [first, *rest], "seconds": seconds}
            if tls:
                answer["certificate"] = ssl.DER_cert_to_PEM_cert(sock.getpeercert(binary_form=True))
            return answer
    except OSError as error:
        return {"lines": [], "error": repr(error), "seconds": time.monotonic() - begin}


def raw(host, port, text, half_close=False, silent=0.0):
    """Send text (latin-1), after `silent` seconds, say at once that this was all if wanted, and read to the other
    side's end."""
    with socket.create_connection((host, port), 8) as sock:
        time.sleep(silent)
        sock.sendall(text.encode("latin-1"))
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode("latin-1")


def statuses(tries):
    """For each name of [host, port, text]: the status of what text (latin-1) is answered with, 0 for no answer."""
    return {name: status(*each) for name, each in tries.items()}


def status(host, port, text):
    """The status of the answer to a text (latin-1), 0 when there is none."""
    try:
        with socket.create_connection((host, port), 8) as sock:
            sock.sendall(text.encode("latin-1"))
            first = sock.makefile("r", encoding="latin-1", newline="\n").readline()
    except OSError:
        return 0
    return int(first[9:12]) if first.startswith("HTTP/") else 0


def transfer(host, port, size):
    """Send `size` bytes, close the own side, and count what comes back until the other side's end."""
    import hashlib

    block = bytes(range(256)) * 256
    sent, got = hashlib.sha256(), hashlib.sha256()
    with socket.create_connection((host, port), 20) as sock:

        def send():
            left = size
            while left:
                piece = block[:left]
                sock.sendall(piece)
                sent.update(piece)
                left -= len(piece)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        total = 0
        while data := sock.recv(1 << 18):
            got.update(data)
            total += len(data)
        sender.join(10)
    return {"bytes": total, "same": sent.digest() == got.digest()}


OPEN = {}


def hold(name, host, port):
    """Open a connection and keep it for later `talk`."""
    OPEN[name] = socket.create_connection((host, port), 8)


def talk(name, text):
    """A line on a held connection, and the line that comes back ("" when it was closed)."""
    OPEN[name].sendall(text.encode())
    return OPEN[name].makefile("r").readline()


def get(name, host, path="/"):
    """An HTTP/1.1 request on a held connection: status, or "closed"."""
    try:
        OPEN[name].sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            piece = OPEN[name].recv(65536)
            if not piece:
                return "closed"
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        while len(body) < size:
            body += OPEN[name].recv(65536)
        return json.loads(body)["version"] if head[9:12] == b"200" else head[9:12].decode()
    except OSError as error:
        return repr(error)


def grpc(target, method, ask=None, asks=None, metadata=None, service="retic.testing.Echo", authority="", root=""):
    """A call of the gRPC echo server: its answers, or the status' name."""
    import grpc as library

    options = [("grpc.enable_http_proxy", 0)]
    if authority:
        options += [("grpc.default_authority", authority), ("grpc.ssl_target_name_override", authority)]
    channel = (
        library.secure_channel(target, library.ssl_channel_credentials(root.encode()), options)
        if root else library.insecure_channel(target, options)
    )
    path = f"/{service}/{method}"
    one = json.dumps(ask or {}).encode()
    many = (json.dumps(a).encode() for a in asks or ())
    pairs = list((metadata or {}).items())
    with channel:
        try:
            match method:
                case "Unary" | "Check":
                    found = [channel.unary_unary(path)(one, metadata=pairs, timeout=10)]
                case "Stream":
                    found = list(channel.unary_stream(path)(one, metadata=pairs, timeout=10))
                case "Chat":
                    found = list(channel.stream_stream(path)(many, metadata=pairs, timeout=10))
                case _:
                    found = [channel.stream_unary(path)(many, metadata=pairs, timeout=10)]
        except library.RpcError as error:
            return {"code": error.code().name, "details": error.details()}
    return {"code": "OK", "answers": [json.loads(f) if f.startswith(b"{") else f.hex() for f in found]}


def websocket(url, text, headers=None, through=None):
    """Connect, take the greeting, send text, return both."""
    import websockets.sync.client

    trust = None
    if url.startswith("wss"):
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with websockets.sync.client.connect(
        url, additional_headers=headers or {}, ssl=trust, proxy=None,
        **({"address": tuple(through)} if through else {}),
    ) as ws:
        greeting = json.loads(ws.recv(8))
        ws.send(text)
        echo = ws.recv(8)
        begin = time.monotonic()
    return {"greeting": greeting, "echo": echo, "closing": time.monotonic() - begin}


def websocket_open(name, url):
    """Connect, take the greeting, and keep the connection for later `websocket_talk`."""
    import websockets.sync.client

    OPEN[name] = websockets.sync.client.connect(url, proxy=None)
    OPEN[name].recv(8)


def websocket_talk(name, text):
    """Send text on a held WebSocket; what comes back."""
    OPEN[name].send(text)
    return OPEN[name].recv(8)


def main():
    """Obey until standard input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"answer": globals()[order["call"]](**order["with"])}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
