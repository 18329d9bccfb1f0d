"""`retic top`: who calls whom, how often, how fast, and what is refused; from what the Envoys count."""

import collections
import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from retic.cli import cluster, failure, running, show, which
from retic.control import model
from retic.telemetry import readings, table

REFRESH = 2.0  # seconds between two looks
MOST_ROWS = 40  # on a terminal
COLUMNS = (
    "source", "destination", "service", "protocol", "rps", "success", "p50", "p95", "p99", "identity", "refused/s",
    "refused by",
)  # fmt: skip
NOTHING = (
    "no requests and no connections in the last {0:g} s. Make some, for instance: "
    "retic exec POD -- curl http://SERVICE/, and look again"
)
Numbers = dict[str, readings.Reading]


def run(options: which.Options, *, namespace: str | None, window: float, as_json: bool) -> None:
    """Print it once, or again and again on a terminal until interrupted. Raises Failure."""
    if not 1 <= window <= 3600:
        raise failure.Failure(f"--window is from 1 to 3600 seconds, not {window:g}", code=2)
    where = which.mesh(options)
    if isinstance(where, cluster.Target):
        raise failure.Failure("retic top shows meshes on this machine, by --name; on a cluster, ask Prometheus")
    if as_json or not sys.stdout.isatty():
        before = _read(where, namespace)
        time.sleep(window)
        _print(_rows(before, _read(where, namespace), namespace, window), window, as_json=as_json)
        return
    with contextlib.suppress(KeyboardInterrupt):
        _live(where, namespace, window)


def _read(where: Any, namespace: str | None) -> Numbers:
    raw = running.ask(where, model.AskNumbers(namespace=namespace or ""))
    return {one.proxy: readings.parse(one.text) for one in msgspec.convert(raw, list[model.Numbers])}


def _rows(before: Numbers, after: Numbers, namespace: str | None, seconds: float) -> list[table.Row]:
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


def _live(where: Any, namespace: str | None, window: float) -> None:
    from rich import live, text

    looks: collections.deque[tuple[float, Numbers]] = collections.deque([(time.monotonic(), _read(where, namespace))])
    with live.Live(text.Text(f"counting: the first rows come in {REFRESH:g} s"), auto_refresh=False) as shown:
        while True:
            time.sleep(REFRESH)
            looks.append((time.monotonic(), _read(where, namespace)))
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
