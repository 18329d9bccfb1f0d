"""The image that is built here: what it holds runs, as the user and on the interpreter that it has."""

import pathlib
import subprocess

import pytest
from tools import image

PATH = "/opt/retic/bin:/usr/sbin:/usr/bin:/sbin:/bin"

@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The image's files, without /proc and /dev, as no container would be."""
    folder = tmp_path_factory.mktemp("root")
    image.unpack(image.build(), folder)
    folder.chmod(0o755)
    return folder


def run(root, *command, user="65532:65532"):
    return subprocess.run(
        ["chroot", f"--userspec={user}", root, *command], capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": PATH}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("command", [
    ["retic", "--help"],
    ["python", "-m", "retic.control", "--help"],
    ["python", "-m", "retic.node", "--help"],
    ["nft", "--version"],
    ["ip", "-V"],
    ["test", "-e", "/tmp"],
])  # fmt: skip
def test_what_it_holds_runs(root, command):
    done = run(root, *command)
    assert done.returncode == 0, done.stderr


def packages(root):
    """The folder of third-party packages and Retic."""
    (found,) = root.glob("opt/retic/lib/python*/site-packages")
    return found


def test_envoy_runs(root):
    done = run(root, f"/{packages(root).relative_to(root)}/envoy/_bin/envoy", "--version")
    assert "/1.40.0/" in done.stdout


def test_the_plugin_needs_nothing_of_the_host(root):
    plugin = root / "opt/retic/cni/retic-cni"
    assert plugin.stat().st_mode & 0o111
    said = subprocess.run(["ldd", plugin], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in said.stdout + said.stderr


def test_the_code_is_compiled_and_its_own(root):
    done = run(root, "python", "-c", "import retic, sys; print(retic.__file__, retic.__cached__, sys.prefix)")
    file, cached, prefix = done.stdout.split()
    assert prefix == "/opt/retic"
    assert file == f"/{packages(root).relative_to(root)}/retic/__init__.py"
    assert (root / cached.lstrip("/")).is_file()


def test_no_tool_of_development_is_in_it(root):
    found = {path.name.lower() for path in packages(root).iterdir()}
    assert not found & {"pytest", "mypy", "ruff", "hypothesis", "hatchling", "importlinter"}


def test_nothing_is_built_twice():
    first = image.build()
    before = first.stat().st_mtime_ns
    assert image.build() == first
    assert first.stat().st_mtime_ns == before


def test_every_file_is_roots(root):
    odd = [path for path in pathlib.Path(root / "opt").rglob("*") if path.lstat().st_uid != 0]
    assert odd == []
