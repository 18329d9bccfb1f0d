"""One node: its namespaces, and the container runtime, kubelet and kube-proxy in them."""

import json
import os
import pathlib
import subprocess
import sys

import msgspec
from tools.cluster import access, control_plane, debian, fabric, groups, places, processes, steps

PAUSE = "retic.dev/pause:1"
NAMES = ("node-1", "node-2")
DAEMONS = ("containerd", "kubelet", "kube-proxy")
SOCKET = "/run/containerd/containerd.sock"
_CAP_SYS_RESOURCE = 24
_CNI = "/etc/cni/net.d/10-bridge.conflist"


class Node(msgspec.Struct, frozen=True):
    """A node by its name, and the folders of the cluster that it belongs to."""

    name: str
    place: control_plane.Place

    @property
    def disk(self) -> pathlib.Path:
        """What of it is on a disk."""
        return places.disks() / self.name

    @property
    def config(self) -> pathlib.Path:
        """Its configuration and keys."""
        return self.place.folder / self.name


def every() -> list[Node]:
    """The nodes of the cluster that `make cluster` starts."""
    place = control_plane.Place(places.run(), fabric.HOST, port=6443, tied=False)
    return [Node(name, place) for name in NAMES]


def open_room(node: Node) -> None:
    """Make its namespaces, its root and its link to the others, and start its container runtime."""
    groups.make(node.name)
    for folder in (node.disk, node.config):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    shared = [str(places.binaries()), str(node.config)]
    room = [sys.executable, "-m", "tools.cluster.room", node.name, str(node.disk), *shared]
    record = processes.start(
        node.place.pids, node.name, ["unshare", "--net", "--mount", "--uts", "--propagation=private", "--", *room],
        logs=node.place.logs, environment={"PATH": debian.PATH, "PYTHONPATH": f"{places.ROOT}:{places.ROOT / 'src'}"},
    )  # fmt: skip
    log = node.place.logs / f"{node.name}.log"
    processes.until(
        lambda: fabric.holds(record.pid) or _failed(node, node.name, log), f"{node.name}'s namespaces", seconds=30
    )
    fabric.join(node.name, node.place.pids)
    runtime = node.config / "containerd.toml"
    runtime.write_text(_CONTAINERD.replace("LIMITED", "false" if _may_raise_limits() else "true"))
    _start(node, "containerd", ["containerd", "--config", str(runtime), "--log-level", "warn"])
    log = node.place.logs / f"{node.name}-containerd.log"
    processes.until(
        lambda: _answers(node) or _failed(node, f"{node.name}-containerd", log), f"{node.name}'s containerd", seconds=30
    )


def register(node: Node, keys: control_plane.Keys) -> None:
    """Start its kubelet and kube-proxy; the node appears at the API server, not ready until `connect`."""
    user = f"system:node:{node.name}"
    pair = keys.authority.issue(
        f"kubelet-{node.name}", user, organisations=["system:nodes"], hosts=[node.name, fabric.address(node.name)]
    )
    proxy = keys.authority.issue(f"kube-proxy-{node.name}", "system:kube-proxy")
    trust = _copy(node, keys.authority.pair.certificate)
    for name, owner, who in (("kubelet", pair, user), ("kube-proxy", proxy, "system:kube-proxy")):
        access.write(node.config / f"{name}.kubeconfig", node.place.server, trust, owner, user=who)
    (node.config / "resolv.conf").touch()  # a pod asks CoreDNS; nobody asks the machine's own name servers
    settings = _kubelet(node, _copy(node, pair.certificate), _copy(node, pair.key), trust)
    (node.config / "kubelet.yaml").write_text(json.dumps(settings, indent=1))
    (node.config / "kube-proxy.yaml").write_text(json.dumps(_proxy(node), indent=1))
    _start(
        node, "kubelet",
        [
            places.binary("kubelet"), f"--config={node.config / 'kubelet.yaml'}",
            f"--kubeconfig={node.config / 'kubelet.kubeconfig'}",
            f"--hostname-override={node.name}", f"--node-ip={fabric.address(node.name)}",
        ],
    )  # fmt: skip
    _start(node, "kube-proxy", [places.binary("kube-proxy"), f"--config={node.config / 'kube-proxy.yaml'}"])


