"""What the leader reads and keeps beside statuses: the version of the Gateway API's CRDs, the webhook's caBundle."""

import base64
from collections.abc import Callable
from typing import Any

import structlog

from retic.identity import clock
from retic.kube import leading, status_class
from retic.sources import api

log = structlog.get_logger(__name__)

_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gatewayclasses.gateway.networking.k8s.io"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
EVERY, SOON = 60.0, 2.0
"""Seconds between two looks, and after one that failed."""


class Bundle:
    """`version` is None while it has not been read. `news` is called when it is another one."""

    def __init__(
        self, client: leading.Client, webhook: str, roots: Callable[[], bytes], time: clock.Clock,
        news: Callable[[], None],
    ) -> None:  # fmt: skip
        self._api, self._webhook, self._roots, self._time, self._news = client, webhook, roots, time, news
        self.version: str | None = None

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            wait = EVERY
            for look in (self.read, self.patch):
                try:
                    if not await look():
                        wait = SOON
                except (api.Error, OSError) as error:
                    log.info("not looked at", what=look.__name__, reason=str(error))
                    wait = SOON
            await self._time.sleep(wait)

    async def read(self) -> bool:
        """Read the version that stands on the CRD of GatewayClass; without the CRD there is none, and True."""
        try:
            found = await self._api.get(_CRD)
        except api.ApiError as error:
            if error.status != 404:
                raise
            return True
        version = str((found["metadata"].get("annotations") or {}).get(status_class.BUNDLE, ""))
        if version != self.version:
            self.version = version
            self._news()
        return True

    async def patch(self) -> bool:
        """Have the API server trust the mesh's authority for our webhook. False where it is not there (yet)."""
        if not self._webhook:
            return True
        path = f"{_WEBHOOKS}/{self._webhook}"
        try:
            found = await self._api.get(path)
        except api.ApiError as error:
            if error.status != 404:
                raise
            return False
        wanted = base64.b64encode(self._roots()).decode()
        steps: list[dict[str, Any]] = [{
            "op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"],
        }]  # fmt: skip
        for i, each in enumerate(found.get("webhooks") or ()):
            if each["clientConfig"].get("caBundle") != wanted:
                steps.append({"op": "add", "path": f"/webhooks/{i}/clientConfig/caBundle", "value": wanted})
        if len(steps) > 1:
            await self._api.patch(path, steps, kind="json")
            log.info("the webhook's caBundle is written", webhook=self._webhook)
        return True
