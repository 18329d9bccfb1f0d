"""`retic exec`: a command inside a pod, on the caller's own terminal."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import msgspec

from retic.cli import failure, running, target

_TERMINAL = ("TERM", "COLORTERM", "LANG", "COLUMNS", "LINES")


class Where(msgspec.Struct, frozen=True):
    """POD or deploy/NAME in a namespace, and the container whose variables the command gets."""

    target: str
    namespace: str
    container: str | None


def run(where: Where, argv: Sequence[str], *, stdin: bool, name: str) -> int:
    """Run it and return its exit code. Raises Failure when there is no such pod or container.

    Without `stdin` the command reads an empty one; the terminal it inherits either way.
    """
    path = running.folder(name)
    pod = target.pod(running.objects(path), where.target, where.namespace)
    chosen = target.container(pod, where.container, needed=False)
    detail = _detail(running.cluster(path, {"get": "status"}), pod)
    from retic.local.sandbox import enter

    runs: dict[str, Any] = next((one for one in detail["containers"] if one["name"] == chosen), {})
    env = _environment(runs.get("pid"))
    if not stdin:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        return enter.enter(detail["holder_pid"], argv, env=env, cwd=None)
    except ProcessLookupError:
        ended = pod["metadata"]["name"]
        raise failure.Failure(f"pod {where.namespace}/{ended} has just ended: try again") from None
    except PermissionError as error:
        raise failure.Failure(f"this mesh belongs to another user: {error.strerror}") from error


def _detail(status: dict[str, Any], pod: target.Object) -> dict[str, Any]:
    meta = pod["metadata"]
    for one in status["pods"]:
        if one["namespace"] == meta["namespace"] and one["name"] == meta["name"] and one.get("holder_pid"):
            found: dict[str, Any] = one
            return found
    phase = pod.get("status", {}).get("phase", "Pending")
    where = f"{meta['namespace']}/{meta['name']}"
    raise failure.Failure(f"pod {where} does not run (it is {phase}): see retic ps")


def _environment(pid: int | None) -> dict[str, str] | None:
    """The running container's own variables and those of this terminal; None when it does not run."""
    if not pid:
        return None
    try:
        raw = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    pairs = (os.fsdecode(pair).partition("=") for pair in raw.split(b"\0") if b"=" in pair)
    terminal = {key: os.environ[key] for key in _TERMINAL if key in os.environ}
    return {**{name: value for name, _, value in pairs}, **terminal} if raw else None
