"""Somebody on a mesh's networks who does not belong to it: in a node's namespace, the fabric's, or one beside the pods.

For attack tests: traffic stays in the mesh's own namespaces. Refuses to know what should happen.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

from retic.identity import authority, certificate, clock, pairs, spiffe
from retic.testing import wait

STRANGER = "10.244.1.200"
"""The address of the namespace that `stranger` makes, on node-1."""


class Somewhere:
    """A network namespace, known by a process in it (pid as the host shows it)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def line(self) -> list[str]:
        """What a command line begins with to run here."""
        return _enter(self.pid)

    def popen(self, *argv: str) -> "subprocess.Popen[str]":
        """Start a command in the namespace, with the test's own view of files."""
        line = [*self.line, *argv]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *argv: str, seconds: float = 60) -> str:
        """Run a command in the namespace; its output. AssertionError with its errors when it fails."""
        process = self.popen(*argv)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == 0, err
        return out

    def python(self, code: str, *arguments: str, seconds: float = 60) -> Any:
        """Run Python there; the JSON that it prints."""
        return json.loads(self.run(sys.executable, "-c", code, *arguments, seconds=seconds))


def _enter(pid: int) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", "--target", str(pid), *user, "--net"]


def place(ps: dict[str, Any], role: str, name: str) -> Somewhere:
    """Where a process of `retic ps -o json` is: ("agent", "node-1") for a node, ("cluster", "cluster") for
    the fabric between the nodes."""
    return Somewhere(next(p["pid"] for p in ps["processes"] if (p["role"], p["name"]) == (role, name)))


@contextlib.contextmanager
def stranger(node: Somewhere, address: str = STRANGER, link: str = "stranger0") -> Iterator[Somewhere]:
    """A namespace on the node's bridge as a pod's is, but that nobody has enrolled."""
    held = subprocess.Popen([*_enter(node.pid), "unshare", "--net", "sleep", "1000"])
    own = pathlib.Path(f"/proc/{node.pid}/ns/net").readlink()
    here = pathlib.Path("/proc/self/ns/net").readlink()
    theirs = pathlib.Path(f"/proc/{held.pid}/ns/net")
    try:
        wait.until(lambda: theirs.readlink() not in (own, here), "the namespace is there")
        node.run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(held.pid))
        node.run("ip", "link", "set", link, "master", "cni0", "up")
        made = Somewhere(held.pid)
        made.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        made.run("ip", "link", "set", "lo", "up")
        made.run("ip", "route", "add", "default", "via", address.rpartition(".")[0] + ".1")
        yield made
    finally:
        held.kill()
        held.wait()
        with contextlib.suppress(AssertionError):  # it goes with its namespace, sooner or later
            node.run("ip", "link", "delete", link)


def _stolen(ca: pathlib.Path, trust_domain: str, time: clock.Clock) -> authority.Authority | None:
    """A mesh's own, with whatever trust domain; None when none is there."""
    try:
        data = json.loads((ca / "secret.json").read_bytes())["data"]
    except FileNotFoundError:
        return None
    found = pairs.read(data, clock.System().now())
    return found.authority(trust_domain, found.roots, authority.DAY, time)


class Forger:
    """Writes keys and certificates for any SPIFFE id, signed by the authority in `ca`: a mesh's as it is now, as if it
    had been stolen, or a new one that nobody trusts when the folder is empty. `time` is when it signs."""

    def __init__(
        self, folder: pathlib.Path, ca: pathlib.Path, trust_domain: str = "cluster.local", *,
        time: clock.Clock | None = None,
    ) -> None:
        self._folder = folder
        self._signer = _stolen(ca, trust_domain, time or clock.System()) or authority.open_own(ca, trust_domain)

    def pair(self, identity: str) -> tuple[str, str]:
        """Paths of a new key and of its certificate chain."""
        key = certificate.new_key()
        chain = self._signer.issue(key.public_key(), spiffe.parse(identity))
        name = uuid.uuid4().hex
        files = self._folder / f"{name}.key", self._folder / f"{name}.pem"
        files[0].write_bytes(certificate.key_pem(key))
        files[1].write_bytes(chain)
        return str(files[0]), str(files[1])
