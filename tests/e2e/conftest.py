"""One mesh for most of the tests here: two nodes, many accounts, servers of every protocol."""

import json
import pathlib
import shutil

import machine_mesh
import pod_session
import pytest

from retic.testing import machine, outsider, running

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mesh") / "manifests"
    shutil.copytree(HERE / "manifests", folder)
    with running.mesh(folder, nodes=2) as started:
        yield started


@pytest.fixture(scope="session")
def near(mesh):
    """Inside pod c0 of node-1."""
    with pod_session.Pod(mesh, "c0") as pod:
        yield pod


@pytest.fixture(scope="session")
def far(mesh):
    """Inside pod far of node-2."""
    with pod_session.Pod(mesh, "far") as pod:
        yield pod


@pytest.fixture(scope="session")
def guest(mesh):
    """Inside pod guest of node-2, in namespace other."""
    with pod_session.Pod(mesh, "guest", "other") as pod:
        yield pod


@pytest.fixture(scope="session")
def lone_host():
    """A machine of a user without rights."""
    with machine.on(machine.users()[-1]) as made:
        yield made


@pytest.fixture(scope="session")
def lone(lone_host):
    """A small mesh of that user, which leaves nothing behind."""
    before = machine_mesh.traces(lone_host)
    made = machine_mesh.Mesh(lone_host).bring_up(nodes=2)
    yield made
    done = made.command("down")
    assert (done.returncode, done.stderr) == (0, "")
    machine_mesh.gone(lone_host, before, made)


@pytest.fixture(scope="session")
def rough(tmp_path_factory):
    """A mesh for crashes, scans and broken edits; certificates live for 30 s, so they are renewed meanwhile."""
    folder = tmp_path_factory.mktemp("rough") / "manifests"
    shutil.copytree(HERE / "rough", folder)
    key, chain = outsider.Forger(folder.parent, folder.parent / "ca").pair("spiffe://cluster.local/ns/default/sa/door")
    data = {"tls.key": pathlib.Path(key).read_text(), "tls.crt": pathlib.Path(chain).read_text()}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "door"}}
    (folder / "secret.yaml").write_text(json.dumps({**secret, "stringData": data}))
    with running.mesh(folder, nodes=2, extra=["--certificate-lifetime", "30"]) as started:
        yield started


@pytest.fixture(scope="session")
def failing(tmp_path_factory):
    """A mesh of three nodes in two zones whose pods fail in every way; its gateway is at port 18250."""
    folder = tmp_path_factory.mktemp("failing") / "manifests"
    shutil.copytree(HERE / "failing", folder)
    with running.mesh(folder, nodes=3) as started:
        yield started


@pytest.fixture(scope="session")
def client(failing):
    """Inside its pod client of node-1."""
    with pod_session.Pod(failing, "client") as pod:
        yield pod


@pytest.fixture(scope="session")
def far_client(failing):
    """Inside its pod far-client of node-3, in the other zone."""
    with pod_session.Pod(failing, "far-client") as pod:
        yield pod
