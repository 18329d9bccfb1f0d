"""The table of lost requests, for people."""

import pathlib
from collections.abc import Sequence

from tools.bench import machine
from tools.lossless import events, loads, row

BEGIN, END = "<!-- lossless: begin -->", "<!-- lossless: end -->"


def line(one: row.Row) -> str:
    """A row in one line, with what went wrong."""
    cells = "; ".join(
        f"{protocol}: {cell.requests} requests, {cell.failed} lost, p99 {cell.p99_ms:.0f} ms, at most {cell.max_ms:.0f}"
        + f" (at the client {cell.queued_ms:.0f})"
        + (f" {cell.failures}" if cell.failures else "")
        for protocol, cell in one.cells.items()
    )
    return f"{one.event} ({one.times} times in {one.seconds:.0f} s): {cells}"


def markdown(rows: Sequence[row.Row]) -> str:
    """A table with three columns for each protocol, and what is missed in a sentence."""
    where = machine.here()
    protocols = list(loads.PROTOCOLS)
    heads = [f"{protocol}: requests, lost, p99 ms" for protocol in protocols]
    lines = [
        f"On {where.cores} cores ({where.processor}), Linux {where.kernel}, Envoy {where.envoy}.",
        "",
        "**Rows that miss the aim**: " + (", ".join(one.event for one in rows if one.lost) or "none") + ".",
        "",
        "| event | happened | " + " | ".join(heads) + " |",
        "|---|---|" + "---|" * len(heads),
    ]
    for one in rows:
        cells = [
            f"{cell.requests:,}, **{cell.failed}**, {cell.p99_ms:.1f}" for cell in map(one.cells.__getitem__, protocols)
        ]
        about = f"{events.EVENTS[one.event].about} (`{one.event}`)"
        lines.append(f"| {about} | {one.times} times in {one.seconds:.0f} s, {one.date} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(document: pathlib.Path, rows: Sequence[row.Row]) -> None:
    """Put the table between the marks. ValueError when they are not there."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} must have a line {BEGIN} and after it a line {END}")
    document.write_text(f"{before}{BEGIN}\n\n{markdown(rows)}\n\n{END}{after}")
