"""What a user should know: a fault with its place in the objects, a finding with its place in the files.

`Fault` is what rooms that see objects produce: it names a field, not a line, so that a comment which
shifts lines changes no fault. `Finding` is what people and programs read: the same, with file and line.
Codes stand in `retic.findings.catalogue`; a code never changes its meaning. Nothing here prints.
"""

import enum

import msgspec


class Severity(enum.StrEnum):
    """`error`: not applied, or refuses traffic. `warning`: applied, but hardly what was meant. `info`."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Ref(msgspec.Struct, frozen=True, order=True):
    """An object by kind, namespace ("" when it has none) and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Fault(msgspec.Struct, frozen=True):
    """One fault of one object. `path` is the field's, such as `spec.rules[0].backendRefs[1].name`."""

    code: str
    object: Ref
    path: str
    message: str
    fix: str


class Finding(msgspec.Struct, frozen=True):
    """A fault as shown: `{code, severity, object, file, line, message, fix, url}`, everywhere the same."""

    code: str
    severity: Severity
    object: str
    file: str
    line: int
    message: str
    fix: str
    url: str
