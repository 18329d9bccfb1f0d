"""The agents of a mesh on a cluster, each asked by a command in its container: whoever may `pods/exec` there may ask.

One command for each agent, which answers all questions (node/asked.py); a `follow` has one of its own. What cannot be
asked is said once for each reason, and keeps nobody from hearing the others.
"""

import asyncio
import base64
import binascii
import contextlib
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from retic.answers import proxies
from retic.control import model
from retic.sources import api as servers
from retic.sources.api import Api, ApiError, UnreachableError, conversing, executing

BEAT = 5.0
"""Seconds between two signs of life; a command that misses four of them ends."""
_SECONDS = 15.0  # for an answer, or the first line of those that follow
_AT_ONCE = 8  # commands that are begun
_MOST = 256 << 20  # bytes of an Envoy's numbers
_FORBIDDEN = 403
Answer = TypeVar("Answer")


class AwayError(OSError):
    """It does not answer; the text is for the user."""


class Containers:
    """`gateways` names the proxies of Gateways that there are (gateway/NS/NAME); `say` is told which proxy cannot be
    asked, by its name, and why. `aclose` it, which ends the commands. What stands for an agent is its proxy's name."""

    pause = 1.0

    def __init__(
        self, api: Api, gateways: Callable[[], Iterable[str]], say: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._api = api
        self._gateways = gateways
        self._say = say
        self._said: set[tuple[str, str]] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._known: dict[str, proxies.Found] = {}
        self._listed: float | None = None
        self._spoken: dict[str, _Spoken] = {}
        self._begun: dict[str, asyncio.Lock] = {}
        self.answered = False
        """Whether any has."""

    async def names(self) -> Mapping[str, str]:
        """Those that run now, looked at once a second at most."""
        now = time.monotonic()
        if self._listed is None or now - self._listed >= self.pause:
            self._listed = now
            self._known, failed = await proxies.every(self._api, self._gateways())
            for name, reason in failed.items():
                self._fail(name, reason)
        return {name: name for name in self._known}

    async def ask(self, agent: str, question: Mapping[str, Any]) -> bytes:
        """The line that it answers. AwayError."""

        try:
            async with self._begun.setdefault(agent, asyncio.Lock()):
                if agent not in self._spoken:
                    self._spoken[agent] = await self._begin(agent)
            return await self._heard(agent, self._spoken[agent].ask(question))
        except AwayError:
            # What it may answer yet is no answer to the next question.
            if spoken := self._spoken.pop(agent, None):
                await spoken.aclose()
            raise

    async def follow(self, agent: str, question: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """Its lines, until it leaves. AwayError."""
        await self.names()  # its pod may be another one by now
        spoken = await self._begin(agent)
        try:
            line = await self._heard(agent, spoken.ask(question))
            while line:
                yield line
                line = await self._heard(agent, spoken.line(), seconds=None)
        finally:
            await spoken.aclose()

    async def numbers(self) -> list[model.Numbers]:
        """What Envoys have counted, of those that answer."""
        names = await self.names()
        found = await asyncio.gather(*map(self._numbers, names))
        return [model.Numbers(names[name], text) for name, text in zip(names, found, strict=True) if text]

    async def aclose(self) -> None:
        """End all commands."""
        await asyncio.gather(*(each.aclose() for each in self._spoken.values()))
        self._spoken.clear()

    async def _numbers(self, agent: str) -> str:
        try:
            return _unpacked(await self.ask(agent, {"numbers": True}))
        except AwayError:
            return ""
        except ValueError:
            self._fail(agent, "what it answered cannot be read")
            return ""

    async def _begin(self, agent: str) -> "_Spoken":
        found = self._known.get(agent)
        if found is None:
            raise AwayError(f"{agent} has gone")
        command = ("python", "-m", "retic.node.asked", found.folder)
        async with self._gate:
            return _Spoken(await self._heard(agent, self._converse(found.place, command)))

    async def _converse(self, place: executing.Place, command: tuple[str, ...]) -> conversing.Conversation:
        try:
            return await self._api.converse(place, command)
        except ApiError as error:
            if error.status != _FORBIDDEN:
                raise
            raise UnreachableError(f"you may not run commands there: {proxies.needed(place)}") from None

    async def _heard(self, agent: str, work: Awaitable[Answer], *, seconds: float | None = _SECONDS) -> Answer:
        """What the work returns. AwayError when it does not come, and the reason is said."""
        try:
            async with asyncio.timeout(seconds):
                answer = await work
        except TimeoutError:
            reason = f"it did not answer within {seconds:g} s"
        except servers.Error as error:
            reason = _reason(error)
        else:
            if not isinstance(answer, bytes):
                return answer
            if not answer.startswith(b'{"error"'):
                self.answered = True
                return answer
            reason = _error(answer)
        if reason:
            self._fail(agent, reason)
        raise AwayError(reason)

    def _fail(self, name: str, reason: str) -> None:
        if (name, reason) not in self._said:
            self._said.add((name, reason))
            self._say(name, reason)


class _Spoken:
    """A conversation, kept alive."""

    def __init__(self, with_it: conversing.Conversation) -> None:
        self._with_it = with_it
        self._one = asyncio.Lock()
        self._beating = asyncio.create_task(self._beat(), name="beat")

    async def ask(self, question: Mapping[str, Any]) -> bytes:
        """The first line of its answer."""
        async with self._one:
            await self._with_it.send(msgspec.json.encode(question) + b"\n")
            return await self._with_it.line()

    async def line(self) -> bytes:
        """The next one."""
        return await self._with_it.line()

    async def aclose(self) -> None:
        """End it."""
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        await self._with_it.aclose()

    async def _beat(self) -> None:
        with contextlib.suppress(servers.Error):  # whoever listens hears of it
            while True:
                await asyncio.sleep(BEAT)
                await self._with_it.send(b"\n")


def _reason(error: servers.Error) -> str:
    """For the user; "" when the agent has just left, as one does whose successor is there."""
    if isinstance(error, conversing.EndedError):
        return proxies.ended(error.code, error.said) if error.code else ""
    return str(error)


def _error(line: bytes) -> str:
    try:
        return str(msgspec.json.decode(line, type=dict[str, Any])["error"])
    except msgspec.MsgspecError:
        return "what it answered cannot be read"


class _Numbers(msgspec.Struct, frozen=True):
    numbers: str


def _unpacked(line: bytes) -> str:
    """The page in an answer. ValueError for one that is none."""
    try:
        packed = base64.b64decode(msgspec.json.decode(line, type=_Numbers).numbers, validate=True)
        opened = zlib.decompressobj()
        page = opened.decompress(packed, _MOST)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from error
    if not opened.eof:
        raise ValueError("it is cut off, or too long")
    return page.decode(errors="replace")
