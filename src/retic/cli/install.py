"""`retic install`: what would be installed, or the installation."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from retic.cli import cluster, failure

if TYPE_CHECKING:
    from retic.sources.api import Api


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the options say, of `install` and `upgrade` alike. `wait` is in seconds, None for not waiting."""

    files: tuple[pathlib.Path, ...] = ()
    assignments: tuple[str, ...] = ()
    dry_run: bool = False
    wait: float | None = None
    force: bool = False
    reset: bool = False


def choice(
    files: Sequence[pathlib.Path] | None,
    assignments: Sequence[str] | None,
    *,
    dry_run: bool,
    wait: bool,
    timeout: float,
    force: bool,
    reset: bool = False,
) -> Choice:
    """From the options as they came."""
    return Choice(
        files=tuple(files or ()),
        assignments=tuple(assignments or ()),
        dry_run=dry_run,
        wait=timeout if wait else None,
        force=force,
        reset=reset,
    )


def run(target: cluster.Target, chosen: Choice) -> None:
    """Print the objects, or apply them. Raises Failure."""
    from retic.install import given, manifest, operations

    try:
        overrides = given.collect(chosen.files, chosen.assignments)
        values = given.load(overrides)
    except given.ValuesError as error:
        raise failure.Failure(str(error), code=2) from error
    if chosen.dry_run:
        print(manifest.text(manifest.render(values)), end="")
        return

    async def work(api: "Api") -> None:
        options = operations.Options(wait=chosen.wait, force=chosen.force)
        await operations.install(api, overrides, options, cluster.say)

    cluster.run(target, work)
    cluster.say("next: kubectl label namespace NAME retic.dev/mesh=enabled, then retic check")
