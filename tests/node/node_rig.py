"""An agent in this process against the fake control plane, its rules only remembered."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys

import msgspec
import node_resources as resources

from retic.identity import attest
from retic.node import admin, agent, config, inside
from retic.testing import upstream

PORTS = {"outbound": 15001, "opaque": 15002, "inbound": 15006, "mtls": 15100}
LISTENERS = {f"{name}/u1" for name in PORTS}
CART = "spiffe://cluster.local/ns/shop/sa/cart"


def make_settings(control, tmp_path, **fields):
    root, token = tmp_path / "root.pem", tmp_path / "token"
    root.write_bytes(control.authority.bundle())
    token.write_text(attest.local_token(upstream.TOKEN_KEY, fields.get("id", "node/node-1")))
    given = {
        "id": "node/node-1", "role": "node", "zone": "z1", "control": f"127.0.0.1:{control.port}",
        "enrol": f"127.0.0.1:{control.enrol_port}", "trust_domain": "cluster.local", "root_file": str(root),
        "token_file": str(token), "folder": str(tmp_path / "agent"), "netns_dir": "/run/netns",
        "envoy": "", "concurrency": 1, "logs": str(tmp_path / "logs"), **fields,
    }  # fmt: skip
    return msgspec.convert(given, config.Config, dec_hook=config.decode_path)


class Rules:
    """The redirection, only remembered."""

    def __init__(self):
        self.enrolled, self.released, self.opaque, self.switched = [], [], {}, []

    def enrol(self, netns_path, config):
        self.enrolled.append(netns_path)

    def switch(self, netns_path, config):
        self.switched.append((netns_path, config.to))

    def release(self, netns_path):
        self.released.append(netns_path)

    def set_opaque(self, netns_path, destinations):
        self.opaque[netns_path] = frozenset(destinations)


@contextlib.asynccontextmanager
async def running(settings, rules=None, *, leave=False, prepare=lambda made: None):
    """The agent, in this process, until the block ends."""
    made = agent.Agent(settings, rules=rules or Rules())
    prepare(made)
    stop, left = asyncio.Event(), asyncio.Event()
    if leave:
        left.set()
    task = asyncio.create_task(made.run(stop, left))
    try:
        yield made
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


def alive(pid):
    """Whether the process is there and no zombie."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    return False


def end(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)


async def ask(path, **request):
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(json.dumps(request).encode() + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    return answer


def pod(netns, uid="u1", account="cart"):
    named = {"uid": uid, "namespace": "shop", "name": uid, "ip": "10.244.1.2"}
    return {**named, "service_account": account, "netns": netns}


def publish(control, netns, identity=CART):
    """A pod's three listeners, and one more with mTLS on a port that the rules do not guard."""
    control.holds.table["node/node-1"] = {CART}
    control.put(resources.CLUSTER, "nowhere", resources.cluster(), "1")
    for name, port in PORTS.items():
        made = resources.listener(f"{name}/u1", netns, port, identity if name == "mtls" else "")
        control.put(resources.LISTENER, f"{name}/u1", made, "1")


async def seen(agent_folder):
    """The listeners that Envoy has active, by name."""
    try:
        dump = json.loads(await admin.get(agent_folder / "admin.sock", "/listeners?format=json"))
    except admin.AdminError:
        return set()
    return {one["name"] for one in dump.get("listener_statuses", [])}


async def start_process(settings, tmp_path):
    """The agent as a process of its own, its log in the test's folder."""
    file = tmp_path / "agent.json"
    file.write_bytes(msgspec.json.encode(settings, enc_hook=str))
    with (tmp_path / "agent.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "retic.node", "--config", str(file), stdout=log, stderr=log
        )


def connect(netns, port, host="127.0.0.1"):
    """A connection to the pod's own Envoy, which echoes."""
    return inside.network_namespace(netns, lambda: socket.create_connection((host, port), 5))


def call_out(netns):
    """A connection to some address of the mesh, which the rules redirect to the pod's Envoy."""
    name = os.path.basename(netns)
    subprocess.run(["ip", "-n", name, "addr", "replace", "10.244.1.2/16", "dev", "lo"], check=True)
    return connect(netns, 80, "10.244.9.9")


def echoes(held, text=b"hello"):
    held.sendall(text)
    return held.recv(100) == text
