"""Which processes of the node belong to a pod, by their control groups: the kubelet names those by the pod's uid.

Cgroup v1 and v2, the drivers cgroupfs (`pod<uid>`) and systemd (`...-pod<uid with _ for ->.slice`). Only the first such
part of a path counts: below it the pod itself may have made groups. A process is looked at through one open
descriptor of its folder in /proc, which the kernel never lets show another process of the same pid.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterable, Mapping

import msgspec

# A UUID, or the hash that the kubelet gives a static pod.
_UID = r"[0-9a-f]{8}([-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_POD = re.compile(rf"(?:^|-)pod(?P<uid>{_UID})(?:\.slice)?$")


class Found(msgspec.Struct, frozen=True):
    """A pod's first process: a descriptor of its network namespace, and the last part of its control group,
    in which the runtime puts the id of the sandbox."""

    descriptor: int
    group: str


def pod_of(path: str) -> str | None:
    """The uid that a control group's path names, with `_` for `-`; None when it is no pod's."""
    for part in path.split("/"):
        if named := _POD.search(part):
            return named["uid"].replace("-", "_")
    return None


def alive(uid: str, proc: pathlib.Path = pathlib.Path("/proc")) -> bool:
    """Whether the pod has a process that is more than a zombie."""
    found = oldest([uid], proc)
    for one in found.values():
        os.close(one.descriptor)
    return bool(found)


def oldest(uids: Iterable[str], proc: pathlib.Path = pathlib.Path("/proc")) -> dict[str, Found]:
    """For each of these pods its process that started first, which is the sandbox's own; none for one without.

    A later one may have moved to a namespace that it made itself. Who takes a descriptor closes it.
    """
    wanted = {uid.replace("-", "_"): uid for uid in uids}
    best: dict[str, tuple[int, Found]] = {}
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
            folder = os.open(proc / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _look(folder, wanted, best)
            finally:
                os.close(folder)
    return {uid: found for uid, (_, found) in best.items()}


def _look(folder: int, wanted: Mapping[str, str], best: dict[str, tuple[int, Found]]) -> None:
    """Take the process of that folder into `best` when it is of a pod wanted, and older than what is there."""
    pod, group = _group(folder)
    if pod not in wanted:
        return
    started, uid = _started(folder), wanted[pod]
    if started is None or (uid in best and best[uid][0] <= started):
        return
    descriptor = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        moved = _group(folder) != (pod, group)
    except OSError:
        os.close(descriptor)
        raise
    if moved:
        os.close(descriptor)
        return
    if uid in best:
        os.close(best[uid][1].descriptor)
    best[uid] = started, Found(descriptor, group)


def _group(folder: int) -> tuple[str, str]:
    """The pod's uid with `_` for `-`, and the last part of the control group; empty when it is of no pod."""
    for line in _read(folder, "cgroup").splitlines():
        path = line.split(":", 2)[-1]
        if pod := pod_of(path):
            return pod, path.rpartition("/")[2]
    return "", ""


def _started(folder: int) -> int | None:
    fields = _read(folder, "stat").rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _read(folder: int, name: str) -> str:
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return file.read().decode(errors="replace")
