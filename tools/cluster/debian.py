"""What comes from Debian's packages: the container runtime, the CNI plugins, and what they call."""

import os
import pathlib
import shutil

import msgspec
from tools.cluster import steps


class Package(msgspec.Struct, frozen=True):
    """A package, and a file that shows it is there: a command's name or a path."""

    name: str
    shows: str


RUNTIME = (
    Package("containerd", "containerd"),
    Package("runc", "runc"),
    Package("containernetworking-plugins", "/usr/lib/cni/bridge"),
    Package("iptables", "iptables"),
    Package("nftables", "nft"),
    Package("iproute2", "ip"),
    Package("util-linux", "nsenter"),
)
IMAGES = (Package("mmdebstrap", "mmdebstrap"),)

PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
"""Where commands are looked for; root's folders are not in every PATH."""


def missing(packages: tuple[Package, ...]) -> list[str]:
    """The names of those that this machine lacks."""
    return [
        package.name
        for package in packages
        if not (pathlib.Path(package.shows).exists() if "/" in package.shows else which(package.shows))
    ]


def which(command: str) -> str | None:
    """A command's path in PATH."""
    return shutil.which(command, path=PATH)


def install(packages: tuple[Package, ...], run: steps.Steps) -> bool:
    """See that they are there; False where they were. Raises FailedError that says what to install."""
    names = missing(packages)
    if not names:
        return False
    if not which("apt-get"):
        raise steps.FailedError(f"please install: {' '.join(names)} (named as in Debian)")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run.command("apt-get", "update", "-q", env=quiet)
    run.command("apt-get", "install", "-y", "--no-install-recommends", *names, env=quiet)
    if left := missing(packages):
        raise steps.FailedError(f"installing {' '.join(left)} changed nothing: is it in the machine's PATH?")
    return True
