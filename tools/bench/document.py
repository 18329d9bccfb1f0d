"""The part of docs/benchmarks.md that a run writes, between two markers; the prose around it is left alone."""

import pathlib
from collections.abc import Sequence

from tools.bench import generators, machine, table

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def text(command: str, where: machine.Machine, tables: Sequence[table.Table], minutes: float) -> str:
    """The results as Markdown."""
    loads = ", ".join(f"{protocol}: {tool}" for protocol, tool in generators.tools().items())
    missed = [sentence for one in tables for sentence in one.missed]
    lines = [
        f"`{command}`, {where.date}, {minutes:.0f} minutes, on {where.cores} cores ({where.processor}), "
        f"Linux {where.kernel}, Envoy {where.envoy}, Python {where.python}. "
        f"Load at saturation by {loads}; at a fixed rate by retic.testing.load.",
        "",
        "**Aims missed**" + ("" if missed else ": none that the spread bears out."),
        "",
        *(f"- {sentence}" for sentence in missed),
        *([""] if missed else []),
    ]
    return "\n".join(lines) + "\n" + "\n".join(one.markdown() for one in tables)


def replace(document: pathlib.Path, generated: str) -> None:
    """Put the text between the markers. ValueError when they are not there, once and in order."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{document} must have one line {BEGIN} and after it one line {END}")
    document.write_text(f"{before}{BEGIN}\n\n{generated}\n{END}{after}")
