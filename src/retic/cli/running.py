"""Finding the running mesh of a name, and asking it; every way that can fail as a line for the user."""

import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from retic.cli import failure
from retic.control import client, model

T = TypeVar("T")
_RESTART = 10.0  # seconds in which a control plane that died is back

CONTROL = "control.sock"
CLUSTER = "cluster.sock"


def may_run() -> bool:
    """Whether a mesh can run on this machine."""
    return sys.platform == "linux"


def need_linux() -> None:
    """Raises Failure elsewhere: pods are made of Linux namespaces."""
    if not may_run():
        raise failure.Failure(
            "local mode needs Linux, since pods are made of its namespaces; here, run it in a Linux virtual "
            "machine or container (retic analyze works on every system)"
        )


def folder(name: str) -> pathlib.Path:
    """The state folder of the running mesh `name`. Raises Failure when none of that name runs."""
    need_linux()
    from retic.local import state

    try:
        path = state.folder(name)
        found = state.running(path)
        others = [other for other in state.meshes() if other != name and _runs(other)]
    except state.StateError as error:
        raise failure.Failure(str(error)) from error
    if found is None or not found.cluster_alive():
        also = "" if name == "retic" else f" --name {name}"
        hint = f"; running: {', '.join(others)} (choose with --name)" if others else ""
        raise failure.Failure(f"no mesh named {name} runs: start one with: retic up -f PATH{also}{hint}")
    return path


def found(name: str) -> pathlib.Path | None:
    """The state folder of the running mesh `name`; None when none of that name runs, or on another system."""
    if not may_run():
        return None
    from retic.local import state

    try:
        return state.folder(name) if _runs(name) else None
    except state.StateError:
        return None


def names() -> list[str]:
    """The meshes that run on this machine."""
    if not may_run():
        return []
    from retic.local import state

    try:
        return [name for name in state.meshes() if _runs(name)]
    except state.StateError:
        return []


def _runs(name: str) -> bool:
    from retic.local import state

    found = state.running(state.folder(name))
    return found is not None and found.cluster_alive()


def ask(path: pathlib.Path, request: model.Request, *, seconds: float = 30.0) -> Any:
    """The control plane's answer, waiting while it restarts. Raises Failure."""
    try:
        return patiently(lambda: client.ask(path / CONTROL, request, seconds=seconds))
    except client.Refused as error:
        raise failure.Failure(str(error)) from error
    except client.Away:
        raise failure.Failure(
            f"the mesh runs, but its control plane does not answer: see {path / 'logs' / 'control.log'}"
        ) from None
    except TimeoutError:
        raise failure.Failure(f"the control plane gave no answer within {seconds:g} s") from None


def patiently(ask: Callable[[], T], seconds: float = _RESTART) -> T:
    """Ask again for so long as nobody listens. Raises client.Away when that lasts, and what `ask` raises."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except client.Away:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def cluster(path: pathlib.Path, request: dict[str, Any], *, seconds: float = 30.0) -> dict[str, Any]:
    """One answer of the mesh's first process. Raises Failure."""
    try:
        return patiently(lambda: _one(path / CLUSTER, request, seconds))
    except client.Away:
        log = path / "logs" / "cluster.log"
        raise failure.Failure(f"the mesh's first process does not answer: see {log}") from None
    except TimeoutError:
        raise failure.Failure(f"the mesh's first process gave no answer within {seconds:g} s") from None


def _one(path: pathlib.Path, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    for line in client.lines(path, request, seconds=seconds):
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer
    raise client.Away(str(path))


def objects(path: pathlib.Path, *, seconds: float = 30.0) -> list[dict[str, Any]]:
    """All objects of the mesh as Kubernetes JSON. Raises Failure."""

    def snapshot() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for line in client.lines(path / CLUSTER, {"watch": True}, seconds=seconds):
            event = msgspec.json.decode(line)
            if event["type"] == "SYNCED":
                return found
            if event["type"] == "ADDED":
                found.append(event["object"])
        raise client.Away(str(path))

    try:
        return patiently(snapshot)
    except (client.Away, TimeoutError):
        raise failure.Failure(f"the mesh does not list its objects: see {path / 'logs'}") from None
