"""What the kubelet is given: the machine's namespaces, time, objects, and whom to tell. Protocols only."""

import pathlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from retic import findings
from retic.identity import clock
from retic.local.kubelet import container, naming, tokens
from retic.objects import core
from retic.objects import pods as structs


class Sandbox(Protocol):
    """A pod's namespaces."""

    @property
    def uid(self) -> str: ...

    @property
    def host_pid(self) -> int: ...

    @property
    def netns_path(self) -> str: ...


class Fabric(Protocol):
    """Pods' namespaces and commands in them: `retic.local.sandbox.fabric.Fabric`, or a fake."""

    async def add_pod(
        self,
        uid: str,
        *,
        namespace: str,
        name: str,
        hostname: str,
        node: str,
        ip: str,
        volumes: Sequence[Any] = (),
        subdomain: str | None = None,
        kernel_name: str = "",
        resolv_conf: str = "",
        aliases: str = "",
    ) -> Any: ...

    async def remove_pod(self, uid: str) -> None: ...

    async def spawn(
        self,
        sandbox: Any,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str = "/",
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> container.Process: ...


class Guest(Protocol):
    """Something other than containers that runs in a pod: a gateway's proxy."""

    async def start(self, pod: structs.Pod, sandbox: Sandbox, tell: Callable[[bool, str], None]) -> None:
        """Start it and `tell` whether it is ready, and what it waits for, whenever that changes."""

    async def stop(self, pod: structs.Pod) -> None: ...


class Host(msgspec.Struct, frozen=True):
    """Everything a pod's runner needs.

    `state`: the mesh's folder. `look`: an object by reference. `services`: those of a namespace with their
    addresses. `directory`: the folder of the manifest that a pod comes from. `agent`: the socket of a
    node's agent, None when pods are not captured. `report(pod, status)`: whom to tell. `issuer` signs service
    account tokens. `resolver`: this machine's resolv.conf. `nameserver`: makes one outside the mesh reachable
    over UDP. `drain`: seconds between a pod's leaving its endpoints and SIGTERM, at least; then `heard` returns once
    those who call the pod know.
    """

    fabric: Fabric
    state: pathlib.Path
    time: clock.Clock
    look: Callable[[findings.Ref], Any | None]
    services: Callable[[str], Sequence[core.Service]]
    directory: Callable[[structs.Pod], pathlib.Path]
    agent: Callable[[str], pathlib.Path | None]
    report: Callable[[structs.Pod, structs.PodStatus], None]
    issuer: tokens.Issuer
    resolver: naming.Resolver
    nameserver: Callable[[str], Awaitable[None]]
    guest: Guest | None = None
    drain: float = 0.2
    heard: Callable[[], Awaitable[None]] | None = None
