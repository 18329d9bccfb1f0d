"""Pods and commands of one mesh, for pid 1's event loop: the asking side of the spawner.

Refuses to restart anything and to judge an exit status: its callers do. All calls may overlap; the spawner
does one at a time (a pod takes about 20 ms, a command about 5 ms).
"""

import asyncio
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from retic.local.sandbox import addresses, channel, messages

log = structlog.get_logger(__name__)

Volume = messages.Volume
LostError = channel.LostError


class Sandbox(msgspec.Struct, frozen=True):
    """A pod's namespaces. `holder_pid` as pid 1 sees it, `host_pid` as /proc and the host show it."""

    uid: str
    holder_pid: int
    host_pid: int
    netns_path: str


class Process:
    """A running or ended command. `pid` as pid 1 sees it, `host_pid` as /proc and the host show it."""

    def __init__(self, spawned: messages.Spawned, pidfd: int) -> None:
        self.pid = spawned.pid
        self.host_pid = spawned.host_pid
        self._pidfd = pidfd
        self._ended = asyncio.Event()
        self._status: int | None = None

    @property
    def returncode(self) -> int | None:
        """None while it runs; the exit code, or minus the number of the signal that ended it."""
        return self._status

    async def wait(self) -> int:
        """Wait for the end and return `returncode`. Any number of callers may wait, in any order."""
        await self._ended.wait()
        assert self._status is not None
        return self._status

    def send_signal(self, number: signal.Signals) -> None:
        """Send to the command itself, not to its children. An ended command is no error."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _end(self, status: int) -> None:
        if self._status is None:
            self._status = status
            os.close(self._pidfd)
            self._ended.set()


class Fabric:
    """The network of a mesh's nodes, the pods on it, and every command run in them."""

    def __init__(self, folder: pathlib.Path, nodes: Sequence[str]) -> None:
        self.folder = folder
        self.nodes = tuple(nodes)
        self._processes: dict[int, Process] = {}
        self._early: dict[int, int] = {}
        self._pods: dict[str, Sandbox] = {}
        self._null = os.open(os.devnull, os.O_RDWR)
        ours, theirs = channel.pair()
        argv = [sys.executable, "-P", "-m", "retic.local.sandbox.spawner", str(theirs.fileno())]
        with theirs:
            self._spawner = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._caller = channel.Caller(ours, self._news)

    @classmethod
    async def start(cls, folder: pathlib.Path, nodes: Sequence[str]) -> "Fabric":
        """Start the spawner, make the fabric and the nodes (at most addresses.MOST_NODES, in this order).

        Call it early in pid 1, in the mesh's namespaces. Raises OSError, LostError when the spawner died.
        """
        for index in range(1, len(nodes) + 1):
            addresses.node_network(index)
        fabric = cls(folder, nodes)
        try:
            request = messages.Start(folder=str(folder), nodes=fabric.nodes)
            await fabric._caller.call("start", request)
        except BaseException:
            fabric.close()
            raise
        return fabric

    @property
    def lost(self) -> asyncio.Event:
        """Set when the spawner died: nothing can be started any more, and pid 1 should end."""
        return self._caller.lost

    def pods(self) -> dict[str, Sandbox]:
        """The pods that exist, by uid."""
        return dict(self._pods)

    def netns(self, name: str) -> str:
        """The path of the network namespace of a node (by name) or pod (by uid)."""
        return str(self.folder / "netns" / name)

    async def add_pod(
        self,
        uid: str,
        *,
        namespace: str,
        name: str,
        hostname: str,
        node: str,
        ip: str,
        volumes: Sequence[messages.Volume] = (),
        subdomain: str | None = None,
        kernel_name: str = "",
        resolv_conf: str = "",
        aliases: str = "",
    ) -> Sandbox:
        """Make a pod's namespaces, link and mounts. Its network works when this returns.

        Raises OSError with the volume or step that failed; nothing of the pod is left then. A `Volume` whose
        source is a file is placed as a file. The last three: see `messages.AddPod`.
        """
        request = messages.AddPod(
            uid=uid,
            namespace=namespace,
            name=name,
            hostname=hostname,
            node=node,
            ip=ip,
            volumes=tuple(volumes),
            subdomain=subdomain,
            kernel_name=kernel_name,
            resolv_conf=resolv_conf,
            aliases=aliases,
        )
        added = (await self._caller.call("add_pod", request)).value(messages.PodAdded)
        sandbox = Sandbox(uid, added.holder_pid, added.host_pid, added.netns_path)
        self._pods[uid] = sandbox
        return sandbox

    async def remove_pod(self, uid: str) -> None:
        """Kill whatever runs in the pod and remove it; returns when the last process is gone."""
        self._pods.pop(uid, None)
        await self._caller.call("remove_pod", messages.RemovePod(uid=uid))

    async def spawn(
        self,
        sandbox: Sandbox | None,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str = "/",
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        extra: Mapping[int, int] | None = None,
        netns: str | None = None,
        kill_group: bool = True,
    ) -> Process:
        """Run a command in the pod `sandbox`, or with None beside pid 1 (there in the namespace at `netns`).

        It leads a session of its own. `argv[0]` is looked up in `env`'s PATH, in the pod's view of files.
        stdin, stdout, stderr are descriptors (None: /dev/null) that stay the caller's; `extra` maps more of
        the command's descriptor numbers to the caller's. With `kill_group`, what is left of the command's
        process group when it ends is killed. Cancelled: a command that starts all the same is killed.

        Raises OSError: FileNotFoundError when there is no such
        command, ProcessLookupError when the pod is gone.
        """
        extra = extra or {}
        request = messages.Spawn(
            argv=tuple(argv),
            env=dict(env),
            cwd=cwd,
            pod=sandbox.uid if sandbox else None,
            netns=netns,
            kill_group=kill_group,
            extra_fds=tuple(extra),
        )
        standard = [self._null if fd is None else fd for fd in (stdin, stdout, stderr)]
        starting = asyncio.ensure_future(self._started(request, [*standard, *extra.values()]))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_kill_unwanted)
            raise

    async def _started(self, request: messages.Spawn, fds: Sequence[int]) -> Process:
        answer = await self._caller.call("spawn", request, fds)
        process = Process(answer.value(messages.Spawned), answer.fds[0])
        if process.pid in self._early:
            process._end(self._early.pop(process.pid))
        else:
            self._processes[process.pid] = process
        return process

    def close(self) -> None:
        """End the spawner; the pods' holders die with it. Call at the end of pid 1 only."""
        self._caller.close()
        self._spawner.kill()
        self._spawner.wait()
        os.close(self._null)
        self._everything_ended()

    def _news(self, message: channel.Message) -> None:
        if message.verb == "exited":
            ended = msgspec.json.decode(message.body, type=messages.Exited)
            process = self._processes.pop(ended.pid, None)
            if process is None:
                self._early[ended.pid] = ended.status
            else:
                process._end(ended.status)
        elif message.verb == "pod_gone":
            uid = msgspec.json.decode(message.body, type=messages.RemovePod).uid
            self._pods.pop(uid, None)
            log.warning("the holder of a pod was killed from outside", uid=uid)

    def _everything_ended(self) -> None:
        for process in self._processes.values():
            process._end(-signal.SIGKILL)
        self._processes.clear()


def _kill_unwanted(starting: asyncio.Future[Process]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().kill()
