"""Subsets through a whole mesh: a VirtualService names them, a DestinationRule says who is in them."""

import collections

import balanced
import pod_session
import pytest
import yaml

from retic.testing import running


def manifests():
    subsets = [
        {"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": balanced.balanced(simple="ROUND_ROBIN")},
        {"name": "v2", "labels": {"version": "v2"}},
    ]

    def to(**weights):
        return [{"destination": {"host": "web", "subset": name}, "weight": share} for name, share in weights.items()]

    http = [
        {"match": [{"uri": {"prefix": "/one"}}], "route": to(v1=100)},
        {"match": [{"uri": {"prefix": "/none"}}], "route": to(v9=100)},
        {"route": to(v1=70, v2=30)},
    ]
    virtual = {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web"},
        "spec": {"hosts": ["web"], "http": http},
    }  # fmt: skip
    made = [*balanced.SERVERS, balanced.client("c1"), balanced.service("web", balanced.ALL)]
    made += [balanced.rule("web", balanced.balanced(localityLbSetting={"enabled": False}), subsets=subsets), virtual]
    return "---\n".join(yaml.safe_dump(one, sort_keys=False) for one in made)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subsets") / "manifests"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(manifests())
    with running.mesh(folder, nodes=2) as mesh, pod_session.Pod(mesh, "c1") as pod:
        yield pod


def test_a_subset_has_its_own_pods_and_its_own_policy(client):
    found = client.order("web", "/one", times=20)["who"]
    assert collections.Counter(found) == {"e1": 10, "e2": 10}


def test_subsets_share_by_weight(client):
    found = client.count("web", times=300, field="name", connections=2)
    assert set(found) == {"e1", "e2", "e3", "w1"}
    assert 50 <= found["e3"] + found["w1"] <= 130, found


def test_a_subset_that_nobody_says_is_503(client):
    assert client.http("http://web/none")["status"] == 503
