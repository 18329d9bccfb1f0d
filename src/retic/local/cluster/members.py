"""The mesh's own processes: what the control plane and the agents are told, and how they are started."""

import asyncio
import os
import pathlib
import secrets
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from retic.identity import attest, spiffe
from retic.local import state, supervisor
from retic.local.sandbox import addresses, fabric
from retic.node import config as node_config

CONTROL_PORT, ENROLMENT_PORT, METRICS_PORT = 15010, 15011, 15012
_ROOT_SECONDS = 20.0


class Members:
    """Writes their configuration into the state folder and keeps them running."""

    def __init__(self, config: state.Config, keeper: supervisor.Supervisor, fab: fabric.Fabric) -> None:
        self._folder = pathlib.Path(config.state)
        self._python = config.python
        self._lifetime = config.lifetime
        self._trust_domain = config.trust_domain
        self._control = config.control
        # gRPC's fork handlers are for programs that fork and go on with gRPC; ours only start other programs.
        self._environment = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0", **config.environment}
        self._keeper = keeper
        self._fabric = fab

    async def start(self, zones: Mapping[str, str]) -> None:
        """The control plane, then one agent for each node (`zones`: node to zone, "" when it has none)."""
        key = self._folder / "token.key"
        _write(key, secrets.token_bytes(32))
        control = self._folder / "control.json"
        host = str(addresses.FABRIC)
        _write(
            control,
            msgspec.json.encode(
                {
                    **self._control,
                    "folder": str(self._folder),
                    "listen": f"{host}:{CONTROL_PORT}",
                    "enrol": f"{host}:{ENROLMENT_PORT}",
                    "metrics": f"{host}:{METRICS_PORT}",
                    "trust_domain": self._trust_domain,
                    "netns_folder": str(self._folder / "netns"),
                    "lifetime": self._lifetime,
                }
            ),
        )
        await self._keeper.add(self._command("control", "control", "retic.control", control, None))
        for node, zone in zones.items():
            await self.agent(node, f"node/{node}", zone, self._fabric.netns(node))

    async def _root(self) -> None:
        """Agents need the root to know the control plane by."""
        async with asyncio.timeout(_ROOT_SECONDS):
            while not (self._folder / "ca" / "root.pem").exists():  # noqa: ASYNC110 (made by another process)
                await asyncio.sleep(0.02)

    def identity(self, namespace: str, account: str) -> str:
        """The SPIFFE id of an account of this mesh."""
        return str(spiffe.Workload(self._trust_domain, namespace, account))

    def socket(self, node: str) -> pathlib.Path:
        """Where a node's agent takes pods."""
        return self._folder / "agents" / node / "cni.sock"

    async def agent(
        self, agent: str, client: str, zone: str, netns: str, identities: tuple[str, ...] = ()
    ) -> None:
        """Start the agent `agent` (its folder's name) of the discovery client `client`."""
        await self._root()
        folder = self._folder / "agents" / agent
        for made in (folder.parent, folder):  # `parents` would not pass the mode on
            made.mkdir(mode=0o700, exist_ok=True)
        token = folder / "token"
        _write(token, attest.local_token((self._folder / "token.key").read_bytes(), client).encode())
        file = folder / "agent.json"
        settings: dict[str, Any] = {
            "id": client,
            "role": client.partition("/")[0],
            "zone": zone,
            "control": f"{addresses.FABRIC}:{CONTROL_PORT}",
            "enrol": f"{addresses.FABRIC}:{ENROLMENT_PORT}",
            "trust_domain": self._trust_domain,
            "root_file": str(self._folder / "ca" / "root.pem"),
            "token_file": str(token),
            "folder": str(folder),
            "netns_dir": str(self._folder / "netns"),
            "logs": str(self._folder / "logs"),
            "access_log": str(self._folder / "logs" / node_config.access_log(agent)),
            "concurrency": 2 if client.startswith("node/") else 1,
            "identities": identities,
        }
        _write(file, msgspec.json.encode(settings))
        await self._keeper.add(self._command("agent", agent, "retic.node", file, netns))

    async def remove(self, agent: str) -> None:
        """Stop an agent and its Envoy."""
        await self._keeper.remove("agent", agent)

    def _command(
        self, role: str, name: str, module: str, config: pathlib.Path, netns: str | None
    ) -> supervisor.Command:
        argv = (self._python or sys.executable, "-P", "-m", module, "--config", str(config))
        return supervisor.Command(role=role, name=name, argv=argv, env=self._environment, netns=netns)


def _write(path: pathlib.Path, data: bytes) -> None:
    """Write so that nobody else could read it at any moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
