"""The pages of docs/reference/, from the command line's own words and the tables of `retic.objects`.

`tools/archdoc.py` writes and checks them with the rest.
"""

import ast
import functools
import pathlib
import typing
from collections.abc import Iterator

import msgspec
import typer

from retic import objects
from retic.cli import app
from retic.objects import meta, unread

COLUMNS = 100
SOURCE = pathlib.Path(__file__).resolve().parents[1] / "src" / "retic"
READERS = ("answers", "cli", "control", "envoy", "explain", "local", "mesh", "wiring")


def commands() -> str:
    """docs/reference/commands.md: every command's help, as it is printed."""
    group: typing.Any = typer.main.get_command(app.app)
    root = group.context_class(group, info_name="retic", terminal_width=COLUMNS, **group.context_settings)
    out = [
        "# Commands",
        "",
        "<!-- Written by `make docs` from the command line's own help. -->",
        "",
        "`retic COMMAND --help` prints the same. Exit codes: 0 when all is well; 1 when something is wrong, "
        "which is said in a",
        "line on the error stream; 2 for a command line that cannot be read; 130 after Ctrl-C. `exec` returns "
        "its command's.",
    ]
    for name, command in group.commands.items():
        context = command.context_class(
            command, info_name=name, parent=root, terminal_width=COLUMNS, **command.context_settings
        )
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        out += ["", f"## {name}", "", "```", text, "```"]
    return "\n".join(out) + "\n"


def _inside(annotation: object) -> Iterator[type[meta.Part]]:
    """The structs within a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, meta.Part):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _inside(part)


def _structs(top: type[meta.Part], seen: dict[type[meta.Part], None]) -> None:
    """`top` and all that is in it, each once, in the order of its fields."""
    if top in seen:
        return
    seen[top] = None
    for field, annotation in typing.get_type_hints(top).items():
        if field == "status":
            continue
        for inner in _inside(annotation):
            _structs(inner, seen)


@functools.cache
def _used() -> frozenset[str]:
    """Every field that somebody takes, or fills in, who does more than check and copy."""
    files = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0].removesuffix(".py") in READERS]
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(attr=word) | ast.keyword(arg=str(word)) | ast.Constant(value=str(word)):
                    found.add(word)
    return frozenset(found)


def _reads(field: msgspec.structs.FieldInfo) -> bool:
    return field.name in _used() or field.encode_name in _OWN


def _row(struct: type[meta.Part], top: bool) -> str:
    fields = [field for field in msgspec.structs.fields(struct) if not (top and field.name in ("metadata", "status"))]
    all_read = struct.__name__ in _BY_PRESENCE
    read = [field.encode_name for field in fields if all_read or _reads(field)]
    idle = [field.encode_name for field in fields if not all_read and not _reads(field)]
    words = sorted(unread.names(struct) - ({"apiVersion", "kind", "status"} if top else set()))
    cells = (", ".join(f"`{name}`" for name in names) or "-" for names in (read, idle, words))
    return f"| {struct.__name__} | {' | '.join(cells)} |"


# Read by methods of the structs themselves, or by being there: kinds of volumes, filters and what is in them.
_OWN = frozenset({"matchExpressions", "operator", "extensionRef", "externalAuth", "cors"})
_BY_PRESENCE = frozenset({"Volume", "CORS"})
_PREFACE = """# Manifests

<!-- Written by `make docs` from the tables of retic.objects. -->

Which kinds and fields of Kubernetes and the Gateway API mean something to Retic.

- **read**: it has an effect, or a finding says what is not carried out
  ([RT0205](../findings.md#rt0205) for routes, [RT0503](../findings.md#rt0503) for local mode).
- **checked only**: its form is checked, and that is all today. Nothing says so when you write it.
- **not looked at**: legal, and passed over in silence, so that manifests made for a cluster can stay as they
  are.

A field in no column is a finding ([RT0005](../findings.md#rt0005)): most likely a typo. Kinds that are not
listed are [RT0003](../findings.md#rt0003), or [RT0014](../findings.md#rt0014) when a cluster has them anyway.

The first two columns are told apart by looking through the code for the field's name, so a field that shares
its name with another may stand in the first by mistake."""


def manifests() -> str:
    """docs/reference/manifests.md: kinds with their versions, then the fields of each struct."""
    out = [_PREFACE, "", "## Kinds", "", "| kind | API versions | namespaced |", "|---|---|---|"]
    for name, kind in objects.KINDS.items():
        versions = ", ".join(f"`{one}`" for one in kind.api_versions)
        out.append(f"| {name} | {versions} | {'yes' if kind.namespaced else 'no'} |")
    seen: dict[type[meta.Part], None] = {}
    parts: dict[str, list[type[meta.Part]]] = {"What every object has": [meta.Metadata]}
    _structs(meta.Metadata, seen)
    parts["What every object has"] = list(seen)
    for name, kind in objects.KINDS.items():
        before = len(seen)
        _structs(kind.struct, seen)
        parts[name] = list(seen)[before:]
    tops = {kind.struct for kind in objects.KINDS.values()}
    out += ["", "## Fields", "", "Each structure stands where it is first used; `metadata` and `status` "
            "are left out of the rows: the first is the same for all, the second is written, not read."]
    for name, structs in parts.items():
        out += ["", f"### {name}", "", "| structure | read | checked only | not looked at |", "|---|---|---|---|"]
        out += [_row(struct, struct in tops) for struct in structs]
    return "\n".join(out) + "\n"
