"""A command's work at the API server of a cluster: connect, run, and turn every way it can fail into a message."""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from retic.cli import failure

if TYPE_CHECKING:
    from retic.sources.api import Api

Answer = TypeVar("Answer")


class Target(msgspec.Struct, frozen=True):
    """Which cluster, as kubectl's options of these names say."""

    kubeconfig: pathlib.Path | None = None
    context: str | None = None


def run(target: Target, work: "Callable[[Api], Awaitable[Answer]]") -> Answer:
    """What `work` returns. Raises Failure."""
    from retic.install import faults, given
    from retic.sources import api

    async def connected() -> Answer:
        async with await api.connect(target.kubeconfig, target.context) as cluster:
            return await work(cluster)

    try:
        return asyncio.run(connected())
    except given.ValuesError as error:
        raise failure.Failure(str(error), code=2) from error
    except (faults.InstallError, api.Error) as error:
        raise failure.Failure(str(error)) from error


def say(text: str) -> None:
    """A step that was done, at once."""
    print(text, flush=True)
