"""What an uninstallation does on a node once its agent is gone: the plugin out of the chain, the agents' files away."""

import contextlib
import pathlib
import shutil
import signal
from collections.abc import Mapping

import structlog

from retic.node import chain, cluster

_log = structlog.get_logger("retic.node")


def clean(environment: Mapping[str, str]) -> list[str]:
    """Remove all that agents have left on the node; the paths. OSError."""
    removed = chain.remove(cluster.plugin(environment))
    folder = pathlib.Path(environment.get("RETIC_FOLDER") or "/run/retic")
    for left in sorted(folder.iterdir()) if folder.is_dir() else ():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
        removed.append(str(left))
    with contextlib.suppress(OSError):  # of an older cleaner it is a mount
        folder.rmdir()
    return removed


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
