"""Whole meshes on a machine of the test's own: started by a chosen user, and compared with what was before."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import uuid

from retic.local import state
from retic.testing import outsider, running, wait

MANIFESTS = "manifests-"
SMALL = pathlib.Path(__file__).parent / "small"


class Mesh(running.Mesh):
    """`retic` commands, run on the machine by its user."""

    def __init__(self, machine, name=""):
        folder = machine.runtime / f"{MANIFESTS}{uuid.uuid4().hex[:6]}"
        shutil.copytree(SMALL, folder)
        os.chmod(folder, 0o755)
        super().__init__(name or f"t-{uuid.uuid4().hex[:6]}", folder)
        self.machine = machine

    @property
    def state(self):
        return state.folder(self.name, self.machine.environment(), self.machine.user)

    def line(self, *words):
        at = words.index("--") if "--" in words else len(words)
        return [sys.executable, "-m", "retic.cli", *words[:at], "--name", self.name, *words[at:]]

    def command(self, *words, seconds=60, stdin=""):
        done = self.machine.run(self.line(*words), stdin=subprocess.DEVNULL)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, pod, *words, namespace="default"):
        line = self.line("exec", "-n", namespace, pod, "--", *words)
        return self.machine.popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def bring_up(self, nodes=1):
        done = self.command("up", "-f", str(self.folder), "--nodes", str(nodes), "--detach", "--timeout", "50")
        logs = "" if not done.returncode else "\n".join(
            f"--- {f.name}\n{f.read_text(errors='replace')[-2000:]}" for f in sorted(self.state.glob("logs/*.log"))
        )
        assert done.returncode == 0, done.stdout + done.stderr + logs
        return self

    def works(self):
        """A call between pods, who it came from, and one from the machine through the gateway."""
        status, body = self.curl("client", "http://server/")
        assert status == 200
        seen = json.loads(body)["headers"]["x-forwarded-client-cert"]
        assert seen.endswith("URI=spiffe://cluster.local/ns/default/sa/client")
        ps = self.ps()
        (door,) = ps["gateways"]
        address = door["listeners"][0]["address"]
        assert address.startswith("127.0.0.1:")
        done = self.machine.run(["curl", "-s", "-m", "10", f"http://{address}/"])
        assert json.loads(done.stdout)["name"] == "server"
        return ps


def traces(machine):
    """Everything that a mesh could leave: see `Machine.traces`; also rules, shared memory and files."""
    inside = outsider.Somewhere(machine.holder)
    rules = inside.run("nft", "list", "ruleset") if os.geteuid() == 0 else ""
    files = {
        str(path)
        for base in ("/dev/shm", "/tmp", "/run/retic", str(machine.runtime))
        for path in pathlib.Path(base).glob("*")
        if _ours(path, machine)
    }
    return {**machine.traces(), "rules": rules, "files": files}


def _ours(path, machine):
    """Not what other tests, which run beside this one, have there, nor the manifests. Of root's proxies the shared
    memory is left out: it cannot be told from that of others."""
    try:
        mine = path.is_relative_to(machine.runtime) or (machine.user and path.lstat().st_uid == machine.user)
    except FileNotFoundError:
        return False
    return (mine or ("envoy" in path.name and path.parent.name != "shm")) and not path.name.startswith(MANIFESTS)


def gone(machine, before, mesh):
    """Wait until no process of the mesh is left; then nothing else may be."""
    wait.until(lambda: not machine.processes(), "no process is left", 15)
    now = traces(machine)
    different = {key: (now[key], before[key]) for key in now if now[key] != before[key]}
    assert not different, different
    assert not mesh.state.exists()
