"""What an uninstallation does on a node once its agent is gone: the plugin out of the chain, what the mesh has set out
of the pods' network namespaces, the agents' files away.

Pods have left the mesh by then; what is still set in some was for connections through the proxy, which went with it.
"""

import contextlib
import pathlib
import shutil
import signal
from collections.abc import Mapping

import msgspec
import structlog

from retic.node import chain, cluster, namespaces, passage, redirect

_log = structlog.get_logger("retic.node")


def clean(environment: Mapping[str, str]) -> list[str]:
    """Remove all that agents have left on the node; the paths. OSError."""
    removed = chain.remove(cluster.plugin(environment))
    folder = pathlib.Path(environment.get("RETIC_FOLDER") or "/run/retic")
    removed += _clear(folder / "pods.json", pathlib.Path(environment.get("RETIC_NAMESPACES") or "/run/retic-ns"))
    for left in sorted(folder.iterdir()) if folder.is_dir() else ():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
        removed.append(str(left))
    with contextlib.suppress(OSError):  # of an older cleaner it is a mount
        folder.rmdir()
    return removed


class _Pod(msgspec.Struct, frozen=True):
    uid: str
    namespace: str
    name: str


class _Pods(msgspec.Struct, frozen=True):
    pods: tuple[_Pod, ...] = ()


def _clear(file: pathlib.Path, held: pathlib.Path) -> list[str]:
    """Of the pods that an agent has left in its list, those that still run. OSError."""
    try:
        known = msgspec.json.decode(file.read_bytes(), type=_Pods).pods
    except (FileNotFoundError, msgspec.DecodeError):
        return []
    if not known:
        return []
    namespaces.allow_sysctls()
    spaces = namespaces.Namespaces(held)
    found = spaces.find(pod.uid for pod in known)
    cleared = []
    for pod in known:
        if pod.uid not in found:
            continue
        try:
            passage.clear(str(spaces.path(pod.uid)))
        except redirect.RedirectionError as error:
            raise OSError(f"pod {pod.namespace}/{pod.name}: {error}") from error
        finally:
            spaces.drop(pod.uid)
        cleared.append(f"pod {pod.namespace}/{pod.name}")
    return cleared


def clean_and_stay(environment: Mapping[str, str]) -> int:
    """Clean, say so by a file, and wait for SIGTERM: whoever asked looks at the file. 1 when it failed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    done = pathlib.Path(environment.get("RETIC_CLEANED_FILE") or "/tmp/cleaned")
    done.unlink(missing_ok=True)
    try:
        removed = clean(environment)
    except OSError as error:
        _log.error("the node is not cleaned up", reason=str(error))
        return 1
    _log.info("the node is cleaned up", removed=removed)
    done.touch()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0
