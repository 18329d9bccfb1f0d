"""The cluster's control groups: one folder of every hierarchy, v1 or v2. What is in them is the cluster's own.

Containers and their shims outlive the runtime that started them; their groups are how `down` knows them.
"""

import contextlib
import os
import pathlib
import select
import signal
import time

from tools.cluster import steps

NAME = "retic-cluster"
_CPUSET = ("cpuset.cpus", "cpuset.mems")


def hierarchies() -> list[pathlib.Path]:
    """Where control groups are mounted: with v1, one folder for each controller."""
    found = []
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            found.append(pathlib.Path(target))
    if not found:
        raise steps.FailedError("no control groups are mounted; the kubelet cannot do without")
    return found


def make(node: str) -> None:
    """The groups of one node: `daemons` for what it runs itself; pods' are made by its kubelet beside that."""
    for hierarchy in hierarchies():
        for folder in (hierarchy / NAME, hierarchy / NAME / node, hierarchy / NAME / node / "daemons"):
            folder.mkdir(exist_ok=True)
            for name in _CPUSET:  # cpuset v1: a new group has none, and takes no process before it has
                if (folder / name).exists() and not (folder / name).read_text().strip():
                    (folder / name).write_text((folder.parent / name).read_text())
            if (control := folder / "cgroup.subtree_control").exists() and folder.name != "daemons":
                with contextlib.suppress(OSError):  # hybrid: the controllers are in v1's hierarchies
                    control.write_text(
                        " ".join(f"+{each}" for each in (folder / "cgroup.controllers").read_text().split())
                    )


def entering() -> list[str]:
    """The words before a command that start it in the group that `environment` names, a node's `daemons`."""
    script = 'for g in $RETIC_GROUPS; do echo $$ >"$g" || exit 1; done; exec "$@"'
    return ["/bin/sh", "-c", script, "sh"]


def environment(node: str) -> dict[str, str]:
    """What `entering` reads."""
    return {"RETIC_GROUPS": " ".join(str(each / NAME / node / "daemons/cgroup.procs") for each in hierarchies())}


def exist() -> bool:
    """Whether any are left."""
    return any((each / NAME).exists() for each in hierarchies())


def end(*, patience: float = 3.0) -> None:
    """End every process in them and remove them. SIGTERM first; SIGKILL after `patience` seconds."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 20.0)):
        deadline = time.monotonic() + seconds
        while _signal(number) and time.monotonic() < deadline:
            _wait_one(deadline)
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy / NAME, topdown=False):
            os.rmdir(folder)


def _members() -> set[int]:
    found: set[int] = set()
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy / NAME):
            with contextlib.suppress(OSError):
                found |= {int(word) for word in pathlib.Path(folder, "cgroup.procs").read_text().split()}
    return found - {0}


def _signal(number: signal.Signals) -> bool:
    members = _members()
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(members)


def _wait_one(deadline: float) -> None:
    """Wait until one of the processes has ended, for a new look at which are left."""
    for pid in _members():
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                select.select([descriptor], [], [], max(0.0, min(1.0, deadline - time.monotonic())))
            finally:
                os.close(descriptor)
            return
