"""Kernel settings of the whole machine that a kubelet changes: remembered before, put back after."""

import json
import pathlib

_NAMES = (
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)  # fmt: skip
_SYS = pathlib.Path("/proc/sys")


def remember(file: pathlib.Path) -> None:
    """Write what they are to `file`, unless it is there: then a cluster before this one changed them."""
    if not file.exists():
        file.write_text(json.dumps({name: (_SYS / name).read_text().strip() for name in _NAMES}))


def restore(file: pathlib.Path) -> None:
    """Put back what `file` says, where it differs."""
    if not file.exists():
        return
    for name, value in json.loads(file.read_text()).items():
        if name in _NAMES and (_SYS / name).read_text().strip() != value:
            (_SYS / name).write_text(value)
