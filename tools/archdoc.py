"""The parts of docs/ that come from the code, so that they cannot say what is not so: `make docs`.

Rooms with their docstrings and the import contracts go between the marks of docs/architecture.md; the
table of findings is the whole of docs/findings.md; the numbers of docs/defaults.md are tools/defaults.py's; the codes
of answers go between marks of docs/responses.md; docs/reference/ and docs/checks.md are made by tools/reference.py.
`--check` writes nothing and exits 1 when a file differs.
"""

import ast
import configparser
import pathlib
import re
import sys

import defaults
import reference
from retic.explain.response import meanings
from retic.findings import catalogue

ROOT = pathlib.Path(__file__).resolve().parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
FINDINGS = ROOT / "docs" / "findings.md"
DEFAULTS = ROOT / "docs" / "defaults.md"
RESPONSES = ROOT / "docs" / "responses.md"
CHECKS = ROOT / "docs" / "checks.md"
REFERENCE = ROOT / "docs" / "reference"
SEVERITIES = {
    "error": "it is not applied, or refuses traffic",
    "warning": "it is applied, but hardly what was meant",
    "info": "good to know",
}


def docstring(path: pathlib.Path) -> str:
    """A module's docstring, "" without one."""
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def rooms() -> str:
    """A list of the packages and top-level modules with the whole of their docstrings."""
    out = []
    for path in sorted((ROOT / "src" / "retic").iterdir()):
        source = path / "__init__.py" if path.is_dir() else path
        if source.suffix != ".py" or path.name == "__init__.py" or not source.exists():
            continue
        text = docstring(source).strip().replace("\n\n", "\n  \n").replace("\n", "\n  ")
        out.append(f"- **`retic.{path.stem}`**: {re.sub(r' +$', '', text, flags=re.MULTILINE)}")
    return "\n".join(out)


def contracts() -> str:
    """What import-linter checks, one line a contract, with what it forbids."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    out = ["| contract | who | may not import |", "|---|---|---|"]
    for section in parser.sections():
        if not section.startswith("importlinter:contract:"):
            continue
        part = parser[section]
        if part["type"] == "layers":
            layers = " / ".join(f"`{layer}`" for layer in part["layers"].split("\n") if layer)
            out.append(f"| {part['name']} | each layer, from the top: {layers} | any layer above its own |")
            continue
        who = ", ".join(f"`{module}`" for module in part["source_modules"].split())
        what = ", ".join(f"`{module}`" for module in part["forbidden_modules"].split())
        out.append(f"| {part['name']} | {who} | {what} |")
    return "\n".join(out)


def between(text: str, mark: str, new: str) -> str:
    """`text` with `new` between the comments `<!-- mark -->` and `<!-- end mark -->`, which must exist."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end {mark} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"the marks `<!-- {mark} -->` and `<!-- end {mark} -->` are missing from a page")
    return pattern.sub(lambda match: f"{match.group(1)}\n{new}\n\n{match.group(2)}", text)


def findings() -> str:
    """The reference page of findings."""
    out = [
        "# Findings",
        "",
        "<!-- Written by `make docs` from src/retic/findings/catalogue.py. -->",
        "",
        "A finding is what Retic has to say about what you wrote: the object, the file and line, what is",
        "wrong and what to write instead. `retic analyze` shows them without a running mesh, `retic ps` with",
        "one. A code never changes its meaning.",
        "",
        *(f"- **{severity}**: {meaning}" for severity, meaning in SEVERITIES.items()),
        "",
        "| code | severity | what it stands for |",
        "|---|---|---|",
    ]
    for code, entry in sorted(catalogue.CODES.items()):
        out.append(f'| <a id="{code.lower()}"></a>{code} | {entry.severity.value} | {entry.title} |')
    return "\n".join(out) + "\n"


def responses() -> str:
    """The reference of the codes of answers."""
    out = ["| code | Envoy's flags | what it stands for |", "|---|---|---|"]
    every = sorted(meanings.CODES.values(), key=lambda one: one.code)
    for one in every:
        flags = " ".join(f"`{flag}`" for flag in one.flags) or "-"
        out.append(f"| [{one.code}](#{one.code.lower()}) | {flags} | {one.title} |")
    for one in every:
        look, change = (f"{text[0].upper()}{text[1:]}" for text in (one.look, one.change))
        out += [
            "", f'### <a id="{one.code.lower()}"></a>{one.code}: {one.title}', "", one.about, "",
            f"- **Look at**: {look}.", f"- **Change**: {change}.",
        ]  # fmt: skip
    return "\n".join(out)


def render() -> dict[pathlib.Path, str]:
    """Each file and what it must be."""
    text = ARCHITECTURE.read_text()
    text = between(text, "rooms", rooms())
    text = between(text, "contracts", contracts())
    return {
        ARCHITECTURE: text,
        FINDINGS: findings(),
        RESPONSES: between(RESPONSES.read_text(), "codes", responses()),
        REFERENCE / "commands.md": reference.commands(),
        REFERENCE / "manifests.md": reference.manifests(),
        REFERENCE / "values.md": reference.values(),
        CHECKS: reference.checks(),
        DEFAULTS: between(DEFAULTS.read_text(), "limits", defaults.table()),
    }


def main() -> int:
    """Write, or with `--check` compare."""
    code = 0
    for path, wanted in render().items():
        if path.exists() and path.read_text() == wanted:
            continue
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is not what the code says: run `make docs`", file=sys.stderr)
            code = 1
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted)
            print(f"wrote {path.relative_to(ROOT)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
