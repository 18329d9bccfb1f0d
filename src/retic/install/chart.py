"""The same trees as a Helm chart: Chart.yaml, values.yaml, its schema, templates. Writes text, runs no Helm.

`helm template` with some values gives the objects of `retic install --dry-run` with the same values.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from retic.install import manifest, template, values

_HEAD = "{{- /* Written by `make chart` from src/retic/install; change it there. */ -}}\n"
_NOTES = """Retic {{ .Chart.AppVersion }} is being installed into retic-system, whatever this release's namespace.

  retic check                                   asks whether all is well
  kubectl label namespace NAME retic.dev/mesh=enabled
                                                takes a namespace's running pods into the mesh

Before `helm uninstall`, run `retic uninstall`: it takes the pods out of the mesh without a lost request and
removes the CNI plugin from the nodes; Helm then removes the rest.
"""


def files() -> dict[str, str]:
    """Each file of the chart by its path."""
    made = {
        "Chart.yaml": _chart(),
        "values.yaml": values_yaml(),
        "values.schema.json": schema(),
        "templates/NOTES.txt": _NOTES,
        ".helmignore": ".git\n*.orig\n",
    }
    for entry in manifest.entries():
        path = f"templates/{entry.file}.yaml"
        made[path] = made.get(path, _HEAD) + _document(entry)
    return made


def write(folder: pathlib.Path) -> None:
    """Write the chart into the folder; templates that it no longer has are removed. OSError."""
    wanted = files()
    for path, text in wanted.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    for old in (folder / "templates").iterdir():
        if f"templates/{old.name}" not in wanted:
            old.unlink()


def _chart() -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v2",
            "name": "retic",
            "description": "A service mesh: one stock Envoy per node, no sidecars.",
            "type": "application",
            "version": values.VERSION,
            "appVersion": values.VERSION,
            "kubeVersion": ">=1.30.0-0",
            "home": "https://retic.dev",
        },
        sort_keys=False,
    )


def values_yaml() -> str:
    """The defaults with what is said about each."""
    lines = ["# Written by `make chart` from src/retic/install/values.py; change it there."]
    lines += _values(values.Values, values.builtins(values.Values()), "")
    return "\n".join(lines) + "\n"


def _values(part: type[Any], defaults: dict[str, Any], indent: str) -> Iterator[str]:
    for field in msgspec.structs.fields(part):
        name = field.encode_name
        if not indent:
            yield ""
        yield from (f"{indent}# {line}" for line in _wrapped(values.describe(part, name), 96 - len(indent)))
        inner = values.group(part, name)
        if name not in defaults:
            yield f"{indent}# {name}:"
        elif inner is None:
            yield f"{indent}{name}: {_scalar(defaults[name])}"
        else:
            yield f"{indent}{name}:" + ("" if defaults[name] else " {}")
            if defaults[name]:
                yield from _values(inner, defaults[name], indent + "  ")


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)


def schema() -> str:
    """JSON schema of the values: what Retic refuses, Helm refuses, but for what no schema can say."""
    made = msgspec.json.schema(values.Values)
    for name, part in made["$defs"].items():
        if "properties" in part and name not in ("Amounts", "SecretName", "TrustedRoot"):
            part["required"] = sorted(part["properties"])
        for field in part.get("properties", {}).values():
            _beside_ref(field)
    # A chart that has this one below it hands down its `global` values.
    made["$defs"]["Values"]["properties"]["global"] = {"type": "object"}
    made["$schema"] = "http://json-schema.org/draft-07/schema#"
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def _beside_ref(field: dict[str, Any]) -> None:
    """Draft 7 ignores what stands beside `$ref`."""
    if "$ref" in field:
        field["allOf"] = [{"$ref": field.pop("$ref")}]


def _document(entry: manifest.Entry) -> str:
    tree = entry.tree
    conditions = [f'.Capabilities.APIVersions.Has "{entry.needs}"'] if entry.needs else []
    if isinstance(tree, template.When):
        conditions.append(_path(tree.condition))
        tree = tree.tree
    body = "---\n" + "\n".join(_lines(tree, 0)) + "\n"
    for condition in conditions:
        body = f"{{{{- if {condition} }}}}\n{body}{{{{- end }}}}\n"
    return body


def _lines(tree: Any, depth: int) -> Iterator[str]:
    """A mapping or list as block YAML; whatever depends on values as JSON in one line."""
    pad = "  " * depth
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _pair(pad + _scalar_key(key) + ":", value, depth)
    elif isinstance(tree, list | tuple) and tree:
        for value in tree:
            yield from _item(pad, value, depth)
    else:
        yield pad + _inline(tree)


def _pair(head: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, template.When):
        yield f"{{{{- if {_path(value.condition)} }}}}"
        yield from _pair(head, value.tree, depth)
        yield "{{- end }}"
    elif _is_block(value):
        yield head
        yield from _lines(value, depth + 1)
    else:
        yield f"{head} {_inline(value)}"


def _item(pad: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, template.When):
        yield f"{{{{- if {_path(value.condition)} }}}}"
        yield from _item(pad, value.tree, depth)
        yield "{{- end }}"
    elif _is_block(value):
        first, *rest = _lines(value, depth + 1)
        yield f"{pad}- {first.removeprefix(pad + '  ')}"
        yield from rest
    else:
        yield f"{pad}- {_inline(value)}"


def _is_block(value: Any) -> bool:
    return isinstance(value, dict | list | tuple) and bool(value)


def _inline(value: Any) -> str:
    if isinstance(value, template.Node):
        return f"{{{{ {_expression(value)} | toJson }}}}"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """JSON is YAML. A text with braces would be a template's action."""
    text = json.dumps(value, ensure_ascii=False)
    if "{{" in text:
        raise ValueError(f"{text} would be read as a template")
    return text


def _scalar_key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else json.dumps(key)


def _path(ref: template.Ref) -> str:
    return ".Values." + ".".join(ref.path)


def _expression(node: Any) -> str:
    """A node as an expression of Go's templates with Helm's functions."""
    match node:
        case template.Ref():
            return _path(node)
        case template.Sum():
            return f"(add {_path(node.ref)} {node.more})"
        case template.Text():
            return f'(printf "{"%s" * len(node.pieces)}" {" ".join(_piece(piece) for piece in node.pieces)})'
        case template.Concat():
            first = " ".join(json.dumps(word) for word in node.first)
            return f"(concat (list {first}) {_path(node.rest)})"
        case template.Joined():
            return f'({_path(node.ref)} | join ",")'
        case template.First():
            return f"({_path(node.ref)} | first)"
        case template.Json():
            return f"({_expression(node.tree)} | toJson)"
        case template.Digest():
            return f"({_expression(node.tree)} | toJson | sha256sum)"
        case dict():
            return f"(dict {' '.join(f'{json.dumps(key)} {_expression(value)}' for key, value in node.items())})"
        case list() | tuple():
            return f"(list {' '.join(_expression(value) for value in node)})"
        case _:
            return json.dumps(node)


def _piece(piece: str | template.Ref) -> str:
    """Helm's numbers are floats, whose text would be 9e+08."""
    if isinstance(piece, str):
        return json.dumps(piece)
    return f"({_path(piece)} | {'int64 | toString' if piece.part is int else 'toString'})"
