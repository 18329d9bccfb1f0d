"""`retic exec`: a command inside a pod, on the caller's own terminal."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import msgspec

from retic.cli import failure, running, target

_TERMINAL = ("TERM", "COLORTERM", "COLUMNS", "LINES")


class Where(msgspec.Struct, frozen=True):
    """POD or deploy/NAME in a namespace, and the container whose folder and variables the command gets."""

    target: str
    namespace: str
    container: str | None


def run(where: Where, argv: Sequence[str], *, stdin: bool, name: str) -> int:
    """Run it and return its exit code. Raises Failure when there is no such pod or container, or it does not
    run.

    Without `stdin` the command reads an empty one; the terminal it inherits either way. Folder and variables
    are those that the container was started with.
    """
    path = running.folder(name)
    pod = target.pod(running.objects(path), where.target, where.namespace)
    chosen = target.container(pod, where.container, needed=False)
    found = _inside(path, pod, chosen)
    from retic.local.sandbox import enter

    terminal = {key: os.environ[key] for key in _TERMINAL if key in os.environ}
    if not stdin:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        return enter.enter(found["holder_pid"], argv, env={**found["env"], **terminal}, cwd=found["cwd"])
    except ProcessLookupError:
        ended = pod["metadata"]["name"]
        raise failure.Failure(f"pod {where.namespace}/{ended} has just ended: try again") from None
    except PermissionError as error:
        raise failure.Failure(f"this mesh belongs to another user: {error.strerror}") from error


def _inside(path: pathlib.Path, pod: target.Object, container: str) -> dict[str, Any]:
    meta = pod["metadata"]
    asked = {"get": "inside", "namespace": meta["namespace"], "pod": meta["name"], "container": container}
    found = running.cluster(path, asked)
    if found["why"]:
        where = f"container {container} of pod {meta['namespace']}/{meta['name']}"
        phase = pod.get("status", {}).get("phase", "Pending")
        raise failure.Failure(f"{where} does not run: {found['why']} (the pod is {phase}; see retic ps)")
    return found
