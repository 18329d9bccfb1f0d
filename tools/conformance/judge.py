"""What passed, from `go test`'s own events: the suite's report counts parallel tests before they have run."""

import json
from collections.abc import Iterable

import msgspec

ROOT = "TestConformance/"


class Verdict(msgspec.Struct, frozen=True):
    """One test's outcome: pass, fail or skip; the last lines that a failed one printed."""

    name: str
    outcome: str
    output: tuple[str, ...] = ()


def judge(events: Iterable[str]) -> dict[str, Verdict]:
    """The outcome of each test by its short name. ValueError for a line that is no event.

    A test that was started and never ended has failed; so has one of whose parts any has failed.
    """
    outcome: dict[str, str] = {}
    printed: dict[str, list[str]] = {}
    for line in events:
        if not line.strip():
            continue
        event = json.loads(line)
        test: str = event.get("Test", "")
        if not test.startswith(ROOT):
            continue
        name, _, part = test.removeprefix(ROOT).partition("/")
        action: str = event["Action"]
        if action == "run":
            outcome.setdefault(name, "fail")
        elif action == "fail" or (action in ("pass", "skip") and not part and outcome.get(name) != "failed"):
            outcome[name] = "failed" if action == "fail" else action
        elif action == "output":
            printed.setdefault(name, []).append(event["Output"].rstrip())
    return {
        name: Verdict(name, "fail" if said == "failed" else said, tuple(printed.get(name, [])[-40:]))
        for name, said in sorted(outcome.items())
    }
