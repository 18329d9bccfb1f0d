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
        # Who was let in before is asked about whatever others do; and waits less, for it has an answer.
        if not good and not self._addresses.take(address):
            return HTTPStatus.SERVICE_UNAVAILABLE
        asked = await self._ask(token, self._known if good else self._unknown, GOOD_SECONDS if good else SECONDS)
        if asked is HTTPStatus.SERVICE_UNAVAILABLE:
            return HTTPStatus.OK if good else asked
        self._kept.pop(name, None)
        self._kept[name] = _Verdict(asked, self._now())
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return asked

    async def _ask(self, token: str, gate: asyncio.Semaphore, seconds: float) -> HTTPStatus:
        try:
            async with asyncio.timeout(seconds), gate:
                channel = self._connect()
                if channel is None:
                    return HTTPStatus.SERVICE_UNAVAILABLE
                try:
                    return await channel.may_read(token)
                finally:
                    await channel.close()
        except (TimeoutError, grpc.aio.AioRpcError, msgspec.DecodeError):
            return HTTPStatus.SERVICE_UNAVAILABLE
