"""What is installed against its golden folders."""

import pathlib

import pytest

from retic.testing import golden_install

CASES = golden_install.cases(pathlib.Path(__file__).parent / "install")


@pytest.mark.parametrize("folder", CASES, ids=lambda f: f.name)
def test_case(folder):
    case = golden_install.Case(folder)
    assert case.actual() == case.expected(), f"see the diff of `make golden`; again: pytest -k {folder.name}"
