"""Commands in containers: `pods/exec` over the API server's websocket, and what they print.

Source: Kubernetes' remotecommand (k8s.io/apimachinery/pkg/util/remotecommand): messages begin with the number of
their channel; the server ends with a Status on the third. Here only for commands that end by themselves: nothing is
sent to their standard input (`conversing` does that).
"""

import asyncio
import contextlib
import ssl
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from websockets import exceptions
from websockets.asyncio import client as sockets
from websockets.typing import Subprotocol

from retic.sources.api import connections, errors, kubeconfig, tls
from retic.sources.api.errors import ApiError, LostError, UnreachableError

MOST = 256 * 1024 * 1024
"""The most that a command may print, in bytes; Envoys of big clusters have configurations of tens of MiB."""
CLOSING = Subprotocol("v5.channel.k8s.io")
"""The protocol by which the end of a channel can be told."""
_PROTOCOLS = (CLOSING, Subprotocol("v4.channel.k8s.io"))
IN, OUT, ERR, STATUS = range(4)
"""The channels' numbers."""


class Executed(msgspec.Struct, frozen=True):
    """What a command printed, and its exit code."""

    code: int
    out: bytes
    err: bytes


class Place(msgspec.Struct, frozen=True):
    """A container."""

    namespace: str
    pod: str
    container: str

    def url(self, server: str, command: Sequence[str], *, stdin: bool = False) -> str:
        """Where the command is run, for a server's https (or, on this machine, http) URL."""
        quoted = [urllib.parse.quote(part, safe="") for part in (self.namespace, self.pod)]
        query = [("container", self.container), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if stdin else []
        query += [("command", word) for word in command]
        scheme, _, rest = server.rstrip("/").partition("://")
        path = f"/api/v1/namespaces/{quoted[0]}/pods/{quoted[1]}/exec"
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}{path}?{urllib.parse.urlencode(query)}"


class _Connect(sockets.connect):
    """Follows no redirect: credentials are for this server alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """What it is given."""
        return exc


async def execute(
    access: kubeconfig.Access,
    headers: Sequence[tuple[str, str]],
    pair: tls.Pair | None,
    place: Place,
    command: Sequence[str],
    *,
    seconds: float,
) -> Executed:
    """Run it. ApiError when the server refuses, UnreachableError when it cannot be reached or breaks off."""
    url = place.url(access.cluster.server, command)
    with translated(access, place):
        try:
            async with asyncio.timeout(seconds), opened(access, headers, pair, url) as socket:
                return await _collected(socket)
        except TimeoutError:
            raise LostError(f"{command[0]} in {place.namespace}/{place.pod} did not end within {seconds:g} s") from None


@contextlib.contextmanager
def translated(access: kubeconfig.Access, place: Place) -> Iterator[None]:
    """What websockets raise, as errors of an API server."""
    try:
        yield
    except exceptions.InvalidStatus as error:
        request = f"exec in {place.namespace}/{place.pod}"
        raise errors.parse(error.response.status_code, bytes(error.response.body or b""), request=request) from None
    except exceptions.ConnectionClosed as error:
        raise LostError(f"the connection to {place.namespace}/{place.pod} broke: {error}") from None
    except (OSError, exceptions.WebSocketException, ImportError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreachableError(
            f"no command can be run through the API server at {access.cluster.server} ({access.origin}): {why}; "
            "does a proxy between here and there pass websockets?"
        ) from error


def opened(access: kubeconfig.Access, headers: Sequence[tuple[str, str]], pair: tls.Pair | None, url: str) -> _Connect:
    """The connection: to be awaited, or entered. Raises what `translated` takes."""
    options: dict[str, Any] = {}
    if url.startswith("wss://"):
        secure: ssl.SSLContext = tls.context(access, pair)
        options["ssl"] = secure
        if access.cluster.tls_server_name:
            options["server_hostname"] = access.cluster.tls_server_name
    proxy = access.cluster.proxy_url or connections.environment_proxy(access.cluster.server)
    return _Connect(
        url, subprotocols=_PROTOCOLS, additional_headers=list(headers), user_agent_header="retic", proxy=proxy,
        compression=None, max_size=MOST, close_timeout=2, **options,
    )  # fmt: skip


async def _collected(socket: sockets.ClientConnection) -> Executed:
    """What arrives until the status; LostError when there is none."""
    parts: dict[int, list[bytes]] = {OUT: [], ERR: []}
    size = 0
    with contextlib.suppress(exceptions.ConnectionClosedOK):
        async for message in socket:
            channel, rest = parted(message)
            size += len(rest)
            if size > MOST:
                raise LostError(f"a command printed more than {MOST} bytes")
            if channel == STATUS:
                return Executed(code(rest), b"".join(parts[OUT]), b"".join(parts[ERR]))
            if channel in parts:
                parts[channel].append(rest)
    raise LostError("the API server ended the connection before the command had ended")


def parted(message: str | bytes) -> tuple[int, bytes]:
    """A message's channel and what came by it."""
    data = message.encode() if isinstance(message, str) else message
    return (data[0], data[1:]) if data else (IN, b"")


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] = ()


class _Ended(msgspec.Struct, frozen=True):
    status: str = ""
    reason: str = ""
    message: str = ""
    code: int = 500
    details: _Details | None = None


def code(body: bytes) -> int:
    """The command's exit code. ApiError when it was not even started."""
    try:
        found = msgspec.json.decode(body, type=_Ended)
    except msgspec.MsgspecError:
        raise LostError("the API server said how the command ended, but not so that it can be read") from None
    if found.status == "Success":
        return 0
    for cause in found.details.causes if found.details else ():
        if cause.reason == "ExitCode" and cause.message.isdecimal():
            return int(cause.message)
    raise ApiError(found.code, found.reason, found.message or "the command was not started")
