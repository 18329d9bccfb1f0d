"""One try of one probe: GET, TCP connection, command, gRPC health. Judges a single answer, counts nothing.

Tries run inside the pod's network namespace towards the pod's own address, as kubelet's come from the node:
an application that listens on 127.0.0.1 only is not ready. Certificates are not checked, as kubelet does not.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from retic.local.kubelet import grpc_health, sockets
from retic.objects import pods as structs

_HEAD = 64 * 1024
_HEALTH = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}  # grpc.health.v1.HealthCheckResponse
Execute = Callable[[tuple[str, ...]], Awaitable[tuple[int, str]]]


class Target(msgspec.Struct, frozen=True):
    """The container that is asked: its pod's namespace (None: ours) and address, its ports by name."""

    netns: str | None
    address: str
    ports: dict[str, int]
    execute: Execute


class Answer(msgspec.Struct, frozen=True):
    """Whether the probe succeeded, and what to tell when it did not."""

    ok: bool
    message: str = ""


def _port(target: Target, wanted: int | str) -> int:
    if isinstance(wanted, int):
        return wanted
    if wanted in target.ports:
        return target.ports[wanted]
    raise ValueError(f"the container has no port named {wanted}")


@contextlib.asynccontextmanager
async def _connected(
    target: Target, port: int, *, host: str | None = None, tls: bool = False
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    sock = sockets.make(target.netns)
    writer: asyncio.StreamWriter | None = None
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host or target.address, port))
        options = None
        if tls:
            options = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            options.check_hostname = False
            options.verify_mode = ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=options, server_hostname="" if tls else None, limit=_HEAD
        )
        yield reader, writer
    finally:
        if writer is not None:
            writer.transport.abort()
        sock.close()


async def http_get(target: Target, action: structs.HTTPGetAction) -> Answer:
    """GET; 200 to 399 is success (redirects are not followed)."""
    port = _port(target, action.port)
    host = action.host or target.address
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/retic", "Accept": "*/*", "Connection": "close"}
    wanted = {header.name.title(): header.value for header in action.http_headers}
    headers |= wanted
    path = action.path or "/"
    path = path if path.startswith("/") else f"/{path}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    tls = action.scheme == "HTTPS"
    async with _connected(target, port, host=action.host, tls=tls) as (reader, writer):
        writer.write("\r\n".join(lines).encode())
        first = await reader.readline()
    parts = first.split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].strip().isdigit():
        return Answer(ok=False, message="the answer is not HTTP")
    code = int(parts[1])
    return Answer(ok=200 <= code < 400, message=f"HTTP {code}")


async def tcp(target: Target, action: structs.TCPSocketAction) -> Answer:
    """A connection that is accepted."""
    async with _connected(target, _port(target, action.port), host=action.host):
        return Answer(ok=True)


async def grpc(target: Target, action: structs.GRPCAction) -> Answer:
    """The health service says SERVING."""
    authority = f"{target.address}:{action.port}"
    async with _connected(target, action.port) as (reader, writer):
        status = await grpc_health.check(reader, writer, authority=authority, service=action.service or "")
    said = "the gRPC call failed" if status is None else _HEALTH.get(status, f"status {status}")
    return Answer(ok=status == grpc_health.SERVING, message=said)


async def execute(target: Target, action: structs.ExecAction) -> Answer:
    """A command that returns 0."""
    code, output = await target.execute(action.command)
    return Answer(ok=code == 0, message=f"exit code {code}: {output.strip()}".rstrip(": "))


async def attempt(target: Target, probe: structs.Probe | structs.LifecycleAction, seconds: float) -> Answer:
    """One try, at most `seconds` long. Never raises but CancelledError."""
    try:
        async with asyncio.timeout(seconds):
            if probe.http_get is not None:
                return await http_get(target, probe.http_get)
            if probe.tcp_socket is not None:
                return await tcp(target, probe.tcp_socket)
            if probe.exec is not None:
                return await execute(target, probe.exec)
            if isinstance(probe, structs.Probe) and probe.grpc is not None:
                return await grpc(target, probe.grpc)
            return Answer(ok=True)
    except TimeoutError:
        return Answer(ok=False, message=f"timed out after {seconds:g} s")
    except asyncio.IncompleteReadError:
        return Answer(ok=False, message="the connection ended without an answer")
    except ssl.SSLError as error:
        return Answer(ok=False, message=f"no TLS: {error.reason or error}")
    except OSError as error:
        return Answer(ok=False, message=_words(error))
    except ValueError as error:
        return Answer(ok=False, message=str(error))


def _words(error: OSError) -> str:
    """What the kernel said, such as "connection refused", without the address, which the probe tells."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    text = os.strerror(error.errno)
    return text[:1].lower() + text[1:]
