"""What passed, from `go test`'s own events: the suite's report counts parallel tests before they have run."""

import json
from collections.abc import Iterable

import msgspec

ROOT = "TestConformance/"
_LINES = 40


class Verdict(msgspec.Struct, frozen=True):
    """One test's outcome: pass, fail or skip; the last lines that it printed."""

    name: str
    outcome: str
    output: tuple[str, ...] = ()


def judge(lines: Iterable[str]) -> dict[str, Verdict]:
    """The outcome of each test by its short name; lines that are no events are what a process printed beside.

    A test that was started and never ended has failed; so has one of whose parts any has failed.
    """
    running: set[str] = set()
    ended: dict[str, str] = {}
    failed: set[str] = set()
    printed: dict[str, list[str]] = {}
    for line in lines:
        event = json.loads(line) if line.startswith("{") else {}
        test = str(event.get("Test", ""))
        if not test.startswith(ROOT):
            continue
        name, _, part = test.removeprefix(ROOT).partition("/")
        action = str(event["Action"])
        running.add(name)
        if action == "fail":
            failed.add(name)
        elif action in ("pass", "skip") and not part:
            ended[name] = action
        elif action == "output":
            printed.setdefault(name, []).append(str(event["Output"]).rstrip())
    return {
        name: Verdict(
            name, "fail" if name in failed else ended.get(name, "fail"), tuple(printed.get(name, ())[-_LINES:])
        )
        for name in sorted(running)
    }
