"""Local mode's controllers against their golden folders."""

import copy
import json
import pathlib

import pytest

from retic import objects
from retic.local import workloads
from retic.testing import golden_controllers, normal, settled

CASES = golden_controllers.cases(pathlib.Path(__file__).parent / "controllers")


@pytest.mark.parametrize("folder", CASES, ids=lambda f: f.name)
def test_case(folder):
    case = golden_controllers.Case(folder)
    expected = case.expected()
    assert case.actual() == expected, f"see the diff of `make golden`; again: pytest -k {folder.name}"
    assert "Pod.yaml" in expected
    assert not any(loaded.findings for loaded in case.loaded)


def test_every_kind_is_in_a_case():
    made = {path.removesuffix(".yaml") for folder in CASES for path in golden_controllers.Case(folder).expected()}
    assert made == {*normal.KINDS, "findings"}


def made(folder):
    """A case's objects as JSON."""
    (given, *_) = golden_controllers.Case(folder).loaded
    values = workloads.identified(located.object for located in given.objects)
    world = settled.settle(values, workloads.World(), settled.START)
    return [objects.encode(value) for value in world.listed(values).values()]


def test_what_differs_between_two_clusters_by_nature_makes_no_difference():
    """Other uids, names, hashes, addresses, nodes and times, and fields that only an API server fills."""
    folder = next(f for f in CASES if f.name == "kinds")
    found = made(folder)
    assert golden_controllers.difference(folder, found) == ""
    text = json.dumps(found)
    generated = {
        value["metadata"]["name"].rpartition("-")[2]
        for value in found if value["kind"] in ("ReplicaSet", "EndpointSlice")
    }  # fmt: skip
    swaps = {**{part: part[::-1] for part in generated}, "10.244.": "10.10.", "2030-": "2031-"}
    for old, new in swaps.items():
        text = text.replace(old, new)
    other = json.loads(text)
    for value in other:
        value["metadata"] |= {"resourceVersion": "7", "managedFields": [{}]}
        value["metadata"].setdefault("annotations", {})["cni.example/seen"] = "yes"
        if value["kind"] == "Pod":
            value["status"] |= {"qosClass": "BestEffort", "hostIP": "192.0.2.9"}
    assert golden_controllers.difference(folder, other) == ""


@pytest.mark.parametrize(("kind", "change"), [
    ("Deployment", lambda value: value["status"].update(readyReplicas=1)),
    ("StatefulSet", lambda value: value["status"].update(currentReplicas=1)),
    ("Pod", lambda value: value["status"].update(phase="Pending")),
    ("Pod", lambda value: value["metadata"]["labels"].update(more="")),
    ("Service", lambda value: value["spec"].update(clusterIP="None")),
    ("EndpointSlice", lambda value: value["endpoints"].clear()),
    ("Job", lambda value: value["status"]["conditions"][0].update(reason="Other")),
])  # fmt: skip
def test_what_controllers_decide_makes_one(kind, change):
    folder = next(f for f in CASES if f.name == "kinds")
    found = copy.deepcopy(made(folder))
    change(next(value for value in found if value["kind"] == kind and value["metadata"]["name"] != "away"))
    assert golden_controllers.difference(folder, found) != ""
