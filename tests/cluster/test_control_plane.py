"""An API server alone: what other tests stand on."""

import pathlib
import subprocess

from tools.cluster import control_plane, places


def test_server_answers_its_administrator_with_the_release_that_was_built(apiserver: pathlib.Path):
    said = subprocess.run(
        [places.binary("kubectl"), "--kubeconfig", apiserver, "version"], capture_output=True, text=True, check=True
    ).stdout
    assert "Server Version: v1.34." in said


def test_several_run_side_by_side_and_end_with_stop(tmp_path: pathlib.Path, apiserver: pathlib.Path):
    other = control_plane.start(tmp_path / "other", controllers=True)
    try:
        assert apiserver.read_text() != other.read_text()
        kubectl = [places.binary("kubectl"), "--kubeconfig", other]
        waited = ["wait", "serviceaccount/default", "--for=create", "--timeout=30s"]
        assert subprocess.run([*kubectl, *waited], capture_output=True, check=False).returncode == 0
    finally:
        control_plane.stop(tmp_path / "other")
    ended = subprocess.run([*kubectl, "get", "ns"], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
