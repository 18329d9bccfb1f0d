"""Objects at an API server that is a dictionary: versions and conflicts are as on a real one, nothing else is."""

import copy
from collections.abc import Mapping
from typing import Any

from retic.sources import api


class Objects:
    """By path; shared by several `View`s."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.revision = 0


class View:
    """One client's view; while `is_away` the server cannot be reached from here."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.is_away = False

    async def get(self, path: str) -> dict[str, Any]:
        """As `Api.get`."""
        self._reach()
        if path not in self._objects.kept:
            raise api.ApiError(404, "NotFound", f"{path} not found")
        return copy.deepcopy(self._objects.kept[path])

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `Api.create`."""
        self._reach()
        path = f"{path}/{body['metadata']['name']}"
        if path in self._objects.kept:
            raise api.ApiError(409, "AlreadyExists", f"{path} already exists")
        return self._keep(path, body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `Api.replace`."""
        known = await self.get(path)
        version = body["metadata"].get("resourceVersion")
        if version and version != known["metadata"]["resourceVersion"]:
            raise api.ApiError(409, "Conflict", f"{path} has been modified")
        return self._keep(path, body)

    def _reach(self) -> None:
        if self.is_away:
            raise api.UnreachableError("as told by the test")

    def _keep(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._objects.revision += 1
        kept = copy.deepcopy(dict(body))
        kept["metadata"] = {**kept["metadata"], "resourceVersion": str(self._objects.revision)}
        self._objects.kept[path] = kept
        return copy.deepcopy(kept)
