"""Which path of an API server a kind has: discovery, remembered for as long as it is right."""

import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec


class Resource(msgspec.Struct, frozen=True):
    """A kind as the server has it. `plural` is the name in paths."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The path of an object, or without `name` of the collection; `namespace` None or "": of all namespaces.

        ValueError for an object of a kind with namespaces when none is given.
        """
        parts = [prefix(self.api_version)]
        if self.namespaced and namespace:
            parts += ["namespaces", _quoted(namespace)]
        elif self.namespaced and name:
            raise ValueError(f"{self.kind} {name}: its namespace is missing")
        parts.append(self.plural)
        if name:
            parts.append(_quoted(name))
        return "/".join(parts)


class _Entry(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool


class _List(msgspec.Struct, frozen=True):
    resources: list[_Entry] | None = None


def prefix(api_version: str) -> str:
    """`/api/v1` of `v1`, `/apis/apps/v1` of `apps/v1`."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def group(api_version: str) -> str:
    """`apps` of `apps/v1`, "" of `v1`."""
    return api_version.rpartition("/")[0]


def _quoted(part: str) -> str:
    return urllib.parse.quote(part, safe=":")


Ask = Callable[[str], Awaitable[dict[str, Any] | None]]


class Discovery:
    """`ask` gives the answer to a GET, None for 404. What is found is remembered; what is not is asked again."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[tuple[str, str], Resource] = {}

    async def resource(self, api_version: str, kind: str) -> Resource | None:
        """The kind, None when the server does not have it in this version."""
        key = api_version, kind
        if key not in self._known:
            answer = await self._ask(prefix(api_version))
            for entry in msgspec.convert(answer or {}, _List).resources or ():
                if "/" not in entry.name:  # "pods/status" is of the kind Pod too
                    found = Resource(api_version, entry.kind, entry.name, entry.namespaced)
                    self._known[api_version, entry.kind] = found
        return self._known.get(key)

    def forget(self) -> None:
        """Ask anew: something that was there was not found."""
        self._known.clear()
