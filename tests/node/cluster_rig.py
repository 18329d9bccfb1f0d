"""A node of a cluster without Kubernetes: pods are namespaces with a server, in control groups named as a kubelet does.

The listeners are the product's own, made from a Pod object; the control plane that serves them is the fake one.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
import uuid

import msgspec
from envoy.service.discovery.v3 import discovery_pb2
from node_rig import end, make_settings
from xds.type.v3 import typed_struct_pb2

from retic import graph, wiring, xds
from retic.envoy import filters, names, resources
from retic.install.parts import node
from retic.mesh import network, tables
from retic.node import inside, listed
from retic.objects import meta, pods
from retic.testing import wait

NODE, CART = "node-1", "spiffe://cluster.local/ns/shop/sa/cart"
POD, WORLD, OUTSIDE = "10.244.1.5", "10.244.1.1", "198.18.0.1"
PORT = 8080


def cluster_settings(control, tmp_path, **fields):
    control.holds.table[f"node/{NODE}"] = {CART}
    more = {
        "enrolment": "cluster", "netns_dir": str(tmp_path / "ns"), "cni_socket": str(tmp_path / "cni.sock"),
        "ready_file": str(tmp_path / "ready"), **fields,
    }  # fmt: skip
    return make_settings(control, tmp_path, **more)


class Cgroups:
    """A hierarchy (v2) mounted for the test; processes put into it are a pod's."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "cgroup2", "none", folder], check=True)
        self.made = []

    def put(self, pid, path):
        place = self.folder / path
        for one in [place, *place.parents]:
            if one == self.folder:
                break
            if one not in self.made:
                self.made.append(one)
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.procs").write_text(str(pid))

    def close(self):
        for place in sorted(set(self.made), key=lambda one: -len(one.parts)):
            with contextlib.suppress(OSError):
                wait.until(lambda place=place: not (place / "cgroup.procs").read_text(), "an empty control group", 5)
                place.rmdir()
        subprocess.run(["umount", self.folder], check=True)


class Namespace:
    """A network namespace with its loopback up."""

    def __init__(self):
        self.name = f"retic-test-{uuid.uuid4().hex[:8]}"
        self.path = f"/run/netns/{self.name}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip", "link", "set", "lo", "up")
        self.processes = []

    def run(self, *argv):
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *argv], check=True, capture_output=True, text=True
        ).stdout

    def start(self, *argv):
        command = ["nsenter", f"--net={self.path}", *argv]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        inside, ours = f"/proc/{process.pid}/ns/net", os.stat("/proc/self/ns/net").st_ino
        wait.until(lambda: os.stat(inside).st_ino != ours, "the process has left our namespace")
        return process

    def echo(self, port, name):
        """An echo server; its process."""
        argv = (sys.executable, "-m", "retic.testing.apps.echo_tcp", "--port", str(port), "--name", name)
        process = self.start(*argv)
        assert process.stdout.readline().startswith("listening")
        return process

    def end_processes(self):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()
        self.processes.clear()

    def close(self):
        self.end_processes()
        subprocess.run(["ip", "netns", "del", self.name], check=True)


class Pod(Namespace):
    """A pod with a server on 8080, and a world on the other end of its wire, with one at an address outside."""

    def __init__(self, cgroups=None, uid=None):
        super().__init__()
        self.uid = uid or str(uuid.uuid4())
        self.world = Namespace()
        wire = f"w{uuid.uuid4().hex[:8]}"
        link = ["ip", "-n", self.world.name, "link", "add", wire, "type", "veth", "peer", "eth0", "netns", self.name]
        subprocess.run(link, check=True)
        for place, device, address in ((self, "eth0", POD), (self.world, wire, WORLD)):
            place.run("ip", "addr", "add", f"{address}/24", "dev", device)
            place.run("ip", "link", "set", device, "up")
        self.run("ip", "route", "add", "default", "via", WORLD)
        self.world.run("ip", "addr", "add", f"{OUTSIDE}/32", "dev", "lo")
        self.server = self.echo(PORT, "pod")
        self.world.echo(PORT, "world")
        if cgroups is not None:
            named = f"kubepods-pod{self.uid.replace('-', '_')}.slice"
            cgroups.put(self.server.pid, f"kubepods.slice/{named}/cri-sand1.scope")

    def tables(self):
        return self.run("nft", "list", "tables").split("\n")[:-1]

    def close(self):
        super().close()
        self.world.close()

    def entry(self, **fields):
        named = {"uid": self.uid, "namespace": "shop", "name": "cart-1", "service_account": "cart", "ip": POD}
        return {**named, "mesh": True, "probes": [], **fields}


