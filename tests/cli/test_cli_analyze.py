"""`retic analyze` over files: faults of form, of controllers and of meaning, each in its line."""

import json
import subprocess
import sys

import pytest
from typer import testing

from retic.cli import app, failure

GOOD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: none, command: [sleep, "1"], ports: [{containerPort: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http, name: http}]
"""

ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: web, kind: Service, group: "", port: 80}]
  rules:
  - backendRefs:
    - name: gone
      port: 80
"""


@pytest.fixture
def analyze(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        done = testing.CliRunner().invoke(app.app, ["analyze", "-f", ".", *arguments], standalone_mode=False)
        assert done.exception is None, done.exception
        return done.return_value, done.stdout

    return run


def test_correct_input_is_silent(analyze):
    assert analyze(good=GOOD) == (0, "")
    code, out = analyze("-o", "json")
    assert (code, json.loads(out)) == (0, [])


def test_a_folder_without_an_object_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.yaml").write_text("# nothing yet\n")
    for path, out in (("empty", ""), ("note.yaml", "[]\n")):
        words = ["analyze", "-f", str(tmp_path / path), "-o", "json" if out else "table"]
        done = testing.CliRunner().invoke(app.app, words, standalone_mode=False)
        assert isinstance(done.exception, failure.Failure)
        assert (done.stdout, str(done.exception)) == (out, f"no Kubernetes object in {tmp_path / path}")
        assert done.exception.code == 1


def test_errors_say_by_themselves_why_there_is_no_object(analyze):
    code, out = analyze(bad="kind: Pod\napiVersion: v1\nspec: {}\n")
    assert code == 1
    assert "error" in out


def test_a_fault_of_meaning_stands_in_its_line(analyze):
    code, out = analyze(good=GOOD, route=ROUTE)
    assert code == 1
    assert out.startswith("route.yaml:8: error RT0201 HTTPRoute default/r: ")
    assert "default/gone" in out
    assert out.count("\n") == 1


def test_a_parent_of_kind_service_without_its_group_is_an_error_in_its_line(analyze):
    short = ROUTE.replace('group: "", ', "").replace("name: gone", "name: web")
    code, out = analyze(good=GOOD, route=short)
    assert code == 1
    assert out.startswith("route.yaml:5: error RT0203 HTTPRoute default/r: ")
    assert 'write group: ""' in out
    assert out.count("\n") == 1


def test_faults_of_form_and_of_controllers_come_together_in_the_files_order(analyze):
    unselected = GOOD.replace("web", "x").replace("selector: {app: x}", "selector: {app: other}")
    code, out = analyze(a=GOOD.replace("command:", "comand:"), b=unselected)
    assert code == 1
    found = [(line.split(":")[0], line.split()[2]) for line in out.splitlines()]
    assert found == [("a.yaml", "RT0501"), ("a.yaml", "RT0005"), ("b.yaml", "RT0101")]


def test_warnings_alone_are_no_failure(analyze):
    code, out = analyze(good=GOOD, other="apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n")
    assert code == 0
    assert " warning RT0003" in out


def test_a_name_is_accepted_as_everywhere(analyze):
    assert analyze("--name", "other", good=GOOD) == (0, "")


def test_standard_input_is_read_as_a_file(tmp_path):
    def run(*arguments, given):
        return subprocess.run(
            [sys.executable, "-m", "retic.cli", "analyze", *arguments], input=given, capture_output=True,
            text=True, timeout=60, check=False,
        )

    (tmp_path / "good.yaml").write_text(GOOD)
    done = run("-f", "-", "-f", str(tmp_path), given=ROUTE)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("<stdin>:8: error RT0201 HTTPRoute default/r: ")
    done = run("-f", "-", given=GOOD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FILTERS = {
    "RequestHeaderModifier": "requestHeaderModifier: {remove: [a]}",
    "ResponseHeaderModifier": "responseHeaderModifier: {remove: [a]}",
    "RequestRedirect": "requestRedirect: {port: 81}",
    "URLRewrite": "urlRewrite: {hostname: a.example}",
    "RequestMirror": "requestMirror: {backendRef: {name: web, port: 80}}",
}


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_filters_named_as_a_way_out_are_carried_out(analyze, kind):
    def about(name, fields):
        rule = f"  - filters: [{{type: {name}, {fields}}}]\n"
        head = ROUTE.replace("HTTPRoute", kind).partition("  - backendRefs")[0]
        return [line for line in analyze(good=GOOD, route=head + rule)[1].splitlines() if "RT0205" in line]

    (found,) = about("ExtensionRef", "extensionRef: {group: a.example, kind: B, name: c}")
    named = found.partition("use one of ")[2].partition(";")[0].split(", ")
    assert len(named) >= 2
    for name in named:
        assert about(name, FILTERS[name]) == []
