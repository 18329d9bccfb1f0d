"""Where the cluster's files are: the cache that outlives it, the folder of the running one, the sources."""

import os
import pathlib
import shutil

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GO = HERE / "go"


def cache() -> pathlib.Path:
    """What is built once and kept: binaries, images, the base layer."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "retic"


def binaries() -> pathlib.Path:
    """The folder of everything that was built from Go modules."""
    return cache() / "bin"


def binary(name: str) -> str:
    """The path of one of them, for a command line."""
    return str(binaries() / name)


def kubectl() -> str:
    """The one that was built here; for a cluster that somebody else made, where there is none, the machine's."""
    own = binary("kubectl")
    return own if pathlib.Path(own).exists() else shutil.which("kubectl") or own


def run() -> pathlib.Path:
    """The running cluster: keys, kubeconfigs, logs, process ids. `down` removes it."""
    return pathlib.Path(os.environ.get("XDG_RUNTIME_DIR") or "/run") / "retic-cluster"


def disks() -> pathlib.Path:
    """The running nodes' images and containers, on a disk rather than in memory. `down` removes it."""
    return cache() / "nodes"


def kubeconfig() -> pathlib.Path:
    """Cluster administrator of the cluster that `make cluster` starts."""
    return run() / "kubeconfig"
