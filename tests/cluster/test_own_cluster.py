"""What the cluster of `make cluster` promises beyond what any cluster does."""

import json
import pathlib
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import pytest
from tests.cluster import kubectl, pods
from tools.cluster import base, fabric, images, oci, places, processes, whole

WAIT = "import signal; signal.pause()"


@pytest.fixture(scope="module")
def echo(kube: kubectl.Kubectl, nodes: list[str]) -> str:
    """The address of a pod on the second node, behind the Service `echo`, its port 30080 and that node's port 8088."""
    made = pods.echo("echo", node=nodes[1], labels={"app": "echo"})
    made["spec"]["containers"][0]["ports"][0]["hostPort"] = 8088
    service = pods.service("echo", {"app": "echo"}, 80, "http")
    service["spec"] |= {"type": "NodePort"}
    service["spec"]["ports"][0]["nodePort"] = 30080
    kube.apply(made, service)
    kube.ready("echo")
    return str(kube.get("pod", "echo")["status"]["podIP"])


def answers(address: str, port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=2) as answer:
            return bool(answer.read().startswith(b"echo "))
    except OSError:
        return False


def test_this_machine_reaches_pods_and_services(kube: kubectl.Kubectl, nodes: list[str], echo: str):
    service = kube.get("service", "echo")["spec"]["clusterIP"]
    ways = [(echo, 8080), (service, 80), (fabric.address(nodes[1]), 8088)]
    ways += [(fabric.address(node), 30080) for node in nodes]
    for address, port in ways:
        processes.until(lambda a=address, p=port: answers(a, p), f"an answer of {address}:{port}", seconds=20)


def test_nothing_outside_has_a_name_or_a_way(kube: kubectl.Kubectl, echo: str):
    asked = "import socket\ntry: socket.getaddrinfo('www.example.com', 80)\nexcept socket.gaierror as e: print(e.errno)"
    none = str(socket.EAI_NONAME)
    processes.until(lambda: kube.python("echo", asked) == none, "the answer that there is no such name", seconds=60)
    tried = "import socket\ntry: socket.create_connection(('10.99.0.1', 80), 5)\nexcept OSError as e: print(e.errno)"
    assert kube.python("echo", tried) in {"101", "113"}  # the network, or the host, is unreachable


def test_an_image_is_loaded_under_its_exact_reference(kube: kubectl.Kubectl, nodes: list[str], tmp_path: pathlib.Path):
    reference = "registry.example.com/some/thing:v1.2.3"
    oci.write(tmp_path / "image.tar", reference, [base.layer()], entrypoint=["sleep"], cmd=["infinity"], user="65532")
    images.load(tmp_path / "image.tar")
    for node in nodes:
        container = {"name": "main", "image": reference, "imagePullPolicy": "Never"}
        made = pods.python(f"loaded-{node}", WAIT, node=node)
        made["spec"]["containers"] = [container]
        kube.apply(made)
    kube.ready(*(f"loaded-{node}" for node in nodes))
    assert kube.run("exec", f"loaded-{nodes[0]}", "--", "id", "-u").strip() == "65532"


def privileged(name: str, node: str, propagation: str, **spec: Any) -> dict[str, Any]:
    """A pod that may do what root may, with the node's /run/shared-by-test mounted with that propagation."""
    made = pods.python(name, WAIT, node=node)
    made["spec"] |= spec
    made["spec"]["volumes"] = [
        {"name": "shared", "hostPath": {"path": "/run/shared-by-test", "type": "DirectoryOrCreate"}}
    ]
    made["spec"]["containers"][0] |= {
        "securityContext": {"privileged": True, "runAsUser": 0},
        "volumeMounts": [{"name": "shared", "mountPath": "/shared", "mountPropagation": propagation}],
    }
    return made


def test_privileged_pods_mount_set_and_enter_as_a_node_agent_must(kube: kubectl.Kubectl, nodes: list[str], echo: str):
    node = nodes[1]
    agent = privileged("agent", node, "Bidirectional", hostNetwork=True, hostPID=True)
    kube.apply(agent, privileged("reader", node, "HostToContainer"))
    kube.ready("agent", "reader")
    on_agent = ["exec", "agent", "--", "sh", "-ec"]
    # A mount made by the one is seen by the other, and by the node.
    kube.run(*on_agent, "mkdir -p /shared/m && mount -t tmpfs tmpfs /shared/m && echo seen >/shared/m/file")
    assert kube.run("exec", "reader", "--", "cat", "/shared/m/file") == "seen\n"
    kube.run(*on_agent, "umount /shared/m")
    # It has the node's network, and its settings can be changed.
    assert fabric.address(node) in kube.run(*on_agent, "ip -4 -brief address show eth0")
    kube.run(*on_agent, "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet")
    # It finds the process of another pod, enters its network, and sets packet rules and settings there.
    container = kube.get("pod", "echo")["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    pid = f"$(grep -l {container} /proc/[0-9]*/cgroup | head -1 | cut -d/ -f3)"
    found = f'nsenter="nsenter --net=/proc/{pid}/ns/net"'
    assert echo in kube.run(*on_agent, f"{found}; $nsenter ip -4 -brief address show eth0")
    script = (
        "nft add table inet test && nft delete table inet test && echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet"
    )
    kube.run(*on_agent, f"{found}; $nsenter sh -ec '{script}'")


def test_up_again_changes_nothing(cluster: pathlib.Path):
    records = {path.name: path.read_text() for path in (places.run() / "pids").iterdir()}
    whole.up()
    assert {path.name: path.read_text() for path in (places.run() / "pids").iterdir()} == records
    assert whole.running()


def test_command_says_where_and_what(cluster: pathlib.Path):
    command = [sys.executable, "-m", "tools.cluster"]
    said = subprocess.run([*command, "status"], capture_output=True, text=True, cwd=places.ROOT, check=True).stdout
    assert "node-1" in said
    assert "node-2" in said
    said = subprocess.run([*command, "kubeconfig"], capture_output=True, text=True, cwd=places.ROOT, check=True).stdout
    assert pathlib.Path(said.strip()) == cluster
    assert json.loads(cluster.read_text())["clusters"]
    assert cluster.stat().st_mode & 0o077 == 0


def test_another_kubeconfig_is_used_and_nothing_is_built(cluster: pathlib.Path, tmp_path: pathlib.Path):
    other = tmp_path / "kubeconfig"
    other.write_bytes(cluster.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "tools.cluster", "up"], cwd=places.ROOT, check=True,
        capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "KUBECONFIG": str(other)},
    )  # fmt: skip
    assert f"using the cluster of {other}" in done.stderr
