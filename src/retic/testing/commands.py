"""A running mesh as commands see it: its state folder and its two sockets, without namespaces or Envoy.

The sockets are served on a thread of their own, so that commands, which are synchronous, can be called
from the test. What they answer is in the attributes, which a test sets.
"""

import asyncio
import contextlib
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from retic import findings
from retic.control import model, server, service
from retic.local import state
from retic.local.sandbox import kernel
from retic.testing import control


class Mesh:
    """The mesh. `objects`, then `events`: the watch; `status`, `settled` (after so many seconds at most, having
    made the file `asked`): what the first process says; `inside`: of each container by namespace/pod/container.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.queries = control.Queries()
        self.objects: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.settled_after = 0.0
        self.inside: dict[str, dict[str, Any]] = {}
        self.status: dict[str, Any] = {"processes": [], "gateways": [], "pods": []}
        self.settled: dict[str, Any] = {"ready": True, "reasons": []}

    def publish(self, *found: findings.Finding) -> None:
        """The findings from now on; returns when every follower has been woken."""
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(self.queries.publish(*found), self.loop).result(10)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to cluster.sock."""
        request = msgspec.json.decode(await reader.readline())
        if "settle" in request:
            (self.folder / "asked").touch()
            await asyncio.sleep(min(request["settle"], self.settled_after))
            lines = [self.settled]
        elif request.get("get") == "inside":
            which = "/".join(request[part] for part in ("namespace", "pod", "container"))
            lines = [self.inside.get(which, {"why": "nothing of the pod runs"})]
        elif "get" in request:
            lines = [self.status]
        else:
            lines = [{"type": "ADDED", "object": one, "position": None} for one in self.objects]
            lines += [{"type": "SYNCED"}, *self.events]
        with contextlib.suppress(OSError):
            for line in lines:
                writer.write(msgspec.json.encode(line) + b"\n")
            await writer.drain()
        writer.close()


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[Mesh]:
    """A mesh in `folder` that counts as running for as long as this process lives, or the block lasts."""
    mesh = Mesh(folder)
    ready, done = threading.Event(), asyncio.Event()
    loop = mesh.loop = asyncio.new_event_loop()
    begun = kernel.start_time(os.getpid()) or 0
    alive = state.Running(
        outer_pid=os.getpid(), outer_start=begun, cluster_pid=os.getpid(), cluster_start=begun
    )
    state.write(folder / "outer.json", alive)

    async def serve() -> None:
        answers = server.Server(service.Service(mesh.queries, folder), folder / "control.sock")
        await answers.start()
        first = await asyncio.start_unix_server(mesh.answer, str(folder / "cluster.sock"))
        ready.set()
        await done.wait()
        first.close()
        await answers.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the sockets were not made")
    try:
        yield mesh
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
        (folder / "outer.json").unlink()


def main() -> None:
    """`python -m retic.testing.commands --config STATE/cluster.json`, as pid 1: quiet until SIGTERM.

    `settled`, `settled_after` and `convergence` come as JSON in RETIC_TEST_ANSWERS.
    """
    folder = pathlib.Path(sys.argv[2]).parent
    answers = msgspec.json.decode(os.environ.get("RETIC_TEST_ANSWERS", "{}"))
    asyncio.run(_quiet(folder, answers))


async def _quiet(folder: pathlib.Path, answers: dict[str, Any]) -> None:
    mesh = Mesh(folder)
    mesh.settled = answers.get("settled", mesh.settled)
    mesh.settled_after = answers.get("settled_after", 0.0)
    mesh.queries.convergence = msgspec.convert(answers.get("convergence", {"ready": True}), model.Converged)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    answering = server.Server(service.Service(mesh.queries, folder), folder / "control.sock")
    await answering.start()
    first = await asyncio.start_unix_server(mesh.answer, str(folder / "cluster.sock"))
    await ended.wait()
    first.close()
    await answering.close()


if __name__ == "__main__":
    main()
