"""An API server that fails as a test tells it: lists in pages, watches with a history, any answer instead.

Plain HTTP on a port of 127.0.0.1; collections are named by their paths, such as /api/v1/pods. It knows no kind,
checks nothing, and understands of selectors nothing. Whatever is sent to it is kept in `requests`,
the client certificates beside them in `peers`.
"""

import asyncio
import contextlib
import errno
import ssl
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from retic.sources.api import client, kubeconfig
from retic.testing import ports


class Request(msgspec.Struct, frozen=True):
    """One request. `headers` by lower-case name."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def is_watch(self) -> bool:
        """Whether it asks for a watch."""
        return "watch" in self.query


class Answer(msgspec.Struct, frozen=True):
    """What to answer instead. `hangs`: nothing after the head, until the client has enough."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    hangs: bool = False


def status(code: int, reason: str = "", message: str = "as told by the test") -> bytes:
    """A metav1.Status."""
    return msgspec.json.encode({"kind": "Status", "code": code, "reason": reason, "message": message})


Upgrades = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Watch:
    def __init__(self, path: str, writer: asyncio.StreamWriter) -> None:
        self.path, self.writer = path, writer

    def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))


class Server:
    """Collections, revisions, watches. `answers` (by path) come first, one for each request of that path."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
        self.requests: list[Request] = []
        self.answers: dict[str, list[Answer]] = {}
        self.watches: list[_Watch] = []
        self.peers: list[Any] = []
        self.revision = 10
        self._oldest: dict[str, int] = {}
        self._moments: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._history: list[tuple[int, str, bytes]] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tls: ssl.SSLContext | None = None
        self._port = 0
        self.upgrades: Upgrades | None = None
        """What takes the connections that are to become websockets, with the head of their first request."""

    @property
    def url(self) -> str:
        """Where it listens; the same after a stop and a start."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}"

    def api(self, user: kubeconfig.User | None = None, **cluster: Any) -> client.Api:
        """A client of it; `cluster` has further fields of the kubeconfig's cluster."""
        server = kubeconfig.Cluster(**{"server": self.url, **cluster})
        return client.Api(kubeconfig.Access("a test", server, user or kubeconfig.User()))

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, with TLS when a context is given."""
        self._tls = tls
        while True:
            port = self._port or ports.free()
            try:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)
            except OSError as error:
                if self._port or error.errno != errno.EADDRINUSE:
                    raise
            else:
                self._port = port
                return

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Close every connection, in the middle of whatever it is."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def end(self, path: str) -> None:
        """End each watch of the path as a server does whose time is up."""
        for watch in self._of(path):
            watch.writer.write(b"0\r\n\r\n")
            watch.writer.close()

    def put(self, path: str, name: str, namespace: str = "", **fields: Any) -> None:
        """An object as it is from now on."""
        self.revision += 1
        metadata: dict[str, Any] = {"name": name, "resourceVersion": str(self.revision)}
        if namespace:
            metadata["namespace"] = namespace
        known = self.collections.setdefault(path, {})
        kind = "MODIFIED" if (namespace, name) in known else "ADDED"
        given = fields.pop("metadata", {})
        known[namespace, name] = {"metadata": {**given, **metadata}, **fields}
        self._tell(path, kind, known[namespace, name])

    def remove(self, path: str, name: str, namespace: str = "") -> None:
        """The object is gone."""
        self.revision += 1
        gone = self.collections[path].pop((namespace, name))
        gone["metadata"]["resourceVersion"] = str(self.revision)
        self._tell(path, "DELETED", gone)

    def drop(self, path: str) -> None:
        """The kind is gone: 404 from now on. When it comes back, versions of before are 410."""
        self.collections.pop(path, None)
        self.revision += 1
        self._oldest[path] = self.revision
        for watch in self._of(path):
            watch.writer.transport.abort()

    def forget(self) -> None:
        """Compact: older versions are 410."""
        self.revision += 1
        self._oldest = dict.fromkeys([*self.collections, *self._oldest], self.revision)
        self._history.clear()

    def bookmark(self, path: str) -> None:
        """Tell watches how far they are."""
        self.send(path, event("BOOKMARK", {"metadata": {"resourceVersion": str(self.revision)}}))

    def send(self, path: str, data: bytes) -> None:
        """Bytes to each watch of the path, as they are."""
        for watch in self._of(path):
            watch.send(data)

    def _of(self, path: str) -> list[_Watch]:
        return [watch for watch in self.watches if watch.path == path]

    def _tell(self, path: str, kind: str, value: dict[str, Any]) -> None:
        line = event(kind, value)
        self._history.append((self.revision, path, line))
        self.send(path, line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                request = _request(head)
                if self.upgrades is not None and request.headers.get("upgrade", "").lower() == "websocket":
                    self.requests.append(request)
                    await self.upgrades(head, reader, writer)
                else:
                    await self._one(request, reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        self.peers.append(writer.get_extra_info("peercert"))
        if waiting := self.answers.get(request.path):
            await _answer(reader, writer, waiting.pop(0))
        elif request.path not in self.collections:
            await _answer(reader, writer, Answer(404, b"404 page not found\n"))
        elif request.is_watch:
            await self._watch(request, reader, writer)
        else:
            await _answer(reader, writer, self._list(request))

    def _list(self, request: Request) -> Answer:
        version, _, start = (request.query.get("continue") or f"{self.revision}:0").partition(":")
        if int(version) < self._oldest.get(request.path, 0):
            return Answer(410, status(410, "Expired"))
        every = self._moments.setdefault(
            (request.path, version), [value for _, value in sorted(self.collections[request.path].items())]
        )
        end = int(start) + int(request.query.get("limit", "500"))
        rest = f"{version}:{end}" if end < len(every) else ""
        metadata = {"resourceVersion": version, "continue": rest}
        return Answer(200, msgspec.json.encode({"metadata": metadata, "items": every[int(start) : end]}))

    async def _watch(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        since = int(request.query["resourceVersion"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        watch = _Watch(request.path, writer)
        if since < self._oldest.get(request.path, 0):
            watch.send(event("ERROR", msgspec.json.decode(status(410, "Expired"))))
        for revision, path, line in self._history:
            if revision > since and path == request.path:
                watch.send(line)
        self.watches.append(watch)
        try:
            await reader.read()  # until the client goes
        finally:
            self.watches.remove(watch)


def event(kind: str, value: Mapping[str, Any]) -> bytes:
    """A line of a watch."""
    return msgspec.json.encode({"type": kind, "object": value}) + b"\n"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    headers = {"Content-Length": str(len(answer.body)), "Connection": "close", **answer.headers}
    lines = [f"HTTP/1.1 {answer.status} As-Told", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode() + answer.body)
    if answer.hangs:
        await reader.read()
    await writer.drain()


def _request(head: bytes) -> Request:
    first, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    url = urllib.parse.urlsplit(target)
    pairs = (line.partition(": ") for line in rest)
    return Request(method, url.path, dict(urllib.parse.parse_qsl(url.query)), {a.lower(): b for a, _, b in pairs})
