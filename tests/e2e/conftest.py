"""One mesh for most of the tests here: two nodes, many accounts, servers of every protocol."""

import pathlib
import shutil

import pytest

from retic.testing import running

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mesh") / "manifests"
    shutil.copytree(HERE / "manifests", folder)
    started = running.Mesh.up(folder, nodes=2)
    yield started
    done = started.down()
    assert done.returncode == 0, done.stderr
