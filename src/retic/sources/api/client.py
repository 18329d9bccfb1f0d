"""The client of an API server: requests, server-side apply, watches. One object for one server and one user.

Retries what the server asks to retry (429 with Retry-After) and, once, credentials that were refused and
connections that broke before an answer where doing it twice is as good as once. Everything else is the caller's.
"""

import asyncio
import contextlib
import types
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import httpx
import msgspec

from retic.sources.api import connections, credentials, errors, kubeconfig, resources, tls
from retic.sources.api.errors import ApiError, LostError, UnreachableError

if TYPE_CHECKING:
    from retic.sources.api import conversing, executing

Done = TypeVar("Done")

MAX_LINE = 64 * 1024 * 1024
"""The longest line of a watch, in bytes; an object of etcd has about 1.5 MiB at most."""
SILENCE = 120.0
"""Seconds without a byte after which a watch counts as dead; API servers send a bookmark about once a minute."""
_JSON = "application/json"
_PATIENCE, _TRIES = 30.0, 5

_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


async def connect(kubeconfig: Path | None = None, context: str | None = None) -> "Api":
    """The API server of a kubeconfig's context, of KUBECONFIG, of ~/.kube/config, or of the pod that we are in.

    Nothing is sent yet. UnreachableError when no server is named or its credentials are not complete.
    """
    return Api(await asyncio.to_thread(_load, kubeconfig, context))


_load = kubeconfig.load


