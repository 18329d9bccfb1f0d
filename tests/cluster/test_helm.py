"""The chart with Helm itself: the same objects as `retic install --dry-run`, the same refusals."""

import json
import pathlib
import subprocess

import pytest
import yaml
from tools import helm

from retic.install import chart, given, manifest

CASES = sorted((pathlib.Path(__file__).parents[1] / "golden" / "install").glob("*/values.yaml"))
HAS = "gateway.networking.k8s.io/v1/GatewayClass"


@pytest.fixture(scope="module")
def program():
    return helm.build()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("chart")
    chart.write(made)
    return made


def template(program, folder, *arguments):
    command = [program, "template", "retic", str(folder), "--kube-version", "1.34.0", "--api-versions", HAS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def ordered(objects):
    return sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"]))


@pytest.mark.parametrize("values", CASES, ids=lambda f: f.parent.name)
def test_the_same_objects(program, folder, values):
    done = template(program, folder, "-f", str(values))
    assert done.returncode == 0, done.stderr
    theirs = [document for document in yaml.safe_load_all(done.stdout) if document]
    ours = manifest.render(given.load(given.collect([values], [])))
    assert ordered(theirs) == ordered(ours)


def test_without_the_gateway_api_there_is_no_class(program, folder):
    command = [program, "template", "retic", str(folder), "--kube-version", "1.34.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "GatewayClass" not in {d["kind"] for d in yaml.safe_load_all(done.stdout) if d}


@pytest.mark.parametrize("assignment", [
    "modes=STRICT", "mode=LAX", "controller.replicas=0", "controller.replica=2", "cni.confFolder=etc",
])  # fmt: skip
def test_what_retic_refuses_helm_refuses(program, folder, assignment):
    done = template(program, folder, "--set", assignment)
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_values_of_a_chart_above(program, folder):
    assert template(program, folder, "--set", "global.team=mesh").returncode == 0


def test_lint(program, folder):
    done = subprocess.run(
        [program, "lint", "--strict", "--kube-version", "1.34.0", str(folder)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_numbers_stay_numbers(program, folder):
    done = template(program, folder, "--set", "node.concurrency=100,priority=1000000000,certificateLifetime=31536000")
    made = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(done.stdout) if d}
    agent = made["DaemonSet", "retic-node"]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "RETIC_CONCURRENCY", "value": "100"} in agent["env"]
    assert made["PriorityClass", "retic"]["value"] == 1000000000
    assert json.loads(made["ConfigMap", "retic-config"]["data"]["config.json"])["lifetime"] == 31536000
