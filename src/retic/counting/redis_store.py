"""Counting in Redis: for several control planes, and across their restarts.

One script counts in all windows of a request or in none. A key of Redis is a digest: no name of a policy and nothing
that a client wrote is in it; it ends with its window. All keys have one hash tag, so that a Redis Cluster keeps them on
one node, as the script needs.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio as client
from redis import credentials, exceptions

from retic.counting import place, store

SECONDS = 0.08
"""How long an answer of Redis is waited for: less than a proxy waits for ours."""
PAUSE_SECONDS = 0.5
"""After a failure nobody waits for Redis for that long: each is told at once."""
MOST_CONNECTIONS = 32

_SCRIPT = """
local full, out = {}, {}
local blocked = false
for i, key in ipairs(KEYS) do
  full[i] = tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[3 * i - 2])
  if full[i] and ARGV[3 * i] == '1' then blocked = true end
end
for i, key in ipairs(KEYS) do
  local count
  if blocked then count = tonumber(redis.call('GET', key) or '0') else count = redis.call('INCR', key) end
  local left = redis.call('PTTL', key)
  if left < 0 then
    left = tonumber(ARGV[3 * i - 1])
    redis.call('PEXPIRE', key, left)
  end
  out[#out + 1] = full[i] and 1 or 0
  out[#out + 1] = count
  out[#out + 1] = left
end
return out
"""


class Redis:
    """Fulfils `store.Store`. `where` says where Redis is and who we are; `owner` tells meshes apart that share one."""

    def __init__(self, where: place.Place, owner: str, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._where = where
        self._prefix = f"retic:{{{owner}}}:"
        self._client = _connect(where)
        self._script = self._client.register_script(_SCRIPT)
        self._again_at = now()
        self._failed = ""

    def __repr__(self) -> str:
        return f"<Redis at {self._where}>"

    async def take(self, wants: Sequence[store.Want]) -> list[store.Taken]:
        """See `store.Store`."""
        args = [str(each) for want in wants for each in (want.requests, want.seconds * 1000, int(want.enforced))]
        said = await self._run(lambda: self._script(keys=[self._key(want) for want in wants], args=args))
        return [
            store.Taken(not said[3 * i], max(0, want.requests - said[3 * i + 1]), said[3 * i + 2] / 1000)
            for i, want in enumerate(wants)
        ]

    async def look(self) -> None:
        """See `store.Store`."""
        await self._run(self._client.ping)

    async def _run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        if self._now() < self._again_at:
            raise store.StoreError(self._failed)
        try:
            async with asyncio.timeout(SECONDS):
                return await work()
        except (exceptions.RedisError, OSError, TimeoutError, place.PlaceError) as error:
            self._failed = f"{self._where}: {_reason(error)}"
            self._again_at = self._now() + PAUSE_SECONDS
            raise store.StoreError(self._failed) from None

    async def close(self) -> None:
        """End its connections."""
        await self._client.aclose()

    def _key(self, want: store.Want) -> str:
        said = "\0".join((want.limit, str(want.seconds), want.key))
        return self._prefix + hashlib.sha256(said.encode()).hexdigest()


class _File(credentials.CredentialProvider):
    def __init__(self, where: place.Place) -> None:
        self._where = where

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        user, password = place.user_and_password(self._where)
        return (user, password) if user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def _connect(where: place.Place) -> Any:
    """Its connections share one pool; who finds none free waits no longer than for an answer."""
    pool = client.BlockingConnectionPool.from_url(
        where.url,
        credential_provider=_File(where) if where.credentials else None,
        max_connections=MOST_CONNECTIONS,
        timeout=SECONDS,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        **({"ssl_ca_certs": where.roots} if where.roots else {}),
    )
    return client.Redis.from_pool(pool)


_DENIED = (exceptions.AuthenticationError, exceptions.NoPermissionError)


def _reason(error: BaseException) -> str:
    """What happened, and nothing of what we sent."""
    # While it connects, the client calls everything a lost connection, and keeps what it was as the cause.
    if any(isinstance(each, _DENIED) for each in (error, error.__cause__, error.__context__)):
        return "it refuses our user or password, or lets them do too little"
    if isinstance(error, place.PlaceError):
        return str(error)
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return f"no answer within {SECONDS * 1000:.0f} ms"
    if isinstance(error, exceptions.ResponseError):
        return f"it answers with an error: {str(error)[:200]}"
    return "no connection"
