"""The file system of a node, made from inside its new namespaces: `python -m tools.cluster.room NODE FOLDER SHARED...`.

The machine's root is seen through an overlay whose changes are in memory and end with the node; /run, /tmp and the
node's state are its own; mounts made in it are shared with its pods and with nobody else. FOLDER holds what must be
on a disk; it and each SHARED folder are at the same path inside. At the end the process becomes `sleep infinity`.
"""

import os
import pathlib
import shutil
import subprocess
import sys

from retic.local.sandbox import kernel

# The node's own, from FOLDER: large, or an overlay's upper side, which memory is too dear for.
STATE = {"containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet", "logs": "/var/log"}
PLUGINS = pathlib.Path("/usr/lib/cni")
_EMPTY = {"/etc/cni/net.d": "755", "/run": "755", "/tmp": "1777"}
_BOUND = ("/proc", "/dev")


def main(node: str, folder: pathlib.Path, shared: list[pathlib.Path]) -> None:
    """Make the node's root and become the process that holds its namespaces."""
    kernel.set_hostname(node)
    root = _overlay(folder)
    _mount("-t", "sysfs", "sysfs", root / "sys")  # shows the interfaces of the namespace that mounts it
    _mount("--rbind", "/sys/fs/cgroup", root / "sys/fs/cgroup")
    for path in _BOUND:
        _mount("--rbind", path, f"{root}{path}")
    for path, mode in _EMPTY.items():
        inside = pathlib.Path(f"{root}{path}")
        inside.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", inside)
    for name, path in STATE.items():
        _bind(folder / name, pathlib.Path(f"{root}{path}"))
    for same in (folder, *shared):
        _bind(same, pathlib.Path(f"{root}{same}"))
    shutil.copytree(PLUGINS, root / "opt/cni/bin", dirs_exist_ok=True)
    os.chdir(root)
    kernel.pivot_root(".", ".")
    kernel.detach(".")
    os.chdir("/")
    _mount("--make-rshared", "/")
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    os.execvp("sleep", ["sleep", "infinity"])


def _overlay(folder: pathlib.Path) -> pathlib.Path:
    memory, root = folder / "memory", folder / "root"
    for path in (memory, root):
        path.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", memory)
    for name in ("upper", "work"):
        (memory / name).mkdir()
    _mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={memory}/upper,workdir={memory}/work", "overlay", root)
    return root


def _bind(source: pathlib.Path, target: pathlib.Path) -> None:
    source.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    _mount("--bind", source, target)


def _mount(*words: object) -> None:
    subprocess.run(["mount", *(str(word) for word in words)], check=True)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), [pathlib.Path(each) for each in sys.argv[3:]])
