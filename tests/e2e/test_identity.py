"""Nobody ever appears as somebody else: many accounts, one proxy, one destination, all at once."""

import json
import pathlib

import live
import pytest

from retic.testing import wait

CLIENT = str(pathlib.Path(__file__).with_name("identity_client.py"))
ACCOUNTS = [f"c{i}" for i in range(6)]


def who(account):
    return f"spiffe://cluster.local/ns/default/sa/{account}"


def run_all(mesh, kind, host, port, expected, pods=ACCOUNTS, seconds=600, **options):
    words = [w for k, v in options.items() for w in (f"--{k}", str(v))]
    started = [mesh.start(a, "python3", CLIENT, kind, host, str(port), expected(a), *words) for a in pods]
    answers = []
    for one in started:
        out, err = one.communicate(timeout=seconds)
        assert one.returncode == 0, err
        answers.append(json.loads(out))
    return answers


@pytest.mark.timeout(900)
def test_a_hundred_thousand_requests_and_not_one_wrong(mesh):
    http1 = run_all(mesh, "http1", "echo-http", 80, who, connections=6, rounds=10, requests=255)
    http2 = run_all(mesh, "http2", "echo-h2", 80, who, connections=2, rounds=5, requests=150)
    addresses = {p["name"]: p["ip"] for p in mesh.ps()["pods"]}
    tcp = run_all(mesh, "tcp", "echo-tcp", 7000, addresses.get, connections=4, rounds=5, requests=50)
    everything = http1 + http2 + tcp
    assert [a["wrong"] for a in everything if a["wrong"]] == []
    assert sum(a["failed"] for a in everything) == 0
    assert sum(a["good"] for a in everything) >= 100_000
    for node in ("node-1", "node-2"):
        resumed = {k: v for k, v in mesh.stats(node).items() if k.endswith("ssl.session_reused")}
        assert sum(resumed.values()) == 0


def test_short_connections_interleaved(mesh):
    answers = run_all(mesh, "http1", "echo-http", 80, who, connections=3, rounds=40, requests=1)
    assert [a["wrong"] for a in answers if a["wrong"]] == []
    assert sum(a["failed"] for a in answers) == 0


def test_pods_of_one_account_and_node_share_no_connection(mesh):
    """The application sees each pod's own address, on connections kept alive by several pods at once."""
    addresses = {p["name"]: p["ip"] for p in mesh.ps()["pods"]}
    twins = [name for name in addresses if name.startswith("twin-")]
    assert len(twins) == 3
    for kind, host in (("http1", "echo-http"), ("http2", "echo-h2")):
        answers = run_all(
            mesh, kind, host, 80, addresses.get, pods=twins, by="address", connections=3, rounds=4, requests=40
        )
        assert [a["wrong"] for a in answers if a["wrong"]] == []
        assert sum(a["failed"] for a in answers) == 0
        assert sum(a["good"] for a in answers) == len(twins) * 3 * 4 * 40


def test_a_pod_that_ends_takes_no_connection_of_another_with_it(mesh):
    calls = ("http1", "echo-http", 80, lambda _: who("c0"))
    idle = {"name": "c", "image": "none", "command": ["sleep", "infinity"]}
    spec = {"nodeName": "node-1", "serviceAccountName": "c0", "containers": [idle], "terminationGracePeriodSeconds": 0}
    brief = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "twin-brief"}, "spec": spec}
    with live.file(mesh, "brief.yaml", brief):
        live.ready(mesh, "twin-brief")
        run_all(mesh, *calls, pods=["twin-brief"], connections=8, requests=40)
    wait.until(lambda: not live.pods(mesh, "twin-brief"), "the other pod is gone", 20, every=0.2)
    (after,) = run_all(mesh, *calls, pods=["twin-0"], seconds=20, connections=8, requests=40)
    assert (after["good"], after["failed"]) == (8 * 40, 0)
