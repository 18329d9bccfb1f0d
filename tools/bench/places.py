"""Running commands inside network namespaces, and ending them by their pid.

A place is a network namespace of somebody else's, a pod's in most cases. Refuses to make or change one.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import msgspec

from retic.local.sandbox import kernel

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Place(msgspec.Struct, frozen=True):
    """A network namespace: its path, and a process in the user namespace that owns it."""

    netns: str
    owner: int

    def popen(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start a command there; it is killed when this process ends, however that happens."""
        network = os.open(self.netns, os.O_RDONLY | os.O_CLOEXEC)
        owner = os.pidfd_open(self.owner)
        try:
            # Between fork and exec there are system calls only: no lock of a thread can matter.
            join = self._join(network, owner)
            # A session of its own, as the mesh's processes have: the scheduler shares processor time among
            # sessions first (sched_autogroup), and with one for all, the pair came out a quarter cheaper.
            # And Ctrl-C at a terminal must not end it before its time.
            options["start_new_session"] = True
            return subprocess.Popen(argv, preexec_fn=join, cwd=ROOT, **options)  # noqa: PLW1509
        finally:
            os.close(network)
            os.close(owner)

    def run(self, argv: Sequence[str], *, seconds: float, given: str | None = None) -> str:
        """Run a command there to its end; its output. RuntimeError with what it said when it fails."""
        with self.popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            try:
                out, err = child.communicate(given, timeout=seconds)
            except BaseException:
                child.kill()
                raise
        if child.returncode:
            raise RuntimeError(f"{' '.join(argv)[:200]} failed ({child.returncode}): {out[-500:]}{err[-500:]}")
        return str(out)

    def _join(self, network: int, owner: int) -> Callable[[], None]:
        mine, other = (os.stat(f"/proc/{who}/ns/user").st_ino for who in ("self", self.owner))

        def join() -> None:
            kernel.die_with_parent(signal.SIGKILL)
            if mine != other:
                kernel.setns(owner, kernel.New.USER)
            kernel.setns(network, kernel.New.NET)

        return join


class Crew:
    """Processes that live as long as a block: each is ended by its pid when the block ends."""

    def __init__(self) -> None:
        self._members: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._members:
            member.terminate()
        for member in self._members:
            end(member)

    def add(self, member: "subprocess.Popen[Any]") -> None:
        """End this one too."""
        self._members.append(member)

    def serve(self, place: Place, argv: Sequence[str]) -> None:
        """Start a server there and wait for the line that says it listens. RuntimeError when it ends first."""
        member = place.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.add(member)
        assert member.stdout is not None
        if not (line := member.stdout.readline()).startswith("listening"):
            raise RuntimeError(f"{' '.join(argv)} said {line!r}")


def end(member: "subprocess.Popen[Any]") -> None:
    """End one process and wait for it: kindly at first, after five seconds for good."""
    member.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        member.wait(5)
    member.kill()
    member.wait()
    if member.stdout:
        member.stdout.close()
