"""`retic top`: who calls whom, how often, how fast, and what is refused; from what the Envoys count."""

import asyncio
import collections
import pathlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from retic.cli import cluster, failure, far, ps_cluster, running, show, which
from retic.control import model
from retic.telemetry import readings, table

REFRESH = 2.0  # seconds between two looks
MOST_ROWS = 40  # on a terminal
COLUMNS = (
    "source", "destination", "service", "protocol", "rps", "success", "p50", "p95", "p99", "identity", "refused/s",
    "refused by",
)  # fmt: skip
NOTHING = (
    "no requests and no connections in the last {0:g} s. Make some, for instance (on this machine): "
    "retic exec POD -- curl http://SERVICE/, and look again"
)
Numbers = dict[str, readings.Reading]
Look = Callable[[], Awaitable[Numbers]]


def run(options: which.Options, *, namespace: str | None, window: float, as_json: bool) -> None:
    """Print it once, or again and again on a terminal until interrupted. Raises Failure."""
    if not 1 <= window <= 3600:
        raise failure.Failure(f"--window is from 1 to 3600 seconds, not {window:g}", code=2)
    where = which.mesh(options)
    lasts = not as_json and sys.stdout.isatty()

    async def show_it(look: Look, only: str) -> None:
        await (_live(look, only, window) if lasts else _once(look, only, window, as_json=as_json))

    try:
        if isinstance(where, cluster.Target):
            _far(where, namespace or "", show_it)
        else:
            asyncio.run(show_it(_local(where, namespace or ""), namespace or ""))
    except KeyboardInterrupt:
        if not lasts:
            raise


def _local(where: pathlib.Path, namespace: str) -> Look:
    async def look() -> Numbers:
        return _numbers(msgspec.convert(running.ask(where, model.AskNumbers(namespace)), list[model.Numbers]))

    return look


def _far(target: cluster.Target, namespace: str, show_it: Callable[[Look, str], Awaitable[None]]) -> None:
    async def work(mesh: far.Far) -> None:
        mesh.traffic.check_namespace(namespace)

        async def look() -> Numbers:
            found = await mesh.agents.numbers()
            mesh.heard()
            return _numbers(found)

        await look()  # so that all commands run when it is counted first
        ps_cluster.notes(mesh.unseen)
        await show_it(look, namespace or mesh.traffic.only)

    far.run(target, namespace, work)


def _numbers(found: Iterable[model.Numbers]) -> Numbers:
    return {one.proxy: readings.parse(one.text) for one in found}


async def _once(look: Look, namespace: str, window: float, *, as_json: bool) -> None:
    before = await look()
    await asyncio.sleep(window)
    _print(_rows(before, await look(), namespace, window), window, as_json=as_json)


def _rows(before: Numbers, after: Numbers, namespace: str, seconds: float) -> list[table.Row]:
    """Of proxies that there were twice: all that one has counted in its life is not of the last seconds."""
    both = [name for name in after if name in before]
    found = table.rows([before[name] for name in both], [after[name] for name in both], seconds)
    return list(table.of_namespace(found, namespace)) if namespace else found


def _print(rows: Sequence[table.Row], window: float, *, as_json: bool) -> None:
    if as_json:
        show.json({"rows": rows})
    elif rows:
        show.table("", COLUMNS, map(_cells, rows))
    else:
        print(NOTHING.format(window))


async def _live(look: Look, namespace: str, window: float) -> None:
    from rich import live, text

    begin = await look()
    looks: collections.deque[tuple[float, Numbers]] = collections.deque([(time.monotonic(), begin)])
    with live.Live(text.Text(f"counting: the first rows come in {REFRESH:g} s"), auto_refresh=False) as shown:
        while True:
            await asyncio.sleep(REFRESH)
            found = await look()
            looks.append((time.monotonic(), found))
            while len(looks) > 2 and looks[-1][0] - looks[1][0] >= window:
                looks.popleft()
            seconds = looks[-1][0] - looks[0][0]
            shown.update(_picture(_rows(looks[0][1], looks[-1][1], namespace, seconds), seconds), refresh=True)


def _picture(rows: Sequence[table.Row], seconds: float) -> Any:
    from rich import console, text
    from rich import table as tables

    if not rows:
        return text.Text(NOTHING.format(round(seconds)))
    shown = tables.Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for column in COLUMNS:
        shown.add_column(column.upper(), overflow="fold")
    for row in rows[:MOST_ROWS]:
        shown.add_row(*(str(cell or "-") for cell in _cells(row)))
    hidden = len(rows) - MOST_ROWS
    last = f"\nlast {seconds:.0f} s" + (f", {hidden} rows more: -n NAMESPACE shows fewer" if hidden > 0 else "")
    return console.Group(shown, text.Text(last, style="dim"))


def _cells(row: table.Row) -> Sequence[object]:
    refused = f"{row.refused_rps:.1f}" if row.refused_rps else ""
    return (
        row.source, row.destination, row.service, row.protocol, f"{row.rps:.1f}", f"{row.success:.1%}",
        *(_milliseconds(each) for each in (row.p50_ms, row.p95_ms, row.p99_ms)),
        row.identity, refused, row.refused_by,
    )  # fmt: skip


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"
