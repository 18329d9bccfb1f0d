"""The whole cluster: up, down, and whether it runs. Each is harmless to repeat, also after a crash half-way."""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

from tools.cluster import (
    control_plane,
    debian,
    dns,
    fabric,
    gobuild,
    groups,
    images,
    node,
    places,
    processes,
    steps,
    tunables,
)

_TUNABLES = "kernel.json"


def given() -> pathlib.Path | None:
    """The kubeconfig of a cluster that is somebody else's: KUBECONFIG, unless that is the one made here."""
    value = os.environ.get("KUBECONFIG")
    return pathlib.Path(value) if value and pathlib.Path(value) != places.kubeconfig() else None


def up() -> None:
    """Build what is missing and start the cluster; nothing where it runs, or where KUBECONFIG names another."""
    if other := given():
        if not shutil.which(places.kubectl()):
            raise steps.FailedError("KUBECONFIG is set, and tests of that cluster need kubectl, which is not in PATH")
        print(f"cluster: KUBECONFIG is set: using the cluster of {other}; nothing is built", file=sys.stderr)
        return
    if os.geteuid() != 0:
        raise steps.FailedError("a cluster needs root: namespaces, mounts and control groups are the machine's")
    with _alone():
        if running():
            print(f"cluster: it runs already; export KUBECONFIG={places.kubeconfig()}", file=sys.stderr)
            return
        _remove()
        run = steps.Steps()
        archives = build(run)
        begin = run.elapsed
        try:
            start(archives, run)
        except BaseException:
            _keep_logs()
            _remove()
            raise
        print(
            f"cluster: ready; built in {begin:.0f} s, started in {run.elapsed - begin:.0f} s; "
            f"export KUBECONFIG={places.kubeconfig()}",
            file=sys.stderr,
        )


def prepare(run: steps.Steps) -> None:
    """Build what is missing, for a start that takes seconds; nothing where KUBECONFIG names another cluster."""
    if not given():
        with _alone():
            build(run)


def down() -> None:
    """End it and remove everything of it but the caches."""
    if os.geteuid() != 0:
        raise steps.FailedError("ending a cluster needs root")
    begin = time.monotonic()
    with _alone():
        _remove()
    print(f"cluster: removed in {time.monotonic() - begin:.1f} s", file=sys.stderr)


def running() -> bool:
    """Whether all of its processes run and its API server answers."""
    place = node.every()[0].place
    expected = [*control_plane.STARTED, fabric.HOLDER]
    for name in node.NAMES:
        expected += [name, *(f"{name}-{each}" for each in node.DAEMONS)]
    if not places.kubeconfig().exists() or not all(processes.alive(place.pids, each) for each in expected):
        return False
    return kubectl("get", "--raw", "/readyz", check=False) == "ok"


def kubectl(*words: str, given: str | None = None, check: bool = True, seconds: float = 120) -> str:
    """Run kubectl as the cluster's administrator; what it prints. Raises FailedError where it fails."""
    done = subprocess.run(
        [places.binary("kubectl"), f"--kubeconfig={places.kubeconfig()}", *words],
        input=given, capture_output=True, text=True, check=False, timeout=seconds,
    )  # fmt: skip
    if check and done.returncode:
        raise steps.FailedError(f"kubectl {steps.shown(words)}: {done.stderr.strip()}")
    return done.stdout


def build(run: steps.Steps) -> list[pathlib.Path]:
    """See that binaries, packages and images are there, each part printed; the images' archives."""
    with run.part("Debian packages"):
        debian.install(debian.RUNTIME, run)
    for module in gobuild.ALL:
        with run.part(f"build {module.name}"):
            gobuild.build(module, run)
    with run.part("images"):
        return images.own(run)


def start(archives: list[pathlib.Path], run: steps.Steps) -> None:
    """Start the control plane and the nodes side by side, then join them."""
    nodes = node.every()
    place = nodes[0].place
    fabric.check()
    place.folder.mkdir(parents=True, mode=0o700)
    tunables.remember(place.folder / _TUNABLES)
    with run.part("start the network"):
        fabric.make(place.pids, place.logs)
    with run.part("start the control plane and the nodes"), concurrent.futures.ThreadPoolExecutor() as pool:
        plane = pool.submit(control_plane.launch, place, controllers=True, scheduler=True, alone=False)
        rooms = [pool.submit(_room, each, archives) for each in nodes]
        keys = plane.result()[0]
        for room in rooms:
            room.result()
    with run.part("join the nodes"):
        kubectl("apply", "--server-side", "-f", "-", given=_proxy_rights())
        for each in nodes:
            node.register(each, keys)
        networks = {each.name: _network(each.name) for each in nodes}
        for each in nodes:
            node.connect(each, networks[each.name])
        fabric.route(networks, place.pids)
    with run.part("start CoreDNS"):
        kubectl("apply", "--server-side", "-f", "-", given=dns.manifests())
        kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=60s")
        kubectl("-n", dns.NAMESPACE, "rollout", "status", f"deployment/{dns.DEPLOYMENT}", "--timeout=90s")


def _room(each: node.Node, archives: list[pathlib.Path]) -> None:
    node.open_room(each)
    for archive in archives:
        node.load(each, archive)


def _network(name: str) -> str:
    """The pod network that the controllers gave the node, as soon as it has one."""
    kubectl("wait", "node", name, "--for=create", "--timeout=60s")
    path = "jsonpath={.spec.podCIDR}"
    kubectl("wait", "node", name, f"--for={path}", "--timeout=60s")
    return kubectl("get", "node", name, "-o", path)


def _proxy_rights() -> str:
    return json.dumps(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "retic-cluster:kube-proxy"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"},
            ],
        }
    )


def _remove() -> None:
    place = node.every()[0].place
    for name in node.NAMES:  # no kubelet starts anew what is ended next
        processes.end(place.pids, f"{name}-kubelet")
    groups.end()
    for name in (*control_plane.STARTED, *processes.names(place.pids)):
        processes.end(place.pids, name)
    fabric.remove()
    tunables.restore(place.folder / _TUNABLES)
    for folder in (place.folder, places.disks()):
        _delete(folder)


def _delete(folder: pathlib.Path) -> None:
    """Remove a folder, but never through a mount: below a node's root is the machine's."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        if pathlib.Path(line.split()[1]).is_relative_to(folder):
            raise steps.FailedError(f"{line.split()[1]} is still mounted; unmount it before {folder} can be removed")
    if folder.exists():
        shutil.rmtree(folder)


def _keep_logs() -> None:
    """Where a start failed, its logs stay in the cache for a look."""
    logs, kept = places.run() / "logs", places.cache() / "failed-start"
    shutil.rmtree(kept, ignore_errors=True)
    if logs.exists():
        shutil.copytree(logs, kept)
        print(f"cluster: the logs of this start are in {kept}", file=sys.stderr)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One `up` or `down` at a time on this machine."""
    places.cache().mkdir(parents=True, exist_ok=True)
    with (places.cache() / ".cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
