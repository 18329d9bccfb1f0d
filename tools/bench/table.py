"""What a measurement gives back: titled tables, and which aims were missed."""

from collections.abc import Sequence

import msgspec


class Table(msgspec.Struct, frozen=True):
    """Rows of text below a head; `missed` names, in a sentence each, the aims that were missed."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    missed: tuple[str, ...] = ()

    def markdown(self) -> str:
        """As a table of GitHub's Markdown, columns aligned for reading as text."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        shown = [_line(line, widths) for line in lines]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([f"### {self.title}", "", shown[0], rule, *shown[1:]]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
