"""Envoy's rate-limit protocol, served (envoy.service.ratelimit.v3.RateLimitService).

Only proxies may ask, which is told by their agents' certificates, and each only about limits of what passes it: whoever
else could ask would use up what others have. A descriptor says which limit it is for, and then whose window; one for a
limit that is not there any more, or is none of the proxy's, is in it and counts nothing.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence

import grpc
import grpc.aio
import msgspec
import structlog
from envoy.config.core.v3 import base_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf import message

from retic.counting import store
from retic.mesh import limit

NAME = "envoy.service.ratelimit.v3.RateLimitService"
METHOD = "ShouldRateLimit"
MOST_DESCRIPTORS = 1024
"""Of one question."""
LOOK_SECONDS = 1.0
"""How often the store is looked at while nothing can be counted."""

log = structlog.get_logger("retic.control")

Known = Callable[[str, str], limit.Limit | None]
"""From a proxy's id and a name (`limit.Limit.name`) to the limit as it is now, if it is one of this proxy's."""
Identify = Callable[["grpc.aio.ServicerContext[bytes, bytes]"], str]
"""The id of the proxy that asks. PermissionError for who is none."""
_Response = rls_pb2.RateLimitResponse
_UNITS = {1: _Response.RateLimit.SECOND, 60: _Response.RateLimit.MINUTE, 3600: _Response.RateLimit.HOUR}


class Counts(msgspec.Struct):
    """What has been asked since the start: questions, requests refused, those that a dry run would have refused, and
    questions that could not be answered, which let requests pass unless their limit says failClosed."""

    asked: int = 0
    refused: int = 0
    dry: int = 0
    failed: int = 0


class Service:
    """Answers from a store. `failing` hears why nothing can be counted, and "" when it can again."""

    def __init__(
        self, counting: store.Store, known: Known, identify: Identify, failing: Callable[[str], None] = lambda _: None
    ) -> None:
        self._store = counting
        self._known = known
        self._identify = identify
        self._failing = failing
        self._failed = ""
        self._looking: asyncio.Task[None] | None = None
        self._dry: dict[str, int] = {}
        self.counts = Counts()

    async def close(self) -> None:
        """End what the store holds open."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._store.close()

    def handlers(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """To be added to a server that knows its clients by their certificates."""
        method = grpc.unary_unary_rpc_method_handler(self._ask)
        return grpc.method_handlers_generic_handler(NAME, {METHOD: method})

    async def _ask(self, data: bytes, call: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            proxy = self._identify(call)
        except PermissionError as error:
            await call.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
            raise AssertionError("abort returns never") from None
        asked = _read(data)
        if asked is None:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no question of domain {limit.DOMAIN}")
            raise AssertionError("abort returns never")
        self.counts.asked += 1
        try:
            answer = await self.answer(proxy, asked.descriptors)
        except store.StoreError as error:
            self.counts.failed += 1
            self._said(str(error))
            await call.abort(grpc.StatusCode.UNAVAILABLE, "nothing can be counted at the moment")
            raise AssertionError("abort returns never") from None
        self._said("")
        return answer.SerializeToString()

    def _said(self, failed: str) -> None:
        if bool(failed) is not bool(self._failed):
            if failed:
                log.warning("global rate limits cannot be counted", reason=failed)
            else:
                log.info("global rate limits are counted again")
            self._failing(failed)
        self._failed = failed
        if failed and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="counting")

    async def _look(self) -> None:
        """Until it can be counted again: nobody may ask meanwhile, and a fault that is over must not stand."""
        while self._failed:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(store.StoreError):
                await self._store.look()
                self._said("")

    async def answer(
        self, proxy: str, given: Sequence[ratelimit_pb2.RateLimitDescriptor]
    ) -> rls_pb2.RateLimitResponse:
        """What to do with a request that a proxy made these descriptors for. StoreError when it cannot be counted."""
        limits = [self._limit(proxy, each) for each in given]
        wants: dict[tuple[str, str], store.Want] = {}
        keys = [_key(each) for each in given]
        for known, key in zip(limits, keys, strict=True):
            if known is not None:
                wanted = store.Want(known.name, key, known.requests, known.seconds, not known.dry_run)
                wants.setdefault((known.name, key), wanted)
        taken = dict(zip(wants, await self._store.take(list(wants.values())) if wants else (), strict=True))
        found = [
            (known, taken[known.name, key]) if known is not None else None
            for known, key in zip(limits, keys, strict=True)
        ]
        return self._response(found)

    def _limit(self, proxy: str, given: ratelimit_pb2.RateLimitDescriptor) -> limit.Limit | None:
        first = given.entries[0] if given.entries else None
        known = self._known(proxy, first.value) if first is not None and first.key == limit.KEY else None
        return known if known is not None and known.scope is limit.Scope.GLOBAL else None

    def _would_refuse(self, name: str, taken: store.Taken) -> None:
        """Count it, and say so in the log: the first time, the tenth, the hundredth ..."""
        if taken.fits:
            return
        self.counts.dry += 1
        times = self._dry[name] = self._dry.get(name, 0) + 1
        if times == 10 ** (len(str(times)) - 1):
            log.info("a limit in dry run would have refused", limit=name, times=times)

    def _response(self, found: Sequence[tuple[limit.Limit, store.Taken] | None]) -> rls_pb2.RateLimitResponse:
        made = rls_pb2.RateLimitResponse(overall_code=_Response.OK)
        wait = 0
        for each in found:
            status = made.statuses.add(code=_Response.OK)
            if each is None:
                continue
            known, taken = each
            if known.dry_run:
                self._would_refuse(known.name, taken)
                continue
            if not taken.fits:
                status.code = made.overall_code = _Response.OVER_LIMIT
                wait = max(wait, math.ceil(taken.reset))
            status.current_limit.requests_per_unit = known.requests
            status.current_limit.unit = _UNITS[known.seconds]
            status.limit_remaining = taken.remaining
            status.duration_until_reset.seconds = math.ceil(taken.reset)
        if made.overall_code == _Response.OVER_LIMIT:
            self.counts.refused += 1
            made.response_headers_to_add.append(base_pb2.HeaderValue(key="retry-after", value=str(wait)))
        return made


def _read(data: bytes) -> rls_pb2.RateLimitRequest | None:
    try:
        asked = rls_pb2.RateLimitRequest.FromString(data)
    except message.DecodeError:
        return None
    return asked if asked.domain == limit.DOMAIN and len(asked.descriptors) <= MOST_DESCRIPTORS else None


def _key(given: ratelimit_pb2.RateLimitDescriptor) -> str:
    """Whose window it is: all entries but the limit's name, and those that say only that a condition held."""
    said = [f"{each.key}\0{each.value}" for each in given.entries[1:] if each.key != limit.MATCH]
    return "\0\0".join(said)
