"""What tests of the mesh on Kubernetes stand on: an API server alone, or a cluster with nodes."""

import pathlib
import secrets
from collections.abc import AsyncIterator, Iterator

import kube_rig
import pytest
from tests.cluster import installed as installation
from tests.cluster import kubectl
from tools.cluster import control_plane, places, whole

from retic.sources import api

# What only the cluster that is made here promises.
collect_ignore = ["test_own_cluster.py", "test_metrics_cluster.py"] if whole.given() else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test here may take longer than others: its time counts from the setup on, and its end may roll Retic."""
    here = pathlib.Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(2800 if item.path.name == "test_conformance.py" else 900))


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """The administrator's kubeconfig of an API server without nodes and controllers, for this run only."""
    folder = tmp_path_factory.mktemp("apiserver")
    try:
        yield control_plane.start(folder)
    finally:
        control_plane.stop(folder)


@pytest.fixture(scope="session")
def cluster() -> Iterator[pathlib.Path]:
    """The administrator's kubeconfig of a cluster with nodes: KUBECONFIG's, else the one of `make cluster`.

    Where that does not run, it is started, and ended after the last test.
    """
    if other := whole.given():
        yield other
        return
    ran = whole.running()
    whole.up()
    try:
        yield places.kubeconfig()
    finally:
        if not ran:
            whole.down()


@pytest.fixture(scope="session")
def installed(cluster: pathlib.Path) -> Iterator[installation.Installed]:
    """Retic on the cluster with nodes, with the values that it has by default."""
    with installation.on(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def kube(cluster: pathlib.Path) -> Iterator[kubectl.Kubectl]:
    """kubectl in a new namespace of the cluster, which goes after the module's last test."""
    made = kubectl.Kubectl(cluster, f"retic-test-{secrets.token_hex(3)}")
    made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace}})
    try:
        made.run("wait", "serviceaccount/default", "--for=create", "--timeout=110s")
        yield made
    finally:
        made.run("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="module")
def nodes(kube: kubectl.Kubectl) -> list[str]:
    """The names of two nodes that are ready; of one twice where the cluster has one."""
    ready = [
        item["metadata"]["name"]
        for item in kube.get("nodes")["items"]
        if any(each["type"] == "Ready" and each["status"] == "True" for each in item["status"]["conditions"])
    ]
    return sorted((ready * 2)[:2])


@pytest.fixture
async def gateway_api(apiserver: pathlib.Path) -> AsyncIterator[api.Api]:
    """A client of the API server, which has the Gateway API's CRDs."""
    async with await api.connect(apiserver) as made:
        await kube_rig.install_crds(made)
        yield made


@pytest.fixture
async def rig(gateway_api: api.Api, tmp_path: pathlib.Path) -> AsyncIterator[kube_rig.Rig]:
    """The controllers, one replica of them, which leads."""
    async with kube_rig.Rig(gateway_api, tmp_path) as made:
        yield made
