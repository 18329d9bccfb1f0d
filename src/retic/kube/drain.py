"""Whether every pod is to leave the mesh: the key `drain` of the ConfigMap that the installation made."""

import asyncio
from collections.abc import Callable

import structlog

from retic.kube import watching
from retic.sources import api

CONFIG_MAP, KEY = "retic-config", "drain"
AGAIN = 5.0  # seconds until the ConfigMap is read again when it could not be
_log = structlog.get_logger("retic.kube")

Told = Callable[[bool], None]


async def follow(cluster: api.Api, namespace: str, told: Told) -> None:
    """Call `told` with the answer, now and at each change of the object, until cancelled.

    Where the ConfigMap is not there, or cannot be read, nothing changes: an outage takes no pod out.
    """
    collection, news = f"/api/v1/namespaces/{namespace}/configmaps", asyncio.Event()
    watch = asyncio.create_task(watching.follow(cluster, collection, CONFIG_MAP, news.set))
    news.set()
    try:
        while True:
            await news.wait()
            news.clear()
            try:
                found = await cluster.get(f"{collection}/{CONFIG_MAP}")
                told((found.get("data") or {}).get(KEY) == "true")
            except api.ApiError as error:
                if error.status != 404:
                    _log.warning("whether to drain cannot be read", reason=str(error))
            except api.Error as error:
                _log.info("whether to drain cannot be read", reason=str(error))
                await asyncio.sleep(AGAIN)
                news.set()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
