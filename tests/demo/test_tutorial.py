"""docs/tutorial.md, walked literally: what it says to save is saved, what it says to run is run."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from retic.testing import wait

TUTORIAL = pathlib.Path(__file__).parents[2] / "docs" / "tutorial.md"
WRAPPER = """#!/bin/sh
exec {python} -c 'import sys
from retic.cli import __main__
at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
sys.argv[at:at] = ["--name", "{name}"]
__main__.main()' "$@"
"""


class Walk:
    """Somebody in an empty folder, whose `retic` has a mesh of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.bin / "retic").write_text(WRAPPER.format(python=sys.executable, name=f"tutorial{os.getpid()}"))
        (self.bin / "retic").chmod(0o755)

    def run(self, command: str, code: int = 0) -> str:
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def ps(self) -> dict:
        return json.loads(self.run("retic ps -o json"))

    def sees(self, what: str, condition) -> None:
        try:
            wait.until(lambda: condition(self.ps()), what, 30)
        except TimeoutError:
            raise AssertionError(f"{what}\n{self.run('retic ps')}") from None


@pytest.fixture
def walk(tmp_path):
    walking = Walk(tmp_path)
    yield walking
    walking.run("retic down")


def blocks() -> list[tuple[str, list[str]]]:
    """Each block in its order: the file it goes into, or "" for commands."""
    found, file = [], ""
    text = TUTORIAL.read_text()
    for prose, kind, body in re.findall(r"(.*?)```(\w+)\n(.*?)```", text, re.DOTALL):
        file = (re.findall(r"`(?:hello/)?(\w+\.yaml)`", prose) or [file])[-1]
        if kind == "yaml":
            found.append((file, [body]))
        else:
            found.append(("", re.findall(r"^\$ ((?:.*\\\n)*.*)$", body, re.MULTILINE)))
    return found


def ready(pods: int):
    return lambda state: len(state["pods"]) == pods and all(pod["ready"] for pod in state["pods"])


def front_is_open(state) -> bool:
    return bool(state["gateways"] and state["gateways"][0]["listeners"])


def test_the_tutorial_as_it_is_written(walk):
    commands, saved = [], []
    for file, lines in blocks():
        if file:
            with (walk.folder / "hello" / file).open("a") as manifest:
                manifest.write(lines[0])
            saved.append(file)
            if saved == ["hello.yaml", "hello.yaml"]:
                walk.sees("both versions are ready", ready(2))
            if file == "front.yaml":
                walk.sees("the gateway is open", front_is_open)
            if file == "route.yaml":
                wait.until(lambda: "route.yaml" in walk.run("retic why routes/default"), "the route is live", 40)
            continue
        for line in lines:
            if "export PATH" in line:
                continue
            if "127.0.0.1:8080" in line:  # taken, perhaps; the text says to ask ps
                line = line.replace("127.0.0.1:8080", walk.ps()["gateways"][0]["listeners"][0]["address"])
            commands.append((line, walk.run(line)))
            broken_edit(walk, line)
    assert saved == ["hello.yaml", "hello.yaml", "route.yaml", "front.yaml"]
    said = "\n".join(output for _, output in commands)
    looped = next(output for line, output in commands if "for i in" in line)
    assert looped.count("this is version") == 10
    header = next(output for line, output in commands if "x-version" in line)
    assert header == "this is version two\n"
    assert "this is version one" in commands[6][1]
    assert "hello/route.yaml:" in next(output for line, output in commands if "why" in line)
    assert "gateway-routes/default/front/8080" in said
    assert commands[-1][0] == "retic down"


def broken_edit(walk: Walk, line: str) -> None:
    """After the header's route was tried: `weight: many`, as the text has it, and back."""
    if "x-version" not in line:
        return
    route = walk.folder / "hello" / "route.yaml"
    good = route.read_text()
    route.write_text(good.replace("weight: 90", "weight: many"))
    walk.sees("the edit is a finding", lambda state: any(f["code"] == "RT0004" for f in state["findings"]))
    assert "weight must be a whole number" in walk.run("retic analyze -f hello", 1)
    route.write_text(good)
    walk.sees("it is mended", lambda state: not state["findings"])
