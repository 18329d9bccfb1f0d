"""Where objects stand in the files: faults become findings with a file and a line."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from retic import findings
from retic.findings import catalogue


class Position(Protocol):
    """Where one object was written; `at` gives the line of a field, or of the nearest around it."""

    @property
    def file(self) -> str:
        """As the user named it."""
        ...

    @property
    def line(self) -> int:
        """Where the object begins, from 1."""
        ...

    def at(self, path: str) -> int:
        """The line of a field such as `spec.rules[0].name`."""
        ...


_RANK = {severity: rank for rank, severity in enumerate(findings.Severity)}


def located(
    faults: Iterable[findings.Fault], positions: Mapping[findings.Ref, Position]
) -> tuple[findings.Finding, ...]:
    """Each fault once, with its place; file "" and line 0 when the object was written in no file.

    Raises KeyError for a code that is not in the catalogue: a programming fault.
    """
    return ordered(_finding(fault, positions.get(fault.object)) for fault in faults)


def _finding(fault: findings.Fault, position: Position | None) -> findings.Finding:
    if position is None:
        return catalogue.finding(fault, "", 0)
    return catalogue.finding(fault, position.file, position.at(fault.path))


def ordered(found: Iterable[findings.Finding]) -> tuple[findings.Finding, ...]:
    """Without repetitions, in the order of the files; in one place errors come first."""
    return tuple(sorted(set(found), key=_order))


def _order(finding: findings.Finding) -> tuple[str, int, int, str, str, str]:
    return (
        finding.file, finding.line, _RANK[finding.severity], finding.code, finding.object, finding.message,
    )