class Api:
    """Closes its connections at the end of `async with`. Safe to use by many tasks of one event loop."""

    def __init__(self, access: kubeconfig.Access) -> None:
        self._access = access
        self._connections = connections.Connections(access)
        self._source = credentials.source(access)
        self._discovery = resources.Discovery(self._found)

    @property
    def server(self) -> str:
        """The server's URL."""
        return self._access.cluster.server

    @property
    def namespace(self) -> str:
        """The context's namespace, "default" when it names none."""
        return self._access.namespace

    @property
    def origin(self) -> str:
        """Where the credentials come from, such as "context NAME of FILE"."""
        return self._access.origin

    def __repr__(self) -> str:
        return f"Api({self.server!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._connections.close()

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """An object or a list. ApiError when the server refuses, UnreachableError when there is none."""
        return _object(await self.content(path, **params))

    async def content(self, path: str, *, accept: str = _JSON, **params: Any) -> bytes:
        """As `get`, the bytes as they came. `accept`: another form, such as metadata only."""
        return await self._request("GET", path, params, accept=accept, again=True)

    async def date(self) -> str:
        """What the server's clock says: the Date of its answer (RFC 9110), "" when it names none."""
        sent = await self._source.now()
        response = await self._send(_headers(sent, _JSON), sent.pair, "GET", "/version", {}, None, "")
        return str(response.headers.get("Date", ""))

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object in the collection `path`; as it is afterwards. ApiError 409 when it is there already."""
        return _object(await self._request("POST", path, {}, body))

    async def review(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a question that is asked by creating an object which is not kept, such as a TokenReview."""
        return _object(await self._request("POST", path, {}, body, again=True))

    async def apply(
        self, path: str, body: Mapping[str, Any], *, manager: str = "retic", force: bool = True, dry_run: bool = False
    ) -> dict[str, Any]:
        """Server-side apply of the object `path`, which is made when it is not there; as it is afterwards.

        `force`: take fields that another manager has; without it that is ApiError 409.
        """
        params = {"fieldManager": manager, "force": force, "dryRun": "All" if dry_run else None}
        return _object(await self._request("PATCH", path, params, body, "application/apply-patch+yaml", again=True))

    async def patch(
        self, path: str, body: Any, *, kind: Literal["merge", "strategic", "json"] = "merge"
    ) -> dict[str, Any]:
        """A patch of the object `path`; as it is afterwards. `strategic` works on built-in kinds only."""
        return _object(await self._request("PATCH", path, {}, body, _PATCHES[kind], again=kind == "merge"))

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The object `path` as a whole. With metadata.resourceVersion: ApiError 409 when it has changed since."""
        return _object(await self._request("PUT", path, {}, body))

    async def delete(self, path: str, *, propagation: str = "Background") -> None:
        """Delete; one that is not there is fine. `propagation`: Background, Foreground or Orphan."""
        try:
            await self._request("DELETE", path, {"propagationPolicy": propagation}, again=True)
        except ApiError as error:
            if error.status != 404:
                raise

    async def resource(self, api_version: str, kind: str) -> resources.Resource | None:
        """How the server serves a kind; None when it does not."""
        return await self._discovery.resource(api_version, kind)

    @contextlib.asynccontextmanager
    async def lines(self, path: str, *, silence: float = SILENCE, **params: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of a watch or a log, without their ends, until the server ends it.

        A cut last line is LostError, as is silence for that many seconds.
        """
        async with self.pieces(path, silence=silence, **params) as pieces:

            async def each() -> AsyncIterator[bytes]:
                async for piece in pieces:
                    for line in piece:
                        yield line

            yield each()

    @contextlib.asynccontextmanager
    async def pieces(
        self, path: str, *, silence: float = SILENCE, accept: str = _JSON, **params: Any
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """As `lines`, those that arrived together in one list. `accept`: as in `content`."""
        for again in (True, False):
            sent = await self._source.now()
            timeout = httpx.Timeout(silence, connect=10.0)
            async with self._connections.use(sent.pair, watch=True) as http:
                request = http.build_request(
                    "GET", path, params=_query(params), timeout=timeout, extensions=self._extensions(timeout),
                    headers=[*_headers(sent, accept), ("Accept-Encoding", "identity")],
                )  # fmt: skip
                with self._connections.translated():
                    response = await http.send(request, stream=True)
                try:
                    if response.is_success:
                        async with contextlib.aclosing(self._pieces(response)) as found:
                            yield found
                        return
                    with self._connections.translated():
                        error = _refused("GET", path, response, await response.aread())
                finally:
                    with contextlib.suppress(httpx.HTTPError, OSError):
                        await response.aclose()
            if not (again and error.status == 401 and await self._other(sent)):
                raise error

    async def _pieces(self, response: httpx.Response) -> AsyncGenerator[list[bytes], None]:
        parts: list[bytes] = []
        size = 0
        chunks = response.aiter_raw()
        while True:
            with self._connections.translated():
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            *lines, rest = chunk.split(b"\n")
            if lines:
                lines[0] = b"".join((*parts, lines[0]))
                parts, size = [], 0
                yield lines
            if rest:
                parts.append(rest)
                size += len(rest)
            if size > MAX_LINE:
                raise LostError(f"the API server at {self.server} sent a line of more than {MAX_LINE} bytes")
        if parts:
            raise LostError(f"the API server at {self.server} ended its answer within a line")

    async def execute(
        self, place: "executing.Place", command: Sequence[str], *, seconds: float = 60.0
    ) -> "executing.Executed":
        """Run a command in a container, and wait for its end, so many seconds at most. It has no input.

        ApiError when the server refuses (pods/exec), UnreachableError when it cannot be asked.
        """
        from retic.sources.api import executing

        return await self._allowed(
            lambda sent: executing.execute(self._access, sent.headers, sent.pair, place, command, seconds=seconds)
        )

    async def converse(self, place: "executing.Place", command: Sequence[str]) -> "conversing.Conversation":
        """Run a command in a container, to speak with it; whoever does so closes it. Errors as of `execute`."""
        from retic.sources.api import conversing

        return await self._allowed(
            lambda sent: conversing.converse(self._access, sent.headers, sent.pair, place, command)
        )

    async def _allowed(self, once: Callable[[credentials.Credentials], Awaitable[Done]]) -> Done:
        """What `once` returns; it is tried again with other credentials if these are refused and there are others."""
        sent = await self._source.now()
        try:
            return await once(sent)
        except ApiError as error:
            if not (error.status == 401 and await self._other(sent)):
                raise
        return await once(await self._source.now())

    async def _request(
        self, method: str, path: str, params: Mapping[str, Any], body: Any = None,
        content: str = _JSON, *, accept: str = _JSON, again: bool = False,
    ) -> bytes:  # fmt: skip
        """One answer's body. `again`: doing it twice is as good as once, so a broken connection is tried again."""
        renewed = False
        for attempt in range(1, _TRIES + 1):
            sent = await self._source.now()
            try:
                response = await self._send(_headers(sent, accept), sent.pair, method, path, params, body, content)
            except LostError:
                if not again or attempt == _TRIES:
                    raise
                again = False
                continue
            if response.is_success:
                return response.content
            error = _refused(method, path, response, response.content)
            if error.status == 401 and not renewed and await self._other(sent):
                renewed = True
            elif error.status == 429 and error.retry_after is not None and attempt < _TRIES:
                await asyncio.sleep(min(error.retry_after, _PATIENCE))
            else:
                raise error
        raise AssertionError("the last attempt returns or raises")

    async def _send(
        self, headers: credentials.Headers, pair: tls.Pair | None, method: str, path: str, params: Mapping[str, Any],
        body: Any, content: str,
    ) -> httpx.Response:  # fmt: skip
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            headers.append(("Content-Type", content))
        extensions = self._connections.extensions
        async with self._connections.use(pair) as http:
            with self._connections.translated():
                return await http.request(
                    method, path, params=_query(params), content=data, headers=headers, extensions=extensions
                )

    def _extensions(self, timeout: httpx.Timeout) -> dict[str, Any]:
        return {**self._connections.extensions, "timeout": timeout.as_dict()}

    async def _other(self, sent: credentials.Credentials) -> bool:
        """Whether there are other credentials now than those which were refused."""
        self._source.refused(sent)
        return await self._source.now() != sent

    async def _found(self, path: str) -> dict[str, Any] | None:
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise


def _headers(sent: credentials.Credentials, accept: str) -> credentials.Headers:
    return [("Accept", accept), ("User-Agent", "retic"), *sent.headers]


def _query(params: Mapping[str, Any]) -> dict[str, str]:
    """Values as API servers read them; None is left out."""
    shown = {True: "true", False: "false"}
    return {k: shown[v] if isinstance(v, bool) else str(v) for k, v in params.items() if v is not None}


def _refused(method: str, path: str, response: httpx.Response, body: bytes) -> ApiError:
    after = response.headers.get("Retry-After")
    return errors.parse(response.status_code, body, request=f"{method} {path}", retry_after=after)


def _object(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise UnreachableError("the answer is no JSON object: is this the address of an API server?") from None
