"""From which version an upgrade may go to which."""

import pytest

from retic.install import faults, versions


@pytest.mark.parametrize(("old", "new"), [
    ("0.1.0", "0.1.0"), ("0.1.0", "0.1.7"), ("0.1.7", "0.1.0"), ("0.1.3", "0.2.0"), ("1.4.0", "2.0.1"),
    ("0.1.0", "0.2.0.dev3"), ("unknown", "0.9.0"),
])  # fmt: skip
def test_allowed(old, new):
    versions.may(old, new)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("0.1.0", "0.3.0", "upgrade to 0.2 first"),
    ("0.9.0", "2.0.0", "upgrade to 1.0 first"),
    ("1.4.0", "2.1.0", "upgrade to 2.0 first"),
    ("0.2.0", "0.1.9", "older 0.1.9: a step back"),
    ("1.0.0", "0.9.0", "a step back"),
])  # fmt: skip
def test_refused(old, new, words):
    with pytest.raises(faults.InstallError, match=words):
        versions.may(old, new)
