"""What tests of the mesh on Kubernetes stand on: an API server alone, or a cluster with nodes."""

import pathlib
from collections.abc import Iterator

import pytest
from tools.cluster import control_plane


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """The administrator's kubeconfig of an API server without nodes and controllers, for this run only."""
    folder = tmp_path_factory.mktemp("apiserver")
    try:
        yield control_plane.start(folder)
    finally:
        control_plane.stop(folder)
