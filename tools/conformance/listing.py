"""docs/conformance.md: what passes and what fails, test by test."""

import collections
from collections.abc import Iterable, Mapping

from tools.conformance import catalogue, judge

_HEAD = """# Conformance with the Gateway API

Written by `make conformance`, which runs the Gateway API's official suite {release} against Retic on a cluster
and judges it by the events of `go test`: the suite's own report of that version counts parallel tests as passed
before they have run. A core test belongs to what every implementation must do; an extended one to a feature that
may be left out; a provisional one counts nowhere yet.

| profile | core passed | extended passed |
|---|---|---|
"""


def text(release: str, tests: Iterable[catalogue.Test], verdicts: Mapping[str, judge.Verdict]) -> str:
    """The whole page."""
    tests = sorted(tests)
    answer = _HEAD.format(release=release)
    for profile in catalogue.PROFILES:
        cells = []
        for core in (True, False):
            mine = [t for t in tests if profile in t.profiles() and t.core(profile) is core and not t.provisional]
            passed = sum(_outcome(t, verdicts) == "pass" for t in mine)
            cells.append(f"{passed} of {len(mine)}")
        answer += f"| {profile} | {cells[0]} | {cells[1]} |\n"
    answer += "\n| test | kind | features beyond the core | outcome |\n|---|---|---|---|\n"
    for t in tests:
        core = any(t.core(p) for p in t.profiles())
        kind = "provisional" if t.provisional else "core" if core else "extended"
        more = ", ".join(sorted(t.features - {"Mesh", "HTTPRoute", "GRPCRoute"}))
        answer += f"| {t.name} | {kind} | {more} | {_outcome(t, verdicts)} |\n"
    return answer


def missing(tests: Iterable[catalogue.Test], verdicts: Mapping[str, judge.Verdict]) -> list[str]:
    """The core tests that did not pass: with any of them the profile cannot be claimed."""
    return sorted(
        t.name for t in tests if any(t.core(p) for p in t.profiles()) and _outcome(t, verdicts) != "pass"
    )


def summary(verdicts: Mapping[str, judge.Verdict]) -> str:
    """How many passed, failed and were skipped: those of other profiles are."""
    count = collections.Counter(v.outcome for v in verdicts.values())
    return f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped"


def _outcome(test: catalogue.Test, verdicts: Mapping[str, judge.Verdict]) -> str:
    found = verdicts.get(test.name)
    return found.outcome if found else "not run"
