"""`retic uninstall`: take everything off the cluster again; pods run on in plaintext."""

from typing import TYPE_CHECKING

from retic.cli import cluster

if TYPE_CHECKING:
    from retic.sources.api import Api


def run(target: cluster.Target, *, timeout: float, drain: float, force: bool) -> None:
    """Remove it; that nothing is installed is no failure, and is said. Raises Failure."""
    from retic.install import uninstall

    async def work(api: "Api") -> None:
        options = uninstall.Options(timeout=timeout, drain=drain, force=force)
        if not await uninstall.run(api, options, cluster.say):
            cluster.say("Retic is not installed on this cluster: nothing to do")
            return
        left = await uninstall.enrolled(api)
        if left:
            cluster.say(
                f"the label retic.dev/mesh=enabled is still on: {', '.join(left)}; it means nothing now, and enrols "
                "them again at the next installation"
            )

    cluster.run(target, work)
