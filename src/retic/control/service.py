"""Answers requests: about the mesh by queries that the wiring gives, about Envoys by their admin sockets."""

import pathlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from retic import findings as report
from retic.control import admin, model
from retic.explain import why
from retic.explain.request import answer as explained
from retic.explain.response import told


class Refused(Exception):  # noqa: N818
    """The request cannot be answered; the text is for the user."""


class Queries(Protocol):
    """What the service asks the mesh. All may be called at any time, also before the first object is in."""

    async def ps(self) -> model.Ps:
        """Pods, services, gateways with host addresses, processes, findings."""
        ...

    async def policies(self) -> Sequence[model.Policy]:
        """By namespace and name, with what the Envoys have counted."""
        ...

    async def version(self) -> model.Version:
        """What runs."""
        ...

    async def findings(self) -> Sequence[report.Finding]:
        """As they are now."""
        ...

    def follow(self) -> AsyncGenerator[Sequence[report.Finding], None]:
        """The findings now, then after each change."""
        ...

    async def why(self, resource: str) -> why.Why:
        """Raises why.Unknown for a name that is none of a resource."""
        ...

    async def request(self, asked: explained.Asked) -> explained.Answer:
        """Raises explain.request.answer.Unclear for a question that names nothing."""
        ...

    async def response(self, wanted: str) -> told.Told:
        """Raises Refused when no agent has it."""
        ...

    async def failed(self, asked: model.AskFailed) -> told.Listed:
        """Raises explain.request.answer.Unclear for a caller who is not there."""
        ...

    async def root(self) -> model.Root:
        """Raises Refused when there is none yet."""
        ...

    async def rotate(self) -> model.Root:
        """Raises Refused when the root is the user's own."""
        ...

    async def accepted(self, change: model.Accepted | None) -> model.Accepted:
        """Raises Refused, and changes nothing, when the change cannot be made."""
        ...

    async def numbers(self, namespace: str) -> Sequence[model.Numbers]:
        """Of all Envoys that answer. Raises Refused for a namespace that there is not."""
        ...

    def tap(self, asked: model.AskTap) -> AsyncGenerator[model.Tapped, None]:
        """Requests as they end. Raises Refused when nobody is there to look at."""
        ...

    async def converged(self, seconds: float) -> model.Converged:
        """Return as soon as it is so, else after `seconds` with the reasons."""
        ...


class Service:
    """One mesh's answers. `folder` is the state folder, where Envoys' admin sockets are."""

    def __init__(self, queries: Queries, folder: pathlib.Path) -> None:
        self._queries = queries
        self._folder = folder

    async def answer(self, request: model.Request) -> Any:
        """The answer as a value that JSON can carry. Raises Refused."""
        match request:
            case model.AskPs():
                return await self._queries.ps()
            case model.AskPolicies() | model.AskNumbers():
                return await self._counted(request)
            case model.AskVersion():
                return await self._queries.version()
            case model.AskFindings():
                return tuple(await self._queries.findings())
            case model.AskConverged(seconds=seconds):
                return await self._queries.converged(seconds)
            case model.AskWhy(resource=resource):
                try:
                    return await self._queries.why(resource)
                except why.Unknown as error:
                    raise Refused(str(error)) from error
            case model.AskExplain() | model.AskResponse() | model.AskFailed():
                return await self._explain(request)
            case model.AskProxy(proxy=proxy, section=section):
                return await self._proxy(proxy, section)
            case model.AskFollow() | model.AskTap():
                raise Refused("a stream is no single answer")
            case model.AskRoot() | model.AskRotate() | model.AskAccepted():
                return await self._trust(request)

    async def _explain(self, request: model.AskExplain | model.AskResponse | model.AskFailed) -> Any:
        try:
            match request:
                case model.AskExplain(asked=asked):
                    return await self._queries.request(asked)
                case model.AskResponse(id=wanted):
                    return await self._queries.response(wanted)
                case model.AskFailed():
                    return await self._queries.failed(request)
        except explained.Unclear as error:
            raise Refused(str(error)) from error

    async def _counted(self, request: model.AskPolicies | model.AskNumbers) -> Any:
        if isinstance(request, model.AskPolicies):
            return tuple(await self._queries.policies())
        return tuple(await self._queries.numbers(request.namespace))

    async def _trust(self, request: model.AskRoot | model.AskRotate | model.AskAccepted) -> Any:
        match request:
            case model.AskRoot():
                return await self._queries.root()
            case model.AskRotate():
                return await self._queries.rotate()
            case model.AskAccepted(change=change):
                return await self._queries.accepted(change)

    def stream(self, request: model.AskFollow | model.AskTap) -> AsyncGenerator[object, None]:
        """The answers of a streaming request. May raise Refused."""
        return self._queries.tap(request) if isinstance(request, model.AskTap) else self._queries.follow()

    async def _proxy(self, proxy: str, section: str) -> Any:
        if section and section not in model.SECTIONS:
            raise Refused(f"no section {section}: choose one of {', '.join(model.SECTIONS)}")
        known = admin.proxies(self._folder)
        agent = next((agent for agent, name in known.items() if name == proxy), None)
        if agent is None:
            names = ", ".join(known.values()) or "none yet"
            raise Refused(f"no proxy {proxy}: there are {names}")
        try:
            return await admin.read(self._folder / "agents" / agent / "admin.sock", section)
        except OSError as error:
            reason = error.strerror or error
            raise Refused(
                f"the Envoy of {proxy} does not answer ({reason}): retic ps shows its process"
            ) from error
