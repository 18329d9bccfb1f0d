"""Where an agent keeps its Envoys: two slots, `a` and `b`, each with a set of ports, a folder, and a lock.

    FOLDER/a, FOLDER/b     envoy.json, envoy.pid of the Envoy there, its sockets `admin` and `xds`; `lock`
    FOLDER/envoy           link to the slot that pods are redirected to
    FOLDER/admin.sock, FOLDER/envoy.pid    links into it, for whoever wants "the" Envoy

A slot belongs to the agent that holds its lock (flock), which the kernel takes from an agent that ends. Two
agents of one node share the folder, and so see each other's slots.
"""

import contextlib
import fcntl
import os
import pathlib

from retic.node import config, ports

_CURRENT = "envoy"
_LINKS = {"admin.sock": "admin", "envoy.pid": "envoy.pid"}


class Slot:
    """One of the two. `claim` before anything else."""

    def __init__(self, folder: pathlib.Path, name: str, its_ports: ports.Ports) -> None:
        self.name = name
        self.ports = its_ports
        self.folder = folder / name
        self._lock: int | None = None

    @property
    def pid_file(self) -> pathlib.Path:
        """Names the Envoy that runs here."""
        return self.folder / "envoy.pid"

    def socket(self, name: str) -> pathlib.Path:
        """The path of one of its sockets. ValueError when Linux could not take it."""
        return config.fitting(self.folder / name)

    def claim(self) -> bool:
        """Whether the slot is ours now; not while another agent has it."""
        if self._lock is not None:
            return True
        self.folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def give_up(self) -> None:
        """Leave the slot to others."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Slots:
    """The two slots of an agent's folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.all = (Slot(folder, "a", ports.FIRST), Slot(folder, "b", ports.SECOND))

    def current(self) -> Slot:
        """The one that pods are redirected to; the first as long as nobody said so."""
        name = ""
        with contextlib.suppress(OSError):
            name = os.readlink(self._folder / _CURRENT)
        return self.all[1] if name == self.all[1].name else self.all[0]

    def other(self, slot: Slot) -> Slot:
        """The one beside it."""
        return self.all[1] if slot is self.all[0] else self.all[0]

    def make_current(self, slot: Slot) -> None:
        """Say so, in one step."""
        _link(self._folder / _CURRENT, slot.name)
        for name, target in _LINKS.items():
            _link(self._folder / name, f"{_CURRENT}/{target}")

    def close(self) -> None:
        """Give both up."""
        for slot in self.all:
            slot.give_up()


def _link(link: pathlib.Path, target: str) -> None:
    with contextlib.suppress(OSError):
        if os.readlink(link) == target:
            return
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
