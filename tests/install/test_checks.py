"""The catalogue of checks; tests/cluster/test_check.py asks an API server."""

from retic.install.checks import catalogue, running


def test_each_check_has_a_probe_and_each_probe_a_check():
    assert set(catalogue.CHECKS) == set(running.PROBES)


def test_each_says_what_to_do():
    for check in catalogue.CHECKS.values():
        assert check.hint or check.severity is catalogue.Severity.INFO
        assert check.why.endswith(".")
        assert check.url == f"https://retic.dev/checks#{check.id}"


def test_sections_stay_together():
    order = [check.section for check in catalogue.CHECKS.values()]
    assert len(set(order)) == sum(a != b for a, b in zip(order, ["", *order], strict=False))
