"""The discovery service: AggregatedDiscoveryService over whatever graph it is given."""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import grpc
import grpc.aio
import structlog

from retic import graph, xds
from retic.ads import convergence, event, peer, source, stream
from retic.ads import counters as counting
from retic.xds import delta, request, sotw, state

log = structlog.get_logger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


def _ignore(_: event.Event) -> None:
    pass


class Server:
    """Serves the resources that `resource` answers with, to clients that `identify` knows.

    A client's names are looked up as `resource(scope(type_url, name, client))`, what its wildcards stand
    for as `names(listing(type_url, client))`, which is `names(scope(type_url, "*", client))` unless told
    otherwise. `companions`, keyed like `resource`, gives type URL and name of what is sent, unasked, before
    a resource. `on_event` is called on the event loop and must neither block nor raise. `limit` bounds the
    names that one stream may ask for; more end it with RESOURCE_EXHAUSTED.
    """

    def __init__(
        self,
        graph: graph.Graph,
        resource: graph.Query[Any, xds.Encoded | None],
        names: graph.Query[Any, frozenset[str]],
        scope: source.Scope,
        on_event: Callable[[event.Event], None] = _ignore,
        *,
        companions: graph.Query[Any, source.Companions] | None = None,
        identify: peer.Identify | None = None,
        listing: Callable[[str, xds.Client], Hashable] | None = None,
        limit: int = request.NAMES,
    ) -> None:
        self._source = source.Source(
            store=graph, resource=resource, names=names, scope=scope, companions=companions,
            listing=listing or (lambda type_url, client: scope(type_url, xds.WILDCARD, client)),
        )  # fmt: skip
        self._on_event = on_event
        self._identify = identify or peer.by_certificate()
        self._limit = limit
        self._streams: dict[stream.Stream, None] = {}
        self._news = asyncio.Event()
        self.counters = counting.Counters()
        self.convergence = convergence.Convergence()

    def handlers(self) -> "tuple[grpc.GenericRpcHandler[bytes, bytes]]":
        """For `grpc.aio.server().add_generic_rpc_handlers`. Requests and responses are bytes."""
        return (
            grpc.method_handlers_generic_handler(
                SERVICE,
                {
                    "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
                    "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
                },
            ),
        )

    def converged(self) -> dict[str, stream.Progress]:
        """How far each connected client is, by its id; the streams of one client are added up."""
        found: dict[str, stream.Progress] = {}
        for one in self._connected():
            now = one.progress()
            other = found.get(one.client.id) if one.client else None
            if other is not None:
                now = stream.Progress(
                    sent=other.sent + now.sent,
                    acked=other.acked + now.acked,
                    pending=other.pending + now.pending,
                    refused=other.refused + now.refused,
                )
            if one.client:
                found[one.client.id] = now
        return found

    def streams(self) -> Iterator[stream.Stream]:
        """The streams whose client has named itself, one by one: two of one client are two."""
        return self._connected()

    async def news(self) -> None:
        """Wait until a stream has made progress, has come or has gone."""
        await self._news.wait()

    async def settled(self, seconds: float) -> bool:
        """Wait until every connected client has answered everything that the graph has for it now.

        False when that takes longer than `seconds`. A rejected resource counts as answered: `converged`
        reports it. Of what a client will ask for next, nothing is known.
        """
        try:
            async with asyncio.timeout(seconds):
                while not all(one.idle for one in self._connected()):
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _connected(self) -> Iterator[stream.Stream]:
        return (one for one in self._streams if one.client is not None)

    def _moved(self, one: stream.Stream) -> None:
        self.convergence.tell(one, idle=one.idle)
        self._tick()

    def _tick(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _delta(self, _: object, call: stream.Call) -> None:
        await self._serve(call, delta.Delta(names=self._limit))

    async def _sotw(self, _: object, call: stream.Call) -> None:
        await self._serve(call, sotw.Sotw(names=self._limit))

    async def _serve(self, call: stream.Call, protocol: state.Server) -> None:
        self.counters.streams += 1
        self.counters.open += 1
        try:
            await self._run(call, protocol)
        except peer.UnidentifiedError as error:
            await self._refuse(call, grpc.StatusCode.UNAUTHENTICATED, str(error))
        except stream.RefuseError as error:
            await self._refuse(call, error.code, str(error))
        except Exception:
            log.exception("a discovery stream failed")
            await self._refuse(call, grpc.StatusCode.INTERNAL, "the discovery service failed")
        finally:
            self.counters.open -= 1
            self._tick()

    async def _run(self, call: stream.Call, protocol: state.Server) -> None:
        one = stream.Stream(
            call, self._identify(call), origin=self._source, protocol=protocol,
            counters=self.counters, on_event=self._on_event, news=lambda: self._moved(one),
        )  # fmt: skip
        self._streams[one] = None
        try:
            await one.run()
        finally:
            del self._streams[one]
            self.convergence.tell(one, idle=True)

    async def _refuse(self, call: stream.Call, code: grpc.StatusCode, message: str) -> None:
        self.counters.refused += 1
        log.warning("discovery stream refused", code=code.name, message=message)
        await call.abort(code, message)
