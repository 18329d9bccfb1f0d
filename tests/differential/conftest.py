"""One mesh for all tests here; each writes its own round of manifests."""

import differential_world
import pytest


@pytest.fixture(scope="session")
def mesh(tmp_path_factory):
    made = differential_world.Mesh(tmp_path_factory.mktemp("differential") / "manifests")
    yield made
    made.close()
