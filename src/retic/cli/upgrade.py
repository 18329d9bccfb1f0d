"""`retic upgrade`: the installation at this version, with the values it had and those given now."""

from typing import TYPE_CHECKING

from retic.cli import cluster, failure
from retic.cli import install as installing

if TYPE_CHECKING:
    from retic.sources.api import Api


def run(target: cluster.Target, chosen: installing.Choice) -> None:
    """Print the difference, or apply it. Raises Failure."""
    from retic.install import given, operations

    try:
        overrides = given.collect(chosen.files, chosen.assignments)
    except given.ValuesError as error:
        raise failure.Failure(str(error), code=2) from error

    async def work(api: "Api") -> None:
        options = operations.Options(wait=chosen.wait, force=chosen.force)
        planned = await operations.plan(api, overrides, reset=chosen.reset)
        await operations.warn(api, planned, cluster.say)
        if chosen.dry_run:
            print(await operations.changes(api, planned, options, cluster.say) or "nothing would change")
            return
        await operations.upgrade(api, planned, options, cluster.say)

    cluster.run(target, work)
