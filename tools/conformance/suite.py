"""One run of the suite: its own test binary, its events, and what they say."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

from tools.cluster import places
from tools.conformance import build, judge

LIMIT = "30m"
LABELS = "retic.dev/mesh=enabled"
GATEWAY_CLASS = "retic"


def run(
    kubeconfig: pathlib.Path, profiles: Sequence[str], features: Sequence[str], *, only: str = ""
) -> dict[str, judge.Verdict]:
    """Run these profiles with these features declared; every test's verdict. `only`: one test, by its short name."""
    flags = [
        f"--gateway-class={GATEWAY_CLASS}",
        f"--conformance-profiles={','.join(profiles)}",
        f"--supported-features={','.join(features)}",
        f"--namespace-labels={LABELS}",
        *([f"--run-test={only}"] if only else []),
    ]
    binary = [places.binary(build.TEST), "-test.v=test2json", "-test.run=^TestConformance$", f"-test.timeout={LIMIT}"]
    command = ["go", "tool", "test2json", "-t", *binary, *flags]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "GOTOOLCHAIN": "local"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as ran:
        assert ran.stdout is not None
        return judge.judge(_shown(ran.stdout))


def _shown(lines: Iterable[str]) -> Iterator[str]:
    """The events as they come; of the suite's own set-up, which belongs to no test, what it printed is shown."""
    for line in lines:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("Action") == "output" and event.get("Test") == "TestConformance" and "Error" in event["Output"]:
            print(event["Output"].rstrip(), file=sys.stderr, flush=True)
        yield line
