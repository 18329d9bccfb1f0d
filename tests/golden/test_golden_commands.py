"""What commands print of a cluster, against its golden folders."""

import pathlib

import pytest

from retic.testing import golden, golden_commands

CASES = golden.cases(pathlib.Path(__file__).parent / "commands")


@pytest.mark.parametrize("folder", CASES, ids=lambda f: f.name)
def test_case(folder):
    case = golden_commands.Case(folder)
    assert case.actual() == case.expected(), f"see the diff of `make golden`; again: pytest -k {folder.name}"
