"""The translation against its golden folders, and every folder against Envoy's own validation."""

import importlib.util
import pathlib
import subprocess

import pytest
from google.protobuf import json_format

from retic.testing import golden

CASES = golden.cases(pathlib.Path(__file__).parent / "cases")


def envoy() -> str:
    spec = importlib.util.find_spec("envoy._bin")
    return f"{next(iter(spec.submodule_search_locations))}/envoy"


@pytest.mark.parametrize("folder", CASES, ids=lambda f: f.name)
def test_case(folder):
    case = golden.Case(folder)
    expected = case.expected()
    assert case.actual() == expected, f"see the diff of `make golden`; again: pytest -k {folder.name}"
    assert any(path.startswith("xds/") for path in expected)


@pytest.mark.parametrize("folder", CASES, ids=lambda f: f.name)
def test_envoy_accepts_the_case(folder, tmp_path):
    file = tmp_path / "bootstrap.json"
    file.write_text(json_format.MessageToJson(golden.Case(folder).bootstrap()))
    done = subprocess.run(
        [envoy(), "--mode", "validate", "-c", str(file), "--log-level", "error"],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
