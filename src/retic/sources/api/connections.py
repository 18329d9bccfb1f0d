"""Connections to one API server, made anew when certificates change; errors of transport in words.

HTTP/1.1: a watch keeps a connection to itself, so that one which breaks or hangs takes no other with it, and
requests have a pool of their own that no number of watches can use up.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import httpx
import structlog

from retic.sources.api import kubeconfig, tls
from retic.sources.api.errors import LostError, UnreachableError

_log = structlog.get_logger(__name__)

_CONNECT, _SEND, _WAIT = 10.0, 30.0, 75.0
"""Seconds to connect, to send, and to wait for bytes (API servers end a request after 60 s by themselves)."""
_IDLE = 30.0
_REQUESTS = httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=_IDLE)
_WATCHES = httpx.Limits(max_connections=None, max_keepalive_connections=0)


def _keepalive() -> list[tuple[int, int, int]]:
    """The kernel asks after 15 s of silence, and gives a peer up that is silent for 30 s."""
    wanted = [(socket.SOL_SOCKET, "SO_KEEPALIVE", 1), (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 15),
              (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5), (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
              (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 30_000)]  # fmt: skip
    return [(level, getattr(socket, name), value) for level, name, value in wanted if hasattr(socket, name)]


class _Pools:
    """Two pools over one TLS context; closed when it was replaced and nobody uses it any more."""

    def __init__(self, access: kubeconfig.Access, pair: tls.Pair | None, stamp: tuple[object, ...]) -> None:
        self.pair, self.stamp, self.users, self.replaced = pair, stamp, 0, False
        context = tls.context(access, pair) if access.cluster.server.startswith("https://") else None
        self.requests, self.watches = _client(access, context, _REQUESTS), _client(access, context, _WATCHES)

    async def close(self) -> None:
        await self.requests.aclose()
        await self.watches.aclose()


def _client(access: kubeconfig.Access, context: ssl.SSLContext | None, limits: httpx.Limits) -> httpx.AsyncClient:
    proxy = access.cluster.proxy_url or environment_proxy(access.cluster.server)
    try:
        # The transport is given whole: only so can options of sockets be set.
        transport = httpx.AsyncHTTPTransport(
            verify=context or False, proxy=proxy, limits=limits, socket_options=_keepalive(), trust_env=False
        )
    except (ValueError, ImportError) as error:
        raise UnreachableError(f"{access.origin}: proxy-url cannot be used: {error}") from None
    timeout = httpx.Timeout(_WAIT, connect=_CONNECT, write=_SEND, pool=_WAIT)
    return httpx.AsyncClient(
        base_url=access.cluster.server, transport=transport, timeout=timeout, follow_redirects=False, trust_env=False
    )


def environment_proxy(server: str) -> str | None:
    """What HTTPS_PROXY and NO_PROXY say, as kubectl takes it: never for this machine itself."""
    import urllib.request

    url = httpx.URL(server)
    if kubeconfig.is_local(server) or urllib.request.proxy_bypass(url.host) or _excepted(url.host):
        return None
    return urllib.request.getproxies().get(url.scheme)


def _excepted(host: str) -> bool:
    """Whether NO_PROXY names a network that this address is in."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        for each in (os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "").split(","):
            with contextlib.suppress(ValueError):
                if "/" in each and address in ipaddress.ip_network(each.strip(), strict=False):
                    return True
    return False


class Connections:
    """The pools of the present certificates."""

    def __init__(self, access: kubeconfig.Access) -> None:
        self.access = access
        self._pools: _Pools | None = None
        cluster = access.cluster
        if cluster.insecure_skip_tls_verify:
            _log.warning("the API server's certificate is not checked", server=cluster.server, origin=access.origin)
        self.extensions = {"sni_hostname": cluster.tls_server_name} if cluster.tls_server_name else {}

    @contextlib.asynccontextmanager
    async def use(self, pair: tls.Pair | None, *, watch: bool = False) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one exchange; what it raises is for `translated`."""
        pools = await self._present(pair)
        pools.users += 1
        try:
            yield pools.watches if watch else pools.requests
        finally:
            pools.users -= 1
            if pools.replaced and not pools.users:
                await pools.close()

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of transport come out as UnreachableError. For calls of the client only, never for a caller's code."""
        try:
            yield
        except (httpx.HTTPError, OSError) as error:  # of TLS, httpx lets some pass as they are
            raise _said(error, self.access) from error
        except httpx.InvalidURL:
            raise UnreachableError(f"{self.access.origin}: server is no URL: {self.access.cluster.server}") from None

    async def _present(self, pair: tls.Pair | None) -> _Pools:
        stamp = tuple(map(_stamp, tls.files(self.access)))
        last = self._pools
        if last is not None and last.pair == pair and last.stamp == stamp:
            return last
        self._pools = _Pools(self.access, pair, stamp)
        if last is not None:
            last.replaced = True
            if not last.users:
                await last.close()
        return self._pools

    async def close(self) -> None:
        """Close what is open; nothing may be in use."""
        if self._pools is not None:
            await self._pools.close()


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _cause(error: BaseException) -> str:
    """What the system said, of what it was wrapped in."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.errno and inner.strerror:
            return os.strerror(inner.errno) if inner.errno in errno.errorcode else inner.strerror
        inner = inner.__cause__ or inner.__context__
    return str(error) or type(error).__name__


def _said(error: httpx.HTTPError | OSError, access: kubeconfig.Access) -> UnreachableError:
    """What happened, and what to do about it."""
    server, text = access.cluster.server, str(error) or type(error).__name__
    begin = f"the API server at {server} cannot be reached ({access.origin})"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "it is not trusted"
        return UnreachableError(
            f"{begin}: its certificate was refused: {why}; does certificate-authority belong to this server, "
            "and is tls-server-name right?"
        )
    if isinstance(error, httpx.ProxyError):
        return UnreachableError(f"{begin}: the proxy refused: {text}; see proxy-url and HTTPS_PROXY")
    if isinstance(error, httpx.ConnectTimeout):
        return UnreachableError(f"{begin}: no answer within {_CONNECT:.0f} s; is the address right?")
    if isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol):
        return UnreachableError(f"{begin}: {_cause(error)}; is the cluster running, and is this its address?")
    if isinstance(error, httpx.TimeoutException):
        return LostError(f"the API server at {server} fell silent")
    return LostError(f"the connection to the API server at {server} broke: {text}")
