"""How things look on the terminal: tables without frames, findings as file:line, colour only on one."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from retic import findings


def json(value: Any) -> None:
    """Print a value as indented JSON."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns' names; nothing when there are none. Never cut when piped."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return
    from rich import console
    from rich import table as tables

    out = console.Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())
    if title:
        out.print(title, style="bold")
    shown = tables.Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for column in columns:
        shown.add_column(column.upper(), overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in cells:
        shown.add_row(*row)
    if not sys.stdout.isatty():
        out.width = max(out.width, sum(max(len(row[i]) for row in cells) + 20 for i in range(len(columns))))
    out.print(shown)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value) or "-"
    return str(value) if value not in (None, "") else "-"


def finding(found: findings.Finding) -> str:
    """One finding as one line: `file:line: severity CODE object: message (fix)`."""
    place = f"{near(found.file)}:{found.line}: " if found.file else ""
    about = f" {found.object}" if found.object else ""
    fix = f" ({found.fix})" if found.fix else ""
    return f"{place}{found.severity.value} {found.code}{about}: {found.message}{fix}"


def near(file: str) -> str:
    """An absolute path below the current folder as a relative one; others as they are."""
    here = os.path.join(os.getcwd(), "")
    return file.removeprefix(here) if os.path.isabs(file) else file


def print_findings(found: Iterable[findings.Finding], *, to_errors: bool = False) -> None:
    """Print each as a line."""
    for one in found:
        print(finding(one), file=sys.stderr if to_errors else sys.stdout, flush=True)
