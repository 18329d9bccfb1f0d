"""Starts what needs no mesh: plain pods, and pods with the pair of Envoys configured by hand.

Gives the paths through them, `near` (both pods on one node) and `far` (on two).
"""

import contextlib
import http.client
import pathlib
import socket
from collections.abc import Callable, Iterator

from tools.bench import certificates, generators, lab, pair, places, ports

from retic.node import envoy
from retic.testing import wait

PLAIN, PAIR = "no mesh", "hand-written pair"
Change = Callable[[pair.Json], None]
"""Changes a bootstrap in place: what a feature costs is measured with it."""


def as_is(_: pair.Json) -> None:
    """Changes nothing."""


class Bench:
    """The namespaces, and the processes in them."""

    def __init__(
        self, folder: pathlib.Path, pods: dict[str, lab.Pod], crew: places.Crew, served: tuple[ports.Protocol, ...]
    ) -> None:
        self._folder = folder
        self._pods = pods
        self._crew = crew
        self._served = served
        self._holders = certificates.make(folder / "ca")

    def pod(self, name: str) -> lab.Pod:
        """One of the namespaces."""
        return self._pods[name]

    def plain(self, client: str, server: str, name: str) -> generators.Path:
        """From a pod straight to another."""
        self._serve(server)
        return generators.Path(name, self._pods[client].place, self._pods[server].address, ())

    def proxied(
        self, client: str, server: str, name: str, workers: int,
        changes: tuple[Change, Change] = (as_is, as_is), *, rules: bool = True,
    ) -> generators.Path:
        """From a pod through an Envoy of its own and one of the other pod's, of `workers` threads each.

        Without `rules` nothing is redirected: the caller must see to it.
        """
        self._serve(server)
        change_client, change_server = changes
        target = self._pods[server].address
        pids = (
            self._proxy(client, pair.client(self._make(client), self._holders[0], target), workers, change_client),
            self._proxy(server, pair.server(self._make(server), self._holders[1], target), workers, change_server),
        )
        if rules:
            self._pods[client].place.run(["nft", "-f", "-"], given=pair.CLIENT_RULES, seconds=10)
            self._pods[server].place.run(["nft", "-f", "-"], given=pair.SERVER_RULES, seconds=10)
        return generators.Path(name, self._pods[client].place, target, pids)

    def statistic(self, pod: str, name: str) -> int:
        """A counter of the pod's Envoy, by its whole name."""
        said = _admin(self._folder / pod / "admin.sock", f"/stats?filter=^{name}$")
        return int(said.rpartition(":")[2])

    def _make(self, pod: str) -> pathlib.Path:
        folder = self._folder / pod
        folder.mkdir(exist_ok=True)
        return folder

    def _serve(self, pod: str) -> None:
        for protocol in self._served:
            self._crew.serve(self._pods[pod].place, protocol.server())

    def _proxy(self, pod: str, config: pair.Json, workers: int, change: Change) -> int:
        change(config)
        command = pair.command(envoy.binary(), pair.write(config), workers)
        log = self._folder / pod / "envoy.log"
        with log.open("wb") as file:
            child = self._pods[pod].place.popen(command, stdout=file, stderr=file)
        self._crew.add(child)
        admin = self._folder / pod / "admin.sock"

        def ready() -> bool:
            if child.poll() is not None:
                raise RuntimeError(f"Envoy ended:\n{log.read_text()[-3000:]}")
            return _live(admin)

        wait.until(ready, f"Envoy of {pod} is live", seconds=20)
        return child.pid


def _live(path: pathlib.Path) -> bool:
    try:
        return _admin(path, "/ready").startswith("LIVE")
    except OSError:
        return False


def _admin(path: pathlib.Path, page: str) -> str:
    connection = http.client.HTTPConnection("envoy")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        connection.sock = sock
        connection.request("GET", page)
        return connection.getresponse().read().decode()


@contextlib.contextmanager
def started(
    folder: pathlib.Path, pods: list[str], served: tuple[ports.Protocol, ...] = tuple(ports.Protocol)
) -> Iterator[Bench]:
    """Make the pods (`NAME@NODE`); everything in them is ended with the block."""
    with lab.pods(folder / "lab", pods) as made, places.Crew() as crew:
        yield Bench(folder, made, crew, served)


PODS = ["client@1", "near@1", "far@2", "pair-a@1", "pair-near@1", "pair-b@1", "pair-far@2"]


def paths(bench: Bench, *, near: int, far: int) -> list[generators.Path]:
    """The four paths without Retic; `near` and `far` are the worker threads of each Envoy."""
    return [
        bench.plain("client", "near", f"{PLAIN}, near"),
        bench.plain("client", "far", f"{PLAIN}, far"),
        bench.proxied("pair-a", "pair-near", f"{PAIR}, near", near),
        bench.proxied("pair-b", "pair-far", f"{PAIR}, far", far),
    ]
