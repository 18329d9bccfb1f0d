"""An agent in this process against the fake control plane, its rules only remembered."""

import asyncio
import contextlib
import os

import msgspec

from retic.identity import attest
from retic.node import agent, config
from retic.testing import upstream


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
async def running(settings, rules=None, *, leave=False):
    """The agent, in this process, until the block ends."""
    made = agent.Agent(settings, rules=rules or Rules())
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
