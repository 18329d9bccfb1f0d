"""Labels and annotations of the mesh's own that do nothing are findings; those that do something are none."""

import pytest
from test_enrolment import LABELLED, mesh, namespace, pod

from retic import findings
from retic.mesh import faults, network, tables
from retic.objects import core, meta

NEVER = "pods of {} are never enrolled: the mesh itself, or the cluster, depends on them"


def said(kind, name, *given, settings=LABELLED, inside=""):
    return db_faults(mesh(*given, settings=settings), findings.Ref(kind, inside, name))


def db_faults(db, ref):
    return [(f.code, f.path, f.message) for f in db.ask(faults.of, ref)]


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("shop", "true", "retic.dev/mesh: true enrols nobody"),
        ("kube-system", "enabled", NEVER.format("kube-system")),
        ("retic-system", "enabled", NEVER.format("retic-system")),
        ("shop", "enabled", None),
        ("shop", "disabled", None),
        ("shop", "", None),
    ],
)  # fmt: skip
def test_namespaces(name, label, message):
    wanted = [("RT0112", "metadata.labels[retic.dev/mesh]", message)] if message else []
    assert said("Namespace", name, namespace(name, label)) == wanted
    assert said("Namespace", name, namespace(name, label), settings=network.Settings()) == []


@pytest.mark.parametrize(
    ("around", "label", "message"),
    [
        ("enabled", "no", "retic.dev/mesh: no leaves nobody out"),
        ("", "enabled", "the pod is not enrolled: its label counts only where namespace shop is"),
        ("enabled", "enabled", None),
        ("enabled", "disabled", None),
        ("", "disabled", None),
    ],
)
def test_pods(around, label, message):
    given = (namespace(label=around), pod(labels={tables.MESH_LABEL: label}))
    wanted = [("RT0112", "metadata.labels[retic.dev/mesh]", message)] if message else []
    assert said("Pod", "s0-0", *given, inside="shop") == wanted
    assert said("Pod", "s0-0", *given, settings=network.Settings(), inside="shop") == []


def test_nodes():
    about = meta.Metadata(name="node-1", annotations={tables.PROBE_SOURCES: "10.0.0.1, fd00::1,x"})
    found = said("Node", "node-1", core.Node(metadata=about), settings=network.Settings())
    where = "metadata.annotations[retic.dev/probe-sources]"
    assert found == [
        ("RT0112", where, "'fd00::1' is no IPv4 address"), ("RT0112", where, "'x' is no IPv4 address"),
    ]  # fmt: skip
