"""Which mesh answers: one on this machine, or that of a cluster; and what is said when neither is there."""

import pathlib

import pytest

from retic.cli import cluster, failure, running, which

CONFIG = """
current-context: here
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: here, context: {cluster: c}}]
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """No mesh, no cluster; what runs and what is named are set by the test."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def make(*meshes, config=None):
        monkeypatch.setattr(running, "found", lambda name: pathlib.Path("/state") if name in meshes else None)
        monkeypatch.setattr(running, "names", lambda: list(meshes))
        if config is not None:
            (tmp_path / ".kube").mkdir()
            (tmp_path / ".kube" / "config").write_text(config)

    return make


def test_a_mesh_on_this_machine(machine, capsys):
    machine("retic", "other")
    assert which.mesh(which.Options()) == pathlib.Path("/state")
    assert capsys.readouterr().err == ""


def test_the_cluster_where_no_mesh_runs_here(machine, capsys):
    machine(config=CONFIG)
    assert which.mesh(which.Options()) == cluster.Target()
    assert capsys.readouterr().err == ""


def test_where_both_are_it_is_said_which(machine, capsys, tmp_path):
    machine("retic", config=CONFIG)
    assert which.mesh(which.Options()) == pathlib.Path("/state")
    there = f"context here of {tmp_path}/.kube/config"
    assert capsys.readouterr().err == (
        f"this is the mesh retic on this machine; for that of the cluster ({there}) use --context\n"
    )
    assert which.mesh(which.Options(context="here")) == cluster.Target(None, "here")
    assert capsys.readouterr().err == ""


def test_meshes_of_other_names_are_not_taken_for_the_one_that_is_meant(machine, capsys, tmp_path):
    machine("other", config=CONFIG)
    assert which.mesh(which.Options()) == cluster.Target()
    assert "for a mesh on this machine use --name other" in capsys.readouterr().err
    (tmp_path / ".kube" / "config").unlink()
    with pytest.raises(failure.Failure, match=r"no mesh named retic runs .* \(running: other: choose"):
        which.mesh(which.Options())


def test_neither(machine):
    machine()
    with pytest.raises(failure.Failure) as found:
        which.mesh(which.Options())
    assert str(found.value) == (
        "no mesh named retic runs on this machine: start one with: retic up -f PATH; and no cluster is named: "
        "set KUBECONFIG, write ~/.kube/config, or give --kubeconfig"
    )


def test_a_kubeconfig_that_cannot_be_used_is_named(machine, monkeypatch):
    machine(config="contexts: [")
    with pytest.raises(failure.Failure, match="not YAML"):
        which.mesh(which.Options())
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    with pytest.raises(failure.Failure, match="KUBECONFIG names /nonexistent, which cannot be found"):
        which.mesh(which.Options())
    machine("retic")  # and disturbs nobody who asks for a mesh on this machine
    assert which.mesh(which.Options()) == pathlib.Path("/state")


def test_one_or_the_other(machine):
    machine("retic")
    with pytest.raises(failure.Failure, match="give one or the other") as found:
        which.mesh(which.Options("retic", None, "here"))
    assert found.value.code == 2


def test_elsewhere_than_on_linux(machine, monkeypatch):
    machine()
    monkeypatch.setattr(running, "may_run", lambda: False)
    with pytest.raises(failure.Failure, match=r"no cluster is named: .*local mode needs Linux"):
        which.mesh(which.Options())
