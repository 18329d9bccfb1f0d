"""The processes that the supervisor does not keep itself: the outer one, the first one, the Envoys."""

import os
import pathlib
from typing import Any

import msgspec

from retic.local import state
from retic.local.sandbox import kernel
from retic.node import proc


class _Pid(msgspec.Struct, frozen=True):
    pid: int
    started: int


def own(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Role, name and the host's pid of each that lives."""
    answer = []
    try:
        running = msgspec.json.decode((folder / "outer.json").read_bytes(), type=state.Running)
        answer.append({"role": "outer", "name": "outer", "pid": running.outer_pid})
        answer.append({"role": "cluster", "name": "cluster", "pid": running.cluster_pid})
    except (OSError, msgspec.MsgspecError):
        pass
    for file in sorted((folder / "agents").glob("*/envoy.pid")):
        pid = _envoy(file)
        if pid:
            answer.append({"role": "envoy", "name": file.parent.name, "pid": pid})
        # The one before, which keeps the connections that it has until they end.
        for other in sorted(file.parent.glob("[ab]/envoy.pid")):
            if (draining := _envoy(other)) not in (0, pid):
                answer.append({"role": "draining", "name": file.parent.name, "pid": draining})
    return answer


def _envoy(file: pathlib.Path) -> int:
    """The host's pid of the Envoy that the file names; 0 when it is gone."""
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Pid)
    except (OSError, msgspec.MsgspecError):
        return 0
    pidfd = proc.open_if(kept.pid, kept.started)
    if pidfd is None:
        return 0
    try:
        return max(kernel.host_pid(pidfd), 0)
    finally:
        os.close(pidfd)
