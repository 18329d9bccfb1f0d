"""The chart that is committed is the one that the code makes. tests/cluster/test_helm.py runs Helm on it."""

import json
import pathlib

import yaml

from retic.install import chart, values

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "charts" / "retic"


def test_the_committed_chart_is_current():
    have = {str(p.relative_to(FOLDER)): p.read_text() for p in FOLDER.rglob("*") if p.is_file()}
    assert have == chart.files(), "run `make chart`"


def test_its_values_are_the_defaults():
    assert yaml.safe_load(chart.values_yaml()) == json.loads(json.dumps(values.builtins(values.Values())))


def test_its_schema_knows_every_value():
    made = json.loads(chart.schema())
    part = made["$defs"]["Values"]
    assert part["additionalProperties"] is False
    assert {s.path[0] for s in values.settings()} | {"global"} == set(part["properties"])


def test_old_templates_are_removed(tmp_path):
    chart.write(tmp_path)
    old = tmp_path / "templates" / "old.yaml"
    old.write_text("")
    chart.write(tmp_path)
    assert not old.exists()
