"""The spawner: a process without threads, beside pid 1, that makes namespaces and starts every command.

Forking, and moving between namespaces, is safe only in a process without threads, which pid 1 is not. The
spawner is the parent of all commands of the mesh and the reaper of their orphans (a subreaper), so pid 1
never has to tell its own children from strangers. It ends when pid 1 does.

Refuses to decide: it does what pid 1 asks, in order, and reports what ended.
"""

import contextlib
import errno
import gc
import os
import pathlib
import selectors
import shutil
import signal
import socket
import sys
from typing import NoReturn

import msgspec

from retic.local.sandbox import channel, kernel, launch, links, messages, mounts

_FOREVER = "2147483647"


class _Pod(msgspec.Struct, frozen=True):
    holder: int
    pidfd: int


class _View(msgspec.Struct, frozen=True):
    state: str
    stage: str
    volumes: tuple[messages.Volume, ...]


class Spawner:
    """State of the spawner; `sock` leads to pid 1."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self._folder = ""
        self._topology: links.Topology | None = None
        self._pods: dict[str, _Pod] = {}
        self._holders: dict[int, str] = {}
        self._leaving: dict[int, int] = {}
        self._commands: dict[int, bool] = {}

    def serve(self) -> None:
        """Answer until pid 1 is gone."""
        wake, wakeup = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wakeup, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        selector.register(self._sock, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        with contextlib.suppress(channel.LostError):
            while True:
                for key, _ in selector.select():
                    if key.fd == wake:
                        os.read(wake, 4096)
                        self._reap()
                    else:
                        self._answer(channel.receive(self._sock))

    def _answer(self, packet: channel.Packet) -> None:
        message = channel.decode(packet.body)
        try:
            with contextlib.closing(packet):
                match message.verb:
                    case "start":
                        self._start(_body(message, messages.Start))
                        self._reply(message.id, None)
                    case "add_pod":
                        self._reply(message.id, self._add_pod(_body(message, messages.AddPod)))
                    case "remove_pod":
                        self._remove_pod(_body(message, messages.RemovePod), message.id)
                    case "spawn":
                        self._spawn(_body(message, messages.Spawn), message.id, packet.fds)
                    case _:
                        raise ValueError(f"unknown request {message.verb!r}")
        except channel.LostError:
            raise
        except Exception as error:
            channel.send(self._sock, channel.encode(channel.failure(message.id, error)))

    def _reply(self, number: int, value: object, fds: tuple[int, ...] = ()) -> None:
        channel.send(self._sock, channel.encode(channel.Message(id=number, body=channel.raw(value))), fds)

    def _start(self, request: messages.Start) -> None:
        self._folder = request.folder
        self._topology = links.Topology(request.folder, request.nodes)
        self._topology.start()

    def _links(self) -> links.Topology:
        if self._topology is None:
            raise ValueError("the fabric has not been started")
        return self._topology

    def _add_pod(self, request: messages.AddPod) -> messages.PodAdded:
        if request.uid in self._pods:
            raise FileExistsError(f"there is a pod with uid {request.uid}")
        netns = self._links().add_pod(request.uid, request.node, request.ip)
        try:
            holder = self._hold(request, netns)
        except Exception:
            self._links().remove_pod(request.uid)
            raise
        pidfd = os.pidfd_open(holder)
        self._pods[request.uid] = _Pod(holder, pidfd)
        self._holders[holder] = request.uid
        return messages.PodAdded(holder_pid=holder, host_pid=kernel.host_pid(pidfd), netns_path=netns)

    def _hold(self, request: messages.AddPod, netns: str) -> int:
        """Start the pod's holder and wait until its namespaces are as they should be."""
        folder = pathlib.Path(self._folder, "sandboxes", request.uid)
        (folder / "stage").mkdir(mode=0o755, parents=True, exist_ok=True)
        volumes = (*mounts.name_files(folder, request), *request.volumes)
        report, failed = os.pipe()
        pid = kernel.clone(kernel.New.NS | kernel.New.UTS | kernel.New.PID)
        if pid == 0:
            _hold_forever(request, netns, _View(self._folder, str(folder / "stage"), volumes), failed)
        os.close(failed)
        with open(report, encoding="utf-8") as file:
            problem = file.read()
        if problem != "ready":
            os.waitpid(pid, 0)
            number, _, words = problem.removeprefix("ready").partition(" ")
            raise OSError(int(number or 0), words or "the pod's holder ended")
        return pid

    def _remove_pod(self, request: messages.RemovePod, number: int) -> None:
        pod = self._pods.pop(request.uid, None)
        if pod is None:
            self._forget(request.uid)
            self._reply(number, None)
            return
        # The kernel ends all of the pod's processes with the first one of its pid namespace. The answer
        # goes out when it is reaped, which is after the last of them.
        self._leaving[pod.holder] = number
        signal.pidfd_send_signal(pod.pidfd, signal.SIGKILL)
        os.close(pod.pidfd)

    def _forget(self, uid: str) -> None:
        self._links().remove_pod(uid)
        shutil.rmtree(pathlib.Path(self._folder, "sandboxes", uid), ignore_errors=True)

    def _spawn(self, request: messages.Spawn, number: int, fds: tuple[int, ...]) -> None:
        holder = None
        if request.pod is not None:
            if request.pod not in self._pods:
                raise ProcessLookupError(3, "the pod is gone")
            holder = self._pods[request.pod].pidfd
        numbers = (0, 1, 2, *request.extra_fds)
        pid = launch.start(request, dict(zip(numbers, fds, strict=True)), self._own_pids, holder)
        self._commands[pid] = request.kill_group
        pidfd = os.pidfd_open(pid)
        try:
            value = messages.Spawned(pid=pid, host_pid=kernel.host_pid(pidfd))
            self._reply(number, value, (pidfd,))
        finally:
            os.close(pidfd)

    def _reap(self) -> None:
        """Take every ended child. Looks before it takes: while the zombie stands, its group's number is its
        own, so killing what is left of the group can hit nobody else."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            if self._commands.get(pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, status: int) -> None:
        if self._commands.pop(pid, None) is not None:
            body = channel.raw(messages.Exited(pid=pid, status=status))
            channel.send(self._sock, channel.encode(channel.Message(verb="exited", body=body)))
        uid = self._holders.pop(pid, None)
        if uid is None:
            return
        number = self._leaving.pop(pid, None)
        if number is not None:
            self._forget(uid)
            self._reply(number, None)
        else:
            os.close(self._pods.pop(uid).pidfd)
            body = channel.raw(messages.RemovePod(uid=uid))
            channel.send(self._sock, channel.encode(channel.Message(verb="pod_gone", body=body)))


def _body(message: channel.Message, kind: type[channel.T]) -> channel.T:
    return msgspec.json.decode(message.body, type=kind)


def main() -> NoReturn:
    """`python -m retic.local.sandbox.spawner FD`"""
    kernel.set_name("retic-spawner")
    kernel.become_subreaper()
    sock = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(sock.fileno(), False)
    gc.collect()
    gc.freeze()
    Spawner(sock).serve()
    sys.exit(0)


def _hold_forever(pod: messages.AddPod, netns: str, view: _View, report: int) -> NoReturn:
    """In the new holder, the first process of the pod's pid namespace: never returns."""
    try:
        launch.reset_signals()
        kernel.die_with_parent(signal.SIGKILL)
        os.setsid()
        kernel.setns(os.open(netns, os.O_RDONLY), kernel.New.NET)
        kernel.set_hostname(pod.kernel_name or pod.hostname)
        mounts.build(view.state, view.stage, view.volumes)
        # Orphans of the pod's commands become its children; ignored, they leave no zombies.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.chdir("/")
        _fall_asleep(report)
    except Exception as error:
        number = error.errno or 0 if isinstance(error, OSError) else 0
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        os.write(report, f"{number} {words}".encode())
    finally:
        os._exit(1)


def _fall_asleep(report: int) -> NoReturn:
    """Become a program that does nothing in little memory: as a copy of the spawner, each holder would keep
    megabytes of what the spawner has changed since."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    sleep = shutil.which("sleep", path="/usr/bin:/bin")
    if sleep is None:
        raise FileNotFoundError(errno.ENOENT, "there is no `sleep` in /usr/bin or /bin, as coreutils have it")
    os.write(report, b"ready")
    os.execv(sleep, [sleep, _FOREVER])


if __name__ == "__main__":
    main()
