"""What is installed, by what must hold of it whatever the values."""

import json

import pytest

from retic import objects
from retic.install import given, manifest, names, template, values
from retic.install.parts import config, node, rights
from retic.mesh import tables
from retic.sources.api import kinds


@pytest.fixture
def rendered():
    return manifest.render(values.Values())


def one(rendered, kind, name):
    return next(v for v in rendered if v["kind"] == kind and v["metadata"]["name"] == name)


def test_everything_is_labelled_and_in_our_namespace(rendered):
    for value in rendered:
        assert value["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "retic"
        assert value["metadata"].get("namespace") in (None, "retic-system")
    known = [(v["kind"], v["metadata"]["name"]) for v in rendered]
    assert len(set(known)) == len(known)


def test_the_controller_may_read_what_the_mesh_is_made_from():
    allowed = {(r["apiGroups"][0], word) for r in rights.read() for word in r["resources"]}
    for kind in tables.TABLES:
        group = objects.KINDS[kind].api_versions[0].rpartition("/")[0]
        assert (group, rights.plural(kind)) in allowed


def test_no_right_is_for_everything(rendered):
    for value in rendered:
        for rule in value.get("rules") or ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
    (cluster,) = [v for v in rendered if v["kind"] == "ClusterRole"]
    for rule in cluster["rules"]:
        if {"secrets", "pods", "nodes"} & set(rule["resources"]):
            assert set(rule["verbs"]) <= {"get", "list", "watch"}


def test_the_agent_has_no_rights(rendered):
    for value in rendered:
        for subject in value.get("subjects") or ():
            assert subject["name"] == "retic-controller"
    spec = one(rendered, "DaemonSet", "retic-node")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["securityContext"]["privileged"] is False
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]


def test_the_controller_runs_as_nobody(rendered):
    spec = one(rendered, "Deployment", "retic-controller")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_the_webhook_is_never_asked_about_pods(rendered):
    (hook,) = one(rendered, "ValidatingWebhookConfiguration", "retic")["webhooks"]
    assert hook["failurePolicy"] == "Ignore"
    assert {rule["apiGroups"][0] for rule in hook["rules"]} == {
        "gateway.networking.k8s.io", "security.istio.io", "networking.istio.io",
    }  # fmt: skip


def test_the_services_come_before_who_finds_them_in_the_environment(rendered):
    kinds = [value["kind"] for value in rendered]
    assert kinds.index("Namespace") == 0
    assert kinds.index("Service") < kinds.index("Deployment") < kinds.index("DaemonSet")


def test_a_change_of_settings_rolls_the_controller():
    def digest(*assignments):
        made = manifest.render(given.load(given.collect([], assignments)))
        return one(made, "Deployment", "retic-controller")["spec"]["template"]["metadata"]["annotations"]

    assert digest() == digest("controller.replicas=3") != digest("mode=STRICT")


def test_the_settings_are_json(rendered):
    data = one(rendered, "ConfigMap", "retic-config")["data"]
    assert data["drain"] == "false"
    told = json.loads(data["config.json"])
    assert set(told) == set(config.FIELDS)
    assert told["mode"] == "PERMISSIVE"
    assert told["lifetime"] == 86400


def test_the_pod_outlives_its_drain():
    made = manifest.render(given.load({"node": {"drainSeconds": 100}}))
    spec = one(made, "DaemonSet", "retic-node")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > 100


def test_a_namespace_of_ones_own():
    made = manifest.render(given.load({"createNamespace": False}))
    assert "Namespace" not in [value["kind"] for value in made]


def test_a_place_for_a_value_that_does_not_exist():
    with pytest.raises(AttributeError, match=r"controller has no value replica"):
        _ = template.V.controller.replica


def test_the_cleaner_reaches_every_node():
    made = template.fill(node.clean_up(), values.Values())
    spec = made["spec"]["template"]["spec"]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["hostNetwork"] is True
    assert made["metadata"]["namespace"] == names.NAMESPACE


def test_the_plurals_are_those_that_are_asked_for():
    asked = {read.kind: read.plural for read in kinds.mesh()}
    assert {kind: rights.plural(kind) for kind in asked} == asked
