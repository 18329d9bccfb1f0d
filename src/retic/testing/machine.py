"""A machine of a test's own: a network and mount namespace that plays the host, with a chosen user.

Refuses to touch the real host: its interfaces and mounts are its own, and end with it. As root a test may
choose the user (`nobody` finds the interpreter even if that lies in a folder closed to it); as an ordinary
user the machine is made with a user namespace and its user is that same one.
"""

import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from retic.local.sandbox import kernel

NOBODY = 65534
OUTSIDE = "192.0.2.1"
"""An address that the machine has, and that no mesh does: the outside world."""

_OTHERS = ("/run/netns/", f"{tempfile.gettempdir()}/pytest-of-")
_OURS = re.compile(r"fabric|cni0|node\d+|pod\d+")
_SPACES = kernel.New.NET | kernel.New.NS


class Machine:
    """Use `on()` to make one. `mark` is in the environment of everything started on it, and so is `more`."""

    def __init__(self, holder: int, user: int, runtime: pathlib.Path) -> None:
        self.holder = holder
        self.user = user
        self.runtime = runtime
        self.mark = f"machine-{uuid.uuid4().hex}"
        self.more: dict[str, str] = {}
        self._pidfd = os.pidfd_open(holder)
        self._spaces = _SPACES if os.geteuid() == 0 else _SPACES | kernel.New.USER

    def environment(self) -> dict[str, str]:
        # PATH often has a folder that its user may not look into.
        path = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/proc/1/root/bin"
        return {
            "PATH": path,
            "HOME": str(self.runtime),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "RETIC_TEST_MARK": self.mark,
            **self.more,
        }

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a command on the machine, as its user."""
        # Between fork and exec there are system calls only: no lock of a thread can matter.
        enter = self._enter()
        return subprocess.Popen(argv, preexec_fn=enter, env=self.environment(), cwd="/", **options)  # noqa: PLW1509

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command on the machine to its end, with its output."""
        process = self.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return self.run([sys.executable, "-c", code, *arguments])

    def processes(self) -> set[int]:
        """Pids of everything that was started on the machine and lives, in whatever namespaces."""
        found = set()
        needle = f"RETIC_TEST_MARK={self.mark}".encode()
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if needle in path.read_bytes().split(b"\0"):
                    found.add(int(path.parent.name))
        return {pid for pid in found if kernel.start_time(pid) is not None}

    def traces(self) -> dict[str, Any]:
        """What a mesh could leave behind: all interfaces and mounts of the machine; of the real host, which
        others use too, those that look like a mesh's."""
        mounts, links = _mounts(self.holder), _links_of(self.holder)
        host_mounts = [line for line in _mounts("self") if "retic" in line or str(self.runtime) in line]
        host_links = [name for name in _links_of("self") if _OURS.fullmatch(name)]
        return {"mounts": mounts, "links": links, "host mounts": host_mounts, "host links": host_links}

    def close(self) -> None:
        """End everything that was started on the machine."""
        for pid in self.processes() | {self.holder}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(self.holder, 0)
        os.close(self._pidfd)
        shutil.rmtree(self.runtime, ignore_errors=True)

    def _enter(self) -> Callable[[], None]:
        def enter() -> None:
            kernel.setns(self._pidfd, self._spaces)
            if os.geteuid() != self.user:
                os.setgroups([])
                os.setresgid(self.user, self.user, self.user)
                os.setresuid(self.user, self.user, self.user)

        return enter


def _mounts(who: int | str) -> list[str]:
    """Without other people's `ip netns` and what other tests mount in their folders: removing one there removes it
    from every copy of the mounts."""
    lines = pathlib.Path(f"/proc/{who}/mounts").read_text().splitlines()
    return [line for line in lines if not line.split()[1].startswith(_OTHERS)]


def _links_of(who: int | str) -> list[str]:
    lines = pathlib.Path(f"/proc/{who}/net/dev").read_text().splitlines()
    return sorted(line.split(":")[0].strip() for line in lines if ":" in line)


def users() -> list[int]:
    """The users that a test should run as: root and another one, or, without root, the one there is."""
    return [0, NOBODY] if os.geteuid() == 0 else [os.geteuid()]


@contextlib.contextmanager
def on(user: int) -> Iterator[Machine]:
    """A machine for `user`, up to the end of the block."""
    runtime = pathlib.Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(runtime, user, user)
    argv = [sys.executable, "-m", "retic.testing.machine", str(user)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        ready, _, _ = select.select([said], [], [], 20)
        if not ready or said.read(5) != b"ready":
            process.kill()
            raise RuntimeError("the machine did not start")
    machine = Machine(process.pid, user, runtime)
    try:
        yield machine
    finally:
        machine.close()
        process.returncode = 0


def _become(user: int) -> None:
    own = (os.geteuid(), os.getegid())
    kernel.die_with_parent(signal.SIGKILL)
    kernel.unshare(_SPACES if own[0] == 0 else _SPACES | kernel.New.USER)
    if own[0] != 0:
        pathlib.Path("/proc/self/setgroups").write_text("deny")
        pathlib.Path("/proc/self/uid_map").write_text(f"{own[0]} {own[0]} 1")
        pathlib.Path("/proc/self/gid_map").write_text(f"{own[1]} {own[1]} 1")
    kernel.mount(None, "/", None, kernel.Mount.REC | kernel.Mount.PRIVATE)
    if user != own[0]:
        _open_way([sys.base_prefix, sys.prefix, str(pathlib.Path(__file__).parents[3])])
    _links()
    sys.stdout.write("ready")
    sys.stdout.close()
    while True:
        signal.pause()


def _links() -> None:
    import pyroute2

    with pyroute2.IPRoute() as ipr:
        ipr.link("set", index=1, state="up")
        ipr.link("add", ifname="outside", kind="bridge")
        index = ipr.link_lookup(ifname="outside")[0]
        ipr.link("set", index=index, state="up")
        ipr.addr("add", index=index, address=OUTSIDE, prefixlen=24)


def _open_way(paths: Sequence[str]) -> None:
    """Let everybody reach `paths`: a folder closed to others is replaced by one with nothing else in it."""
    held = [(path, os.open(path, os.O_PATH)) for path in dict.fromkeys(map(os.path.realpath, paths))]
    for path, descriptor in held:
        closed = _closed_above(path)
        if closed is not None:
            kernel.mount("open", closed, "tmpfs", kernel.Mount.NONE, "mode=0755")
        if not os.path.exists(path):
            os.makedirs(path)
            kernel.mount(f"/proc/self/fd/{descriptor}", path, None, kernel.Mount.BIND | kernel.Mount.REC)


def _closed_above(path: str) -> str | None:
    above = [str(parent) for parent in reversed(pathlib.Path(path).parents)]
    return next((one for one in above if os.path.isdir(one) and not os.stat(one).st_mode & 0o001), None)


if __name__ == "__main__":
    _become(int(sys.argv[1]))
