"""One agent of a node follows another: what they say to each other on the incumbent's socket, `agent.sock`.

The successor asks `{"state": true}` for the pods, the identities and the clusters in use, has its Envoy open the
other ports everywhere, and asks `{"give": true}`. From then on the incumbent changes nothing, and whoever brings it
a pod waits. The successor turns the redirection, puts its own sockets in place of the incumbent's, and says
`{"superseded": true}`: who waited is passed on to it. If its connection ends before that, the incumbent takes
everything back. `{"replace": true}` replaces Envoy now. The socket's mode (0600, in a folder of 0700) is its
whole access control.
"""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
import structlog

from retic.node import drain, pods, proxies, sockets

ASK_SECONDS = 60.0  # for an answer; giving waits for pods that are being enrolled
_log = structlog.get_logger("retic.node")
_Pods: TypeAlias = tuple[pods.Pod, ...]


class State(msgspec.Struct, frozen=True):
    """What an agent knows that its successor needs. `leaving`: it was told to end."""

    pods: _Pods = ()
    identities: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    leaving: bool = False


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: bool = False
    give: bool = False
    superseded: bool = False
    replace: bool = False


class LostError(Exception):
    """The other agent did not answer as it should. The message says what happened."""


class Incumbent:
    """The agent in charge. `resume` puts everything back in place after a successor that failed."""

    def __init__(self, known: pods.Pods, its: proxies.Proxies, resume: Callable[[], Awaitable[None]]) -> None:
        self._pods = known
        self._proxies = its
        self._resume = resume
        self._giving = self._holds = False
        self.leaving = False
        self.superseded = asyncio.Event()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        mine = False
        try:
            while line := await reader.readline():
                request = msgspec.json.decode(line, type=_Request)
                mine = mine or (request.give and not self._giving)
                answer = await self._answer(request, mine)
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, msgspec.DecodeError) as error:
            _log.warning("a connection to the agent ended", reason=str(error))
        finally:
            if mine and not self.superseded.is_set():
                _log.error("the next agent has failed; this one goes on")
                await self._take_back()
            writer.close()

    async def _answer(self, request: _Request, mine: bool) -> State | dict[str, object]:
        if self.superseded.is_set():
            return {"error": "this agent has been superseded"}
        if request.state:
            return await self._state()
        if request.give:
            if not mine or self._giving:
                return {"error": "the pods are being handed over to another agent"}
            self._giving = True
            await self._proxies.busy.acquire()
            self._holds = True
            await self._pods.gate.shut()
            return await self._state()
        if request.superseded and mine:
            self.superseded.set()
            self._pods.gate.open(gone=True)
            self._release()
            return {"ok": True}
        if request.replace:
            try:
                await self._proxies.replace("it was asked for")
            except proxies.ReplaceError as error:
                return {"error": str(error)}
            return {"ok": True}
        return {"error": 'write {"state": true}, {"replace": true}, or {"give": true} and then {"superseded": true}'}

    async def _state(self) -> State:
        current = self._proxies.current
        loaded = await drain.used(current.slot.socket("admin"), current.relay.clusters)
        return State(tuple(self._pods.all()), self._pods.extra, tuple(loaded), self.leaving)

    async def _take_back(self) -> None:
        try:
            await self._resume()
        finally:
            self._giving = False
            self._pods.gate.open()
            self._release()

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            self._proxies.busy.release()


class Predecessor:
    """The agent that is in charge, as its successor sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def state(self) -> State:
        """Ask, and change nothing. LostError."""
        return await self._ask("state")

    async def give(self) -> State:
        """Have it hold still from now on. LostError."""
        return await self._ask("give")

    async def superseded(self) -> None:
        """Tell it that we are in charge. LostError when it does not know; it may be gone."""
        await self._ask("superseded")

    def close(self) -> None:
        """Go away; who holds still then, takes everything back."""
        self._writer.close()

    async def _ask(self, what: str) -> State:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._writer.write(msgspec.json.encode({what: True}) + b"\n")
                line = await self._reader.readline()
        except (TimeoutError, OSError, ValueError) as error:
            raise LostError(f"the agent in charge does not answer: {error!r}") from error
        try:
            if not line:
                raise LostError("the agent in charge has gone")
            answer = msgspec.json.decode(line)
            if "error" in answer:
                raise LostError(str(answer["error"]))
            return msgspec.convert(answer, State)
        except msgspec.MsgspecError as error:
            raise LostError(f"the agent in charge answers what cannot be read: {error}") from error


async def find(socket: pathlib.Path) -> Predecessor | None:
    """The agent in charge; None when nobody serves at the path."""
    try:
        return Predecessor(*await asyncio.open_unix_connection(str(socket), limit=sockets.MOST_BYTES))
    except OSError:
        return None
