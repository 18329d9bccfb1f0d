"""`retic exec`: a command inside a pod, on the caller's own terminal."""

import os
from collections.abc import Sequence
from typing import Any

from retic.cli import failure, running, target


def run(wanted: str, argv: Sequence[str], *, namespace: str, container: str | None, name: str) -> int:
    """Run it and return its exit code. Raises Failure when there is no such pod or container."""
    path = running.folder(name)
    pod = target.pod(running.objects(path), wanted, namespace)
    chosen = target.container(pod, container, needed=False)
    detail = _detail(running.cluster(path, {"get": "status"}), pod)
    from retic.local.sandbox import enter

    settings: dict[str, Any] = next((c for c in detail["containers"] if c["name"] == chosen), {})
    env = settings.get("env")
    try:
        return enter.enter(
            detail["holder_pid"], argv, env=None if env is None else {**_terminal(), **env}, cwd=None
        )
    except ProcessLookupError:
        ended = pod["metadata"]["name"]
        raise failure.Failure(f"pod {namespace}/{ended} has just ended: try again") from None
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


def _terminal() -> dict[str, str]:
    """What a command needs to know of the terminal it is on, beside the container's own variables."""
    return {key: os.environ[key] for key in ("TERM", "COLORTERM", "LANG") if key in os.environ}
