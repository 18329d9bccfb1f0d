"""What the controllers have made, as the API server has it now: listed and watched by a label, kept as it is.

For objects of kinds that the mesh does not read. A watch that ends is begun again; one that was too old, or that
sent what cannot be read, is preceded by a list. Refuses to write.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import structlog

from retic.kube import leading
from retic.sources import api

Json = dict[str, Any]
log = structlog.get_logger(__name__)

FIRST, LONGEST = 0.2, 30.0
"""Seconds between attempts."""
_GONE = 410


class Key(msgspec.Struct, frozen=True, order=True):
    """One object."""

    kind: str
    namespace: str
    name: str


class Owned:
    """Keeps every object of the given collections (kind to path) that `selector` finds.

    `news` is called with the key of what came, changed or went, on the event loop.
    """

    def __init__(
        self, client: leading.Client, collections: Mapping[str, str], selector: str, news: Callable[[Key], None]
    ) -> None:
        self._api = client
        self._collections = collections
        self._selector = selector
        self._news = news
        self._objects: dict[Key, Json] = {}
        self._listed = {kind: asyncio.Event() for kind in collections}

    def get(self, key: Key) -> Json | None:
        """The object, None when there is none."""
        return self._objects.get(key)

    def of(self, namespace: str, label: str, value: str) -> Iterator[tuple[Key, Json]]:
        """The objects of a namespace that have a label."""
        for key, found in list(self._objects.items()):
            if key.namespace == namespace and (found["metadata"].get("labels") or {}).get(label) == value:
                yield key, found

    async def synced(self) -> None:
        """Wait until everything has been listed once."""
        for event in self._listed.values():
            await event.wait()

    def put(self, key: Key, value: Json | None) -> None:
        """Take in what a write has answered, before the watch tells it."""
        if value is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = value

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind, path in self._collections.items():
                group.create_task(self._follow(kind, path))

    async def _follow(self, kind: str, path: str) -> None:
        pause, version = FIRST, ""
        while True:
            try:
                if not version:
                    version = await self._list(kind, path)
                    self._listed[kind].set()
                version = await self._watch(kind, path, version)
                pause = FIRST
                continue
            except api.ApiError as error:
                if error.status == _GONE:
                    version = ""
                    continue
                reason = str(error)
            except (api.Error, OSError, msgspec.DecodeError, KeyError, TypeError) as error:
                version, reason = "", repr(error)
            log.info("watch of made objects is begun again", kind=kind, reason=reason)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(LONGEST, pause * 2)

    async def _list(self, kind: str, path: str) -> str:
        found = await self._api.get(path, labelSelector=self._selector)
        there = {}
        for item in found.get("items") or ():
            there[_key(kind, item)] = item
        for key in [key for key in self._objects if key.kind == kind and key not in there]:
            del self._objects[key]
            self._news(key)
        for key, item in there.items():
            self._take(key, item)
        return str(found["metadata"]["resourceVersion"])

    async def _watch(self, kind: str, path: str, version: str) -> str:
        """Until the server ends it; the version to go on from, "" to list anew."""
        asked: Json = {
            "labelSelector": self._selector, "watch": True, "allowWatchBookmarks": True, "timeoutSeconds": 300,
        }  # fmt: skip
        async with contextlib.AsyncExitStack() as stack:
            lines = await stack.enter_async_context(self._api.lines(path, resourceVersion=version, **asked))
            async for line in lines:
                event = msgspec.json.decode(line, type=dict[str, Any])
                item = event["object"]
                if event["type"] == "ERROR":
                    return ""
                version = str(item["metadata"]["resourceVersion"])
                if event["type"] == "BOOKMARK":
                    continue
                key = _key(kind, item)
                if event["type"] == "DELETED":
                    self._objects.pop(key, None)
                    self._news(key)
                else:
                    self._take(key, item)
        return version

    def _take(self, key: Key, item: Json) -> None:
        before = self._objects.get(key)
        self._objects[key] = item
        if before is None or before["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            self._news(key)


def _key(kind: str, item: Json) -> Key:
    return Key(kind, item["metadata"].get("namespace", ""), item["metadata"]["name"])
