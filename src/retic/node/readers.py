"""Who may read this agent's metrics: the control plane says so, and what it said is kept for a while.

Tokens are kept as hashes. While the control plane is away, whoever was let in goes on to be for some minutes.
"""

import asyncio
import collections
import hashlib
from collections.abc import Callable
from http import HTTPStatus

import grpc
import grpc.aio
import msgspec
import structlog

from retic.identity import buckets, client

FRESH_SECONDS = {HTTPStatus.OK: 60.0}
OTHERWISE_FRESH_SECONDS = 10.0  # a right that has just been given counts soon
STALE_SECONDS = 600.0
"""For so long a token that was good counts on while nobody can be asked."""
MOST_KEPT = 256
AT_ONCE = 4
SECONDS, GOOD_SECONDS = 7.0, 2.0
"""How long an answer is waited for, of a token that was good before less: Prometheus waits ten."""
PER_ADDRESS = buckets.Rate(burst=5, per_second=1)
"""Of questions that an address makes us ask: about a token that was good before it may always."""
AGAIN_SECONDS = 0.25
"""Before asking again where nobody answered: a Service may name a replica that has just ended."""
_log = structlog.get_logger("retic.node")


class _Verdict(msgspec.Struct, frozen=True):
    status: HTTPStatus
    at: float


class Readers:
    """`connect` gives a channel to the control plane with the agent's certificate, None as yet; `now` in seconds."""

    def __init__(self, connect: Callable[[], client.Channel | None], now: Callable[[], float]) -> None:
        self._connect, self._now = connect, now
        self._kept: collections.OrderedDict[bytes, _Verdict] = collections.OrderedDict()
        self._addresses = buckets.Buckets(PER_ADDRESS, now)
        self._known, self._unknown = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        self._said = False

    def __repr__(self) -> str:
        return f"<Readers: {len(self._kept)} known>"

    async def judge(self, token: str, address: str) -> HTTPStatus:
        """As `identity.readers.Told`."""
        name = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._kept.get(name)
        age = self._now() - known.at if known else 0.0
        if known and age < FRESH_SECONDS.get(known.status, OTHERWISE_FRESH_SECONDS):
            return known.status
        good = known is not None and known.status is HTTPStatus.OK and age < STALE_SECONDS
        # Who was let in before is asked about whatever others do.
        if not good and not self._addresses.take(address):
            return HTTPStatus.SERVICE_UNAVAILABLE
        asked = await self._ask(token, good)
        if asked is HTTPStatus.SERVICE_UNAVAILABLE:
            return HTTPStatus.OK if good else asked
        self._kept.pop(name, None)
        self._kept[name] = _Verdict(asked, self._now())
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return asked

    async def _ask(self, token: str, good: bool) -> HTTPStatus:
        """For a `good` one less is done: there is an answer without."""
        gate, seconds = (self._known, GOOD_SECONDS) if good else (self._unknown, SECONDS)
        reason = "the control plane does not answer"
        try:
            async with asyncio.timeout(seconds), gate:
                while (channel := self._connect()) is not None:
                    try:
                        answer = await channel.may_read(token)
                        self._said = False
                        return answer
                    except grpc.aio.AioRpcError as error:
                        reason = f"{error.code().name}: {error.details()}"
                        if good or error.code() is not grpc.StatusCode.UNAVAILABLE:
                            break
                    finally:
                        await channel.close()
                    await asyncio.sleep(AGAIN_SECONDS)
                else:
                    reason = "this agent has no certificate yet"
        except TimeoutError:
            pass
        except msgspec.DecodeError as error:
            reason = str(error)
        if not self._said:
            _log.warning("the control plane could not be asked about a reader of metrics", reason=reason)
        self._said = True
        return HTTPStatus.SERVICE_UNAVAILABLE
