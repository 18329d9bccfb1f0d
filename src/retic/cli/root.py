"""`retic ca rotate` and `retic ca status`: order a rotation of the root, and watch it. No key passes here."""

import asyncio
import pathlib
import time
from collections.abc import Awaitable, Callable

import msgspec

from retic.cli import failure
from retic.kube import ordering
from retic.sources import api

_EVERY = 1.0  # seconds between two looks
Work = Callable[[api.Api], Awaitable[ordering.Status]]


def rotate(kubeconfig: pathlib.Path | None, context: str | None, *, wait: bool, timeout: float) -> None:
    """Order it and, with `wait`, print each step until the new root signs. Raises Failure."""
    present = _run(kubeconfig, context, ordering.rotate)
    print(present, flush=True)
    if not wait:
        return

    async def watch(cluster: api.Api) -> ordering.Status:
        said, end = str(present), time.monotonic() + timeout
        while True:
            now = await ordering.status(cluster)
            if str(now) != said:
                said = str(now)
                print(said, flush=True)
            if not now.ordered and now.phase != "spreading":
                return now
            if time.monotonic() > end:
                raise failure.Failure(f"after {timeout:g} s not done, and going on: {said}")
            await asyncio.sleep(_EVERY)

    _run(kubeconfig, context, watch)


def status(kubeconfig: pathlib.Path | None, context: str | None, *, as_json: bool) -> None:
    """Print it. Raises Failure."""
    found = _run(kubeconfig, context, ordering.status)
    print(msgspec.json.encode(found).decode() if as_json else found)


def _run(kubeconfig: pathlib.Path | None, context: str | None, work: Work) -> ordering.Status:
    async def connected() -> ordering.Status:
        async with await api.connect(kubeconfig, context) as cluster:
            return await work(cluster)

    try:
        return asyncio.run(connected())
    except (ordering.CannotRotateError, api.Error) as error:
        raise failure.Failure(str(error)) from error
