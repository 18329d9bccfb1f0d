"""One row of the table: a mesh, loads, and one event for as long as they last."""

import contextlib
import datetime
import pathlib
import tempfile
from collections.abc import Iterator

import msgspec
from tools.lossless import events, loads, looks, shop

from retic.testing import running, wait


class Cell(msgspec.Struct, frozen=True):
    """What became of one protocol's requests; `p99_ms` and `max_ms` count from when a request was due. `queued_ms` is
    the longest that one waited at the client for a free connection. `lost_at`: when the first that were lost were due,
    in seconds since the epoch, and what became of them."""

    requests: int
    failed: int
    p99_ms: float
    max_ms: float
    failures: dict[str, int] = {}
    lost_at: list[tuple[float, str]] = []
    queued_ms: float = 0.0


class Row(msgspec.Struct, frozen=True):
    """One event: how often it happened in so many seconds, and what became of the requests. `idle`: which part of its
    processors' time the machine had left, of 1."""

    event: str
    seconds: float
    times: int
    date: str
    cells: dict[str, Cell]
    idle: float | None = None  # of rows that were measured before this was

    @property
    def lost(self) -> int:
        return sum(cell.failed for cell in self.cells.values())


@contextlib.contextmanager
def mesh_of(lifetime: int) -> Iterator[tuple[running.Mesh, shop.Shop]]:
    """A mesh with the shop, whose certificates live for so many seconds."""
    with tempfile.TemporaryDirectory(prefix="lossless-") as folder:
        servers = shop.Shop(pathlib.Path(folder) / "manifests")
        mesh = running.Mesh.up(servers.folder, nodes=2, extra=("--certificate-lifetime", str(lifetime)))
        try:
            yield mesh, servers
        finally:
            done = mesh.down()
            assert done.returncode == 0, done.stderr


def measured(
    mesh: running.Mesh, servers: shop.Shop, event: events.Event, seconds: float, *, pause: float = 0.0,
    rate: int = loads.RATE,
) -> Row:  # fmt: skip
    """The event again and again with `pause` seconds between, begun at most until the loads end."""
    wait.until(lambda: all(found := looks.pods(mesh).values()) and found, "all pods are ready", 60, every=0.2)
    times = 0
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    with loads.begun(mesh, seconds, rate) as running_loads:
        before = _processor()
        while running_loads.running():
            times += event.happen(mesh, servers, running_loads.running)
            running_loads.wait(pause)
        cells = {
            protocol: Cell(
                one["answered"] + one["failed"], one["failed"], one["percentiles_ms"]["p99"], one["max_ms"],
                one["failures"], one.get("first_failures", []), one["queued_ms"],
            )
            for protocol, one in running_loads.results().items()
        }  # fmt: skip
    idle, total = (now - then for now, then in zip(_processor(), before, strict=True))
    return Row(event.name, seconds, times, date, cells, idle / total)


def _processor() -> tuple[int, int]:
    """What this machine's processors have spent with nothing, and in all, in ticks (proc(5), /proc/stat). Time that a
    hypervisor gave to others is not idle."""
    with open("/proc/stat") as file:
        spent = [int(number) for number in file.readline().split()[1:9]]
    return spent[3] + spent[4], sum(spent)