def connect(node: Node, pods: str) -> None:
    """Give its pods the network `pods` (CIDR): the CNI chain of bridge with host-local addresses, and portmap."""
    chain = {
        "cniVersion": "1.0.0",
        "name": "cluster",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isDefaultGateway": True, "hairpinMode": True, "ipMasq": False,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": pods}]], "dataDir": "/run/cni/networks"},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }  # fmt: skip
    entered(node, "/bin/sh", "-c", f'cat >"{_CNI}.new" && mv "{_CNI}.new" "{_CNI}"', given=json.dumps(chain, indent=1))


def entered(node: Node, *words: str, given: str | None = None) -> str:
    """Run a command on the node, with `given` as its input; what it prints. Raises FailedError where it fails."""
    done = subprocess.run(
        [*_entering(node), *words], input=given, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": debian.PATH},
    )  # fmt: skip
    if done.returncode:
        raise steps.FailedError(f"{node.name}: {steps.shown(words)}: {done.stderr.strip()}")
    return done.stdout


def load(node: Node, archive: pathlib.Path) -> None:
    """Bring an image's archive into the node's container runtime."""
    words = ["ctr", "--address", SOCKET, "--namespace", "k8s.io", "images", "import", "-"]
    with archive.open("rb") as file:
        done = subprocess.run(
            [*_entering(node), *words], stdin=file, capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": debian.PATH},
        )  # fmt: skip
    if done.returncode:
        raise steps.FailedError(f"{node.name}: {archive.name} could not be imported: {done.stderr.strip()}")


def _start(node: Node, name: str, command: list[str]) -> None:
    processes.start(
        node.place.pids, f"{node.name}-{name}", [*groups.entering(), *_entering(node), *command],
        logs=node.place.logs, environment={"PATH": debian.PATH, **groups.environment(node.name)},
    )  # fmt: skip


def _entering(node: Node) -> list[str]:
    holder = processes.pid(node.place.pids, node.name)
    return ["nsenter", f"--target={holder}", "--net", "--mount", "--uts", "--"]


def _failed(node: Node, name: str, log: pathlib.Path) -> bool:
    if not processes.alive(node.place.pids, name):
        raise steps.FailedError(f"{name} ended:\n{control_plane.tail(log)}")
    return False


def _answers(node: Node) -> bool:
    try:
        entered(node, "ctr", "--address", SOCKET, "--connect-timeout", "1s", "version")
    except steps.FailedError:
        return False
    return True


def _copy(node: Node, path: pathlib.Path) -> pathlib.Path:
    """A file of the control plane's keys, for this node only."""
    copy = node.config / path.name
    with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(path.read_bytes())
    return copy


def _may_raise_limits() -> bool:
    """Whether root may do what CAP_SYS_RESOURCE allows; inside some sandboxes it may not.

    The runtime then starts pods with the out-of-memory score that it has itself, instead of failing to lower it.
    """
    status = pathlib.Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def _kubelet(
    node: Node, certificate: pathlib.Path, key: pathlib.Path, trust: pathlib.Path
) -> dict[str, object]:  # fmt: skip
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(trust)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "clusterDNS": [control_plane.DNS],
        "clusterDomain": control_plane.DOMAIN,
        "resolvConf": str(node.config / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{groups.NAME}/{node.name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # What the machine's disk is used for is not the node's: it never evicts, and never removes an image.
        "evictionHard": dict.fromkeys(("nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"),
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(node.config / "kube-proxy.kubeconfig")},
        "mode": "nftables",
        "hostnameOverride": node.name,
        "clusterCIDR": control_plane.PODS,
        "detectLocalMode": "ClusterCIDR",
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


_CONTAINERD = f"""
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = LIMITED

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
"""
