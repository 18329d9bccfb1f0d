"""A mesh without a mesh: the first process of real namespaces, which does what a test asks by a socket.

`python -m retic.testing.bare_mesh --config STATE/cluster.json` takes the place of the cluster. It answers
lines of JSON at STATE/control.sock: `[verb, {arguments}]` -> `{"ok": value}` or `{"error": text}`. Refuses to
decide anything: pods, commands, ingress and egress are made as asked.
"""

import argparse
import asyncio
import json
import os
import pathlib
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from retic.local import broker, egress, state, supervisor
from retic.local.sandbox import fabric

Json = Any

_LINE = 8 * 1024 * 1024


class BareMesh:
    """The verbs. All pids in answers are the host's."""

    def __init__(self, folder: pathlib.Path, fab: fabric.Fabric, outside: broker.Client) -> None:
        self._folder = folder
        self._fabric = fab
        self._broker = outside
        self._egress = egress.Egress(outside)
        self._ingress = egress.Ingress(outside)
        self._supervisor = supervisor.Supervisor(fab, folder / "logs")
        self._background: list[fabric.Process] = []

    async def add_pod(self, uid: str, node: str, ip: str, **more: Json) -> Json:
        volumes = [fabric.Volume(**volume) for volume in more.pop("volumes", [])]
        given = {"namespace": "shop", "name": uid, "hostname": uid, **more}
        made = await self._fabric.add_pod(uid, node=node, ip=ip, volumes=volumes, **given)
        return {"host_pid": made.host_pid, "netns_path": made.netns_path}

    async def remove_pod(self, uid: str) -> Json:
        await self._fabric.remove_pod(uid)

    async def run(self, argv: list[str], pod: str | None = None, **more: Json) -> Json:
        """Run to the end: code and output."""
        with tempfile.TemporaryFile(dir=self._folder) as out:
            process = await self._spawn(argv, pod, out.fileno(), more)
            code = await process.wait()
            out.seek(0)
            return {"code": code, "output": out.read().decode(), "host_pid": process.host_pid}

    async def start(self, argv: list[str], pod: str | None = None, **more: Json) -> Json:
        """Start, and let run: its host pid."""
        process = await self._spawn(argv, pod, 2, more)
        self._background.append(process)
        return process.host_pid

    async def abandon(self, argv: list[str], pod: str | None = None) -> Json:
        """Ask for a command and cancel the asking once it is on its way."""
        asking = asyncio.ensure_future(self._spawn(argv, pod, 2, {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        return asking.cancelled()

    async def wait(self, host_pid: int) -> Json:
        return await next(process for process in self._background if process.host_pid == host_pid).wait()

    async def egress(self) -> Json:
        await self._egress.start()

    async def publish(self, ip: str, port: int, wanted: int) -> Json:
        return (await self._ingress.publish(ip, port, wanted)).port

    async def withdraw(self, ip: str, port: int) -> Json:
        await self._ingress.withdraw(ip, port)

    async def udp(self, host: str, port: int, text: str) -> Json:
        """Send one datagram from the host's network and return the answer."""
        loop = asyncio.get_running_loop()
        sock = await self._broker.udp()
        with sock:
            await loop.sock_sendto(sock, text.encode(), (host, port))
            return (await loop.sock_recv(sock, 1000)).decode()

    async def connect(self, host: str, port: int) -> Json:
        (await self._broker.connect(host, port)).close()

    async def supervise(self, role: str, name: str, argv: list[str], **more: Json) -> Json:
        await self._supervisor.add(
            supervisor.Command(role=role, name=name, argv=tuple(argv), env=dict(os.environ), **more)
        )

    async def processes(self) -> Json:
        running = self._supervisor.processes()
        return [{"role": one.role, "name": one.name, "pid": one.pid} for one in running]

    async def stop_supervised(self, role: str, name: str) -> Json:
        await self._supervisor.remove(role, name)

    async def _spawn(self, argv: list[str], pod: str | None, out: int, more: Json) -> fabric.Process:
        env = {**os.environ, **more.pop("env", {})}
        sandbox = self._fabric.pods()[pod] if pod else None
        return await self._fabric.spawn(sandbox, argv, env=env, stdout=out, stderr=out, **more)

    async def answer(self, line: bytes) -> Json:
        verb, arguments = json.loads(line)
        try:
            verbs: Callable[..., Awaitable[Json]] = getattr(self, verb)
            return {"ok": await verbs(**arguments)}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    async def close(self) -> None:
        await self._supervisor.close()
        self._fabric.close()


async def _main(config: state.Config) -> None:
    folder = pathlib.Path(config.state)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    outside = broker.inherited()
    fab = await fabric.Fabric.start(folder, config.nodes)
    mesh = BareMesh(folder, fab, outside)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await mesh.answer(line)).encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, folder / "control.sock", limit=_LINE)
    waits = [asyncio.ensure_future(one.wait()) for one in (ended, outside.lost, fab.lost)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    server.close()
    await mesh.close()


def listens(folder: pathlib.Path) -> bool:
    """Whether it can be asked: its socket's file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(folder / "control.sock")) == 0


def call(folder: pathlib.Path, verb: str, **arguments: Json) -> Json:
    """Ask the bare mesh whose state is in `folder`. Raises RuntimeError with its error."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(folder / "control.sock"))
        sock.sendall(json.dumps([verb, arguments]).encode() + b"\n")
        answer = json.loads(sock.makefile("rb").readline())
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["ok"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=pathlib.Path, required=True)
    asyncio.run(_main(state.read_config(parser.parse_args().config)))
