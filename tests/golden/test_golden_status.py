"""What a cluster's controllers write, against its golden folders."""

import pathlib

import pytest

from retic.testing import golden, golden_status

CASES = golden.cases(pathlib.Path(__file__).parent / "status")


@pytest.mark.parametrize("folder", CASES, ids=lambda f: f.name)
def test_case(folder):
    case = golden_status.Case(folder)
    assert not case.loaded.findings, case.loaded.findings
    assert case.actual() == case.expected(), f"see the diff of `make golden`; again: pytest -k {folder.name}"
