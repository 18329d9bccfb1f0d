"""The house as drawn: what a linter has no rule for."""

import ast
import pathlib
import re
import subprocess
import sys

import grimp
import pytest

from retic.findings import catalogue

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = ROOT / "src" / "retic"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE = 600
LONGEST_FUNCTION = 60


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_package_is_one():
    folders = {path.parent for path in MODULES}
    assert [name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_module_says_what_it_is_for():
    texts = {name(path): path.read_text() for path in MODULES}
    assert [path for path, text in texts.items() if not ast.get_docstring(ast.parse(text))] == []


def test_no_file_and_no_function_is_long():
    long = []
    for path in MODULES:
        text = path.read_text()
        if text.count("\n") > LONGEST_FILE:
            long.append(name(path))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{name(path)}:{node.lineno} {node.name} has {lines} lines")
    assert long == []


def test_explain_knows_envoy_by_its_names_only():
    graph = grimp.build_graph("retic", cache_dir=None)
    inside = {"retic.explain", *graph.find_descendants("retic.explain")}
    seen = {target for module in inside for target in graph.find_modules_directly_imported_by(module)}
    assert {one for one in seen if one.startswith("retic.envoy")} <= {"retic.envoy", "retic.envoy.names"}


def test_nothing_in_the_product_uses_the_fakes():
    graph = grimp.build_graph("retic", cache_dir=None)
    fakes = {"retic.testing", *graph.find_descendants("retic.testing")}
    users = {user for fake in fakes for user in graph.find_modules_that_directly_import(fake)} - fakes
    assert users == set()


def test_the_generated_documents_are_current():
    command = [sys.executable, ROOT / "tools" / "archdoc.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


PLACES = ("*.md", "docs/**/*.md", "changes/*.md", "demo/*.md")
DOCUMENTS = sorted(path for place in PLACES for path in ROOT.glob(place))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_between_documents_leads_somewhere(document):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|<img[^>]* src=\"([^\"]+)\"", document.read_text())
    local = [one or other for one, other in targets if "://" not in (one or other)]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_the_stubs_of_the_messages_are_complete(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "stubs.py", str(tmp_path / "typings")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "xDS modules" in done.stdout
    probe = tmp_path / "probe.py"
    probe.write_text(
        "from envoy.config.cluster.v3 import cluster_pb2\n"
        "from xds.type.v3 import typed_struct_pb2\n"
        "typed_struct_pb2.TypedStruct(type_url='a')\n"
        "reveal_type(cluster_pb2.Cluster(name='a').load_assignment)\n"
        "cluster_pb2.Cluster(no_such_field=1)\n"
    )
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = true\nmypy_path = {tmp_path / 'typings'}\n")
    mypy = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", tmp_path, probe]
    checked = subprocess.run(mypy, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
    assert 'Revealed type is "envoy.config.endpoint.v3.endpoint_pb2.ClusterLoadAssignment"' in checked
    assert 'Unexpected keyword argument "no_such_field"' in checked
    assert "Found 1 error" in checked


def test_every_documented_finding_is_found_somewhere():
    table = SOURCE / "findings" / "catalogue.py"
    used = {code for path in MODULES if path != table for code in re.findall(r"RT\d{4}", path.read_text())}
    assert set(catalogue.CODES) - used == set()
