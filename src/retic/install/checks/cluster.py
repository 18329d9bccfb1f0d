"""The cluster that is checked: answers of its API server, each asked for once."""

import asyncio
import datetime
from typing import Any

import msgspec

from retic.install import names, record, values
from retic.sources.api import Api, ApiError

Object = dict[str, Any]


class Cluster:
    """What probes look at. `now` is this machine's clock."""

    def __init__(self, api: Api, now: datetime.datetime) -> None:
        self.api = api
        self.now = now
        self._answers: dict[tuple[str, ...], asyncio.Task[Object | None]] = {}

    async def get(self, path: str, **selectors: str) -> Object | None:
        """An object or a list, None when there is none. ApiError for every other refusal."""
        key = (path, *selectors.values())
        if key not in self._answers:
            self._answers[key] = asyncio.ensure_future(self._ask(path, selectors))
        return await self._answers[key]

    async def _ask(self, path: str, selectors: dict[str, str]) -> Object | None:
        try:
            return await self.api.get(path, **selectors)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def items(self, path: str, **selectors: str) -> list[Object]:
        """The objects of a collection; none when the cluster does not have the kind."""
        listed = await self.get(path, **selectors)
        return list((listed or {}).get("items") or ())

    async def own(self, kind: str, name: str) -> Object | None:
        """An object of ours in retic-system; `kind` is a path below the API's root, like `apps/v1/deployments`."""
        group, plural = kind.rsplit("/", 1)
        root = "/api/v1" if group == "v1" else f"/apis/{group}"
        return await self.get(f"{root}/namespaces/{names.NAMESPACE}/{plural}/{name}")

    async def installed(self) -> record.Record | None:
        """The record; for a Helm release, one that says as much as its labels do. InstallError."""
        found = await record.read(self.api)
        if found is None and await record.by_helm(self.api):
            return record.Record(await self._chart_version(), record.State.INSTALLED, {}, ())
        return found

    async def _chart_version(self) -> str:
        """The version in the image's tag, which is what a chart has to say."""
        live = await self.own("apps/v1/deployments", names.CONTROLLER)
        image = str((live or {})["spec"]["template"]["spec"]["containers"][0]["image"])
        return image.rpartition(":")[2] if image.startswith(values.IMAGE.rpartition(":")[0]) else values.VERSION

    async def settings(self) -> Object:
        """What the controller is told, {} without an installation."""
        found = await self.own("v1/configmaps", names.CONFIG)
        text = ((found or {}).get("data") or {}).get(names.CONFIG_KEY)
        try:
            return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
        except msgspec.MsgspecError:
            return {}
