"""The pages of docs/reference/, from the command line's own words and the tables of `retic.objects`.

`tools/archdoc.py` writes and checks them with the rest.
"""

import ast
import enum
import functools
import pathlib
import typing
from collections.abc import Callable, Iterator

import msgspec
import typer

import fields
from retic import objects
from retic.cli import app
from retic.install import values as installing
from retic.install.checks import catalogue
from retic.objects import guarded, meta, unread
from retic.sources import shapes

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
        "line on the error stream; 2 for a command line that cannot be read; 130 after Ctrl-C, but 0 for `up` "
        "in the",
        "foreground, which Ctrl-C ends in order. `exec` returns its command's.",
    ]
    return "\n".join([*out, *_helps(group, root, "")]) + "\n"


def _helps(group: typing.Any, parent: typing.Any, before: str) -> Iterator[str]:
    """The help of each command of the group, and of those below it."""
    for name, command in group.commands.items():
        context = command.context_class(
            command, info_name=name, parent=parent, terminal_width=COLUMNS, **command.context_settings
        )
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        yield from ("", f"## {before}{name}", "", "```", text, "```")
        if hasattr(command, "commands"):
            yield from _helps(command, context, f"{before}{name} ")


def values() -> str:
    """docs/reference/values.md: every value of an installation, in the order of the chart's values.yaml."""
    out = [
        "# Values",
        "",
        "<!-- Written by `make docs` from src/retic/install/values.py. -->",
        "",
        "What can be set at an installation: with `--set NAME=VALUE`, in a YAML file given to `-f`, or as values of",
        "the Helm chart. Whatever is not set has the default of the version that is installed.",
        "",
        "| name | default | what it is |",
        "|---|---|---|",
    ]
    for one in installing.settings():
        words = [f"`{each}`" for each in one.type] if isinstance(one.type, enum.EnumMeta) else []
        choices = f" One of {', '.join(words)}." if words else ""
        shown = "-" if one.default is None else f"`{msgspec.json.encode(one.default).decode()}`"
        out.append(f"| `{one.name}` | {shown} | {one.description}{choices} |")
    return "\n".join(out) + "\n"


_CHECKS_HEAD = """# Checks

<!-- Written by `make docs` from src/retic/install/checks/catalogue.py. -->

What `retic check` asks a cluster, and what to do when an answer is not the right one. An **error** makes the command
exit with 1; a **warning** does not; **information** is never wrong. Checks marked *beforehand* are those of
`retic check --pre`."""


def checks() -> str:
    """docs/checks.md: every check by its section."""
    out, section = [_CHECKS_HEAD], ""
    words = {"error": "error", "warning": "warning", "info": "information"}
    for one in catalogue.CHECKS.values():
        if one.section != section:
            out += ["", f"## {one.section}"]
            section = one.section
        marks = f"**{words[one.severity.value]}**" + (", *beforehand*" if one.pre else "")
        claim = f"{one.claim[0].upper()}{one.claim[1:]}"
        out += ["", f'### <a id="{one.id}"></a>{one.id}', "", f"{claim} ({marks}). {one.why}"]
        if one.hint:
            out += ["", f"What to do: {one.hint}."]
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


def _column(struct: type[meta.Part], name: str, *, used: bool) -> int:
    """0: it has an effect, 1: a finding says that it has none, 2: it has none in silence.

    ValueError for a field that nobody uses and that no list of tools/fields.py has.
    """
    if fields.said(struct.__name__, name):
        return 1
    if fields.silent(struct.__name__, name):
        return 2
    if used:
        return 0
    raise ValueError(f"{struct.__name__}.{name} has no effect, and tools/fields.py does not say why")


def _row(struct: type[meta.Part], top: bool) -> str:
    columns: list[list[str]] = [[], [], []]
    for field in msgspec.structs.fields(struct):
        if field.encode_name == guarded.UNREAD:
            continue  # what nobody writes
        if not (top and field.name in ("metadata", "status")):
            used = field.name in _used() or field.encode_name in _OWN
            columns[_column(struct, field.encode_name, used=used)].append(field.encode_name)
    for name in sorted(unread.names(struct) - ({"apiVersion", "kind", "status"} if top else set())):
        columns[_column(struct, name, used=False)].append(name)
    cells = [", ".join(f"`{name}`" for name in columns[0])]
    cells.append(_grouped(columns[1], lambda name: _link(fields.said(struct.__name__, name))))
    cells.append(_grouped(columns[2], lambda name: str(fields.silent(struct.__name__, name))))
    return f"| {struct.__name__} | {' | '.join(cell or '-' for cell in cells)} |"


def _grouped(names: list[str], mark: Callable[[str], str]) -> str:
    """Names with the mark of each group behind it."""
    by_mark: dict[str, list[str]] = {}
    for name in names:
        by_mark.setdefault(mark(name), []).append(f"`{name}`")
    return "; ".join(f"{', '.join(group)} ({mark})" for mark, group in by_mark.items())


def _link(code: str) -> str:
    return f"[{code}](../findings.md#{code.lower()})"


# Read by methods of the structs themselves, or by being there: kinds of volumes and what is in them.
_OWN = frozenset({"matchExpressions", "operator", "emptyDir"})
_HEAD = "| structure | has an effect | a finding says so | silently without |"
_PREFACE = """# Manifests

<!-- Written by `make docs` from the tables of retic.objects and tools/fields.py. -->

Which kinds and fields of Kubernetes and the Gateway API mean something to Retic.

- **has an effect**: what it has in a cluster.
- **a finding says so**: it has no effect, or not every value has; where a value asks for more than happens, a
  finding names file, line and what happens instead. A value that asks for what happens anyway has none.
- **silently without**: no effect, and no finding, for the reason with that number [below](#why-nothing-is-said).

Findings of the mesh ([RT0110](../findings.md#rt0110), [RT0308](../findings.md#rt0308),
[RT0205](../findings.md#rt0205)) hold wherever it runs. Those of local mode are warnings where pods or traffic
differ from a cluster's ([RT0503](../findings.md#rt0503)) and for your information where only the machine does
([RT0507](../findings.md#rt0507)); there is one for each field of a pod template, at the first container that
has it.

A field in no column is a finding ([RT0005](../findings.md#rt0005)): most likely a typo. Kinds that are not
listed are [RT0003](../findings.md#rt0003); [RT0015](../findings.md#rt0015) when they would decide about calls, such
as a NetworkPolicy; or [RT0014](../findings.md#rt0014) when nothing changes without them.

The first column is what the lists of the others leave, as long as the code mentions the field's name."""


def _reasons() -> list[str]:
    """The numbered reasons, and what is not there yet."""
    out = ["", "## Why nothing is said", ""]
    out += [f"{number}. {reason}" for number, (reason, _) in enumerate(fields.SILENT, start=1)]
    return out


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
        out += ["", f"### {name}", "", _HEAD, "|---|---|---|---|"]
        out += [_row(struct, struct in tops) for struct in structs]
    out += _reasons()
    unknown = fields.named() - {(s.__name__, name) for s in seen for name in shapes.legal(s)}
    if unknown:
        raise ValueError(f"tools/fields.py names fields that do not exist: {sorted(unknown)}")
    return "\n".join(out) + "\n"
