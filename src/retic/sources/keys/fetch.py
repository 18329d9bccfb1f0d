"""One document fetched: a name resolved, its addresses checked, and a connection made to one that was checked.

No redirect is followed, no proxy of the environment used, nothing unpacked. What is said of a failure names the host
and never what it answered.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from urllib import parse

import httpx
import msgspec

from retic.sources.keys import addresses

LONGEST = 1 << 18
"""Bytes of a document."""

SHORTEST_SECONDS, USUAL_SECONDS, LONGEST_SECONDS = 5.0, 1200.0, 3600.0
"""How long a document stands before it is fetched anew: what its Cache-Control says, within these bounds."""

_TRIED = 3
_WAIT = 60.0  # beyond any time that a fetch as a whole is given
_HEADERS = {
    "accept": "application/jwk-set+json, application/json", "accept-encoding": "identity", "user-agent": "retic",
}  # fmt: skip
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)
_NO_KEEP = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?:$|[\s,=])", re.IGNORECASE)


class FetchError(Exception):
    """There is no document; the text says why, and is the same for the same reason."""


class Document(msgspec.Struct, frozen=True):
    """What was fetched, and for how many seconds it stands."""

    text: str
    seconds: float = USUAL_SECONDS


Fetch = Callable[[str, float], Awaitable[Document]]
"""The document at a URI, in so many seconds at most; FetchError."""

Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]


class Limits(msgspec.Struct, frozen=True):
    """`closed`: networks that nothing is fetched from, as CIDRs, beside what is always refused."""

    closed: tuple[str, ...] = ()


def over_https(limits: Limits, *, context: ssl.SSLContext | None = None, resolve: Resolve | None = None) -> Fetch:
    """A fetch by HTTPS, and by HTTP for a URI that says so. `context` and `resolve`: instead of the machine's own.

    The authorities are those of the environment (SSL_CERT_FILE, SSL_CERT_DIR), else the usual ones.
    """
    closed = tuple(ipaddress.ip_network(each, strict=False) for each in limits.closed)
    trusted = context or _authorities()

    async def fetch(uri: str, seconds: float) -> Document:
        try:
            async with asyncio.timeout(seconds):
                return await _fetch(uri, closed, trusted, resolve or _resolve)
        except TimeoutError:
            raise FetchError(f"{_host(uri)} gave no whole answer within {seconds:g} s") from None

    return fetch


def _authorities() -> ssl.SSLContext:
    made = httpx.create_ssl_context()
    # Authorities of one's own often lack an Authority Key Identifier, which Python asks for since 3.13.
    made.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    return made


def _host(uri: str) -> str:
    return parse.urlsplit(uri).netloc.rpartition("@")[2]


async def _fetch(
    uri: str, closed: tuple[addresses.Network, ...], trusted: ssl.SSLContext, resolve: Resolve
) -> Document:
    parts, host = parse.urlsplit(uri), _host(uri)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise FetchError(f"{host} has no port that is possible") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise FetchError(f"{host} is not fetched from: its URI is not one of HTTPS or HTTP without a user")
    allowed = await _checked(parts.hostname, port, closed, resolve)
    async with httpx.AsyncClient(verify=trusted, trust_env=False, follow_redirects=False, timeout=_WAIT) as client:
        failure = FetchError(f"{host} cannot be reached")
        for address in allowed[:_TRIED]:
            try:
                return await _get(client, parts, host, f"[{address}]" if ":" in address else address, port)
            except httpx.ConnectError as error:
                failure = FetchError(f"{host} cannot be reached{_detail(error)}")
            except httpx.HTTPError as error:
                failure = FetchError(f"{host} gave no whole answer ({type(error).__name__})")
        raise failure


async def _get(
    client: httpx.AsyncClient, parts: parse.SplitResult, host: str, address: str, port: int
) -> Document:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = client.build_request(
        "GET", f"{parts.scheme}://{address}:{port}{target}", headers={**_HEADERS, "host": host},
        extensions={"sni_hostname": parts.hostname},
    )  # fmt: skip
    response = await client.send(request, stream=True)
    try:
        if response.is_redirect:
            raise FetchError(f"{host} answered {response.status_code}: no redirect is followed")
        if response.status_code != httpx.codes.OK:
            raise FetchError(f"{host} answered {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchError(f"{host} answered with a compressed document")
        body = b""
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > LONGEST:
                raise FetchError(f"{host} answered with more than {LONGEST} bytes")
        return Document(body.decode(), kept(response.headers.get("cache-control", "")))
    except UnicodeDecodeError:
        raise FetchError(f"{host} answered with what is not UTF-8") from None
    finally:
        await response.aclose()


def kept(cache_control: str) -> float:
    """For how many seconds a document with this Cache-Control (RFC 9111, section 5.2) stands."""
    if _NO_KEEP.search(cache_control):
        return SHORTEST_SECONDS
    said = _MAX_AGE.search(cache_control)
    return min(max(float(said[1]), SHORTEST_SECONDS), LONGEST_SECONDS) if said else USUAL_SECONDS


async def _checked(
    name: str, port: int, closed: tuple[addresses.Network, ...], resolve: Resolve
) -> list[str]:
    """The name's addresses that may be connected to, the IPv4 ones first. FetchError when there is none."""
    try:
        found = [ipaddress.ip_address(name)]
    except ValueError:
        found = [ipaddress.ip_address(each.partition("%")[0]) for each in await resolve(name, port)]
    why = {str(each): addresses.refused(each, closed) for each in found}
    allowed = sorted((each for each, reason in why.items() if not reason), key=lambda each: ":" in each)
    if not allowed:
        reasons = sorted(set(why.values())) or ["no address"]
        raise FetchError(f"{name} is not fetched from: it is {' and '.join(reasons)}")
    return allowed


async def _resolve(name: str, port: int) -> tuple[str, ...]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchError(f"{name} has no address that could be found") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _detail(error: Exception) -> str:
    """What went wrong with the connection, as far as TLS or the system says it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f": its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return ": it speaks no TLS that could be understood"
        if isinstance(cause, OSError) and cause.strerror:
            return f": {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return ""