def made(settings, *uids):
    """The product's own function over such pods on this node, in a cluster's mode."""
    mesh = wiring.mesh(network.Settings(netns_folder=settings.netns_dir, mode="PERMISSIVE"))
    rows = []
    for number, uid in enumerate(uids):
        metadata = meta.Metadata(name=f"cart-{number}", namespace="shop", uid=uid)
        spec = pods.PodSpec(containers=(), node_name=NODE, service_account_name="cart")
        rows += [graph.Set(tables.PODS, tables.Key("shop", f"cart-{number}"), pods.Pod(metadata=metadata, spec=spec))]
    mesh.commit(rows)
    return mesh


def publish(control, settings, *uids, version="1"):
    """The resources that the product makes for such pods on this node."""
    mesh, client = made(settings, *uids), f"node/{NODE}"
    wanted = [(kind, name) for kind in (names.CLUSTER, names.LISTENER)
              for name in mesh.ask(resources.wanted, resources.Names(kind, client))]
    wanted += [(names.FILTER, names.filter_slot(slot, uid)) for uid in uids for slot in filters.Slot]
    for kind, name in [*wanted, (names.ROUTES, "routes/shop")]:
        key = resources.scope(kind, name, xds.Client(client, ""))
        control.put(kind, name, Encoded(mesh.ask(resources.resource, key)), version)


class Encoded:
    """An encoded resource as the message that `upstream.Control.put` serialises."""

    def __init__(self, encoded):
        self._value = discovery_pb2.Resource.FromString(encoded.resource).resource.value

    def SerializeToString(self):  # noqa: N802
        return self._value


def tell(control, version, *entries, **more):
    """The control plane's list of pods."""
    made = typed_struct_pb2.TypedStruct()
    made.value.update({"pods": list(entries), **more})
    control.put(listed.TYPE_URL, listed.NAME, made, str(version))


def reported(control):
    """The uids of the last report."""
    return set(control.reports[-1][1].captured) if control.reports else set()


class Load:
    """New connections from a namespace to an address, one for each request, until stopped; when and why some failed."""

    def __init__(self, netns, address, wanted, pause=0.005):
        self.netns, self.address, self.wanted, self.pause = netns, address, wanted, pause
        self.done, self.failed, self._stop = 0, [], threading.Event()
        self._thread = threading.Thread(target=lambda: inside.network_namespace(netns, self._run))
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                with socket.create_connection((self.address, PORT), 5) as one:
                    one.sendall(b"hello\n")
                    answer = one.recv(200)
                assert (answer.split()[:1], answer.split()[-1:]) == ([self.wanted], [b"hello"]), answer
                self.done += 1
            except Exception as error:
                self.failed.append((time.monotonic(), repr(error)))
            time.sleep(self.pause)  # the load's own rate

    def stop(self):
        self._stop.set()
        self._thread.join()


class Held:
    """One connection that is opened once and used again and again."""

    def __init__(self, netns, address):
        self.socket = inside.network_namespace(netns, lambda: socket.create_connection((address, PORT), 5))

    def works(self):
        self.socket.sendall(b"again\n")
        return self.socket.recv(200).endswith(b"again\n")

    def close(self):
        self.socket.close()


async def container(settings, tmp_path, name):
    """An agent as a process in a mount namespace of its own, where nobody else's mounts of pods are seen, and with
    the capabilities that the installation gives it."""
    file = tmp_path / f"{name}.json"
    ready = tmp_path / f"{name}.ready"
    settings.netns_folder.mkdir(exist_ok=True)
    given = msgspec.structs.replace(settings, ready_file=ready, handover_seconds=20.0, drain_seconds=10.0)
    file.write_bytes(msgspec.json.encode(given, enc_hook=str))
    bounds = ",".join(["-all", *(f"+{one.lower()}" for one in node.CAPABILITIES)])
    with (tmp_path / f"{name}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            "unshare", "--mount", "--propagation", "private", "setpriv", "--bounding-set", bounds,
            sys.executable, "-m", "retic.node", "--config", file,
            stdout=log, stderr=log,
        )  # fmt: skip


def end_envoys(settings):
    """What agents that were killed have left."""
    for file in settings.folder.glob("*/envoy.pid"):
        end(json.loads(file.read_text())["pid"])


async def question(path, line, *descriptors):
    """Ask the agent's socket for the plugin as the plugin does; the answer's text."""

    def ask():
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(40)
            one.connect(str(path))
            if descriptors:
                socket.send_fds(one, [line], list(descriptors))
            else:
                one.sendall(line)
            return one.makefile("rb").readline().decode()

    return await asyncio.to_thread(ask)


def unmount(folder):
    """What an agent has mounted."""
    for line in reversed(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()):
        place = re.sub(r"\\040", " ", line.split()[4])
        if place == str(folder) or place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=True)
