"""DestinationRules through real Envoys: each algorithm by its distribution or its stickiness over real requests."""

import collections
import itertools
import time

import balanced
import live
import pod_probes
import pod_session
import pytest

from retic.testing import running, wait

NEAR = {"e1", "e2", "e3"}
KEYS = [f"user-{number}" for number in range(24)]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balanced") / "manifests"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(balanced.manifests())
    with running.mesh(folder, nodes=2) as started:
        yield started


@pytest.fixture(scope="module")
def clients(mesh):
    made = [pod_session.Pod(mesh, f"c{number}") for number in range(1, 5)]
    yield made
    for pod in made:
        pod.close()


@pytest.fixture(scope="module")
def client(clients):
    return clients[0]


@pytest.fixture(scope="module", autouse=True)
def loaded(client):
    """When the node's proxy got to know the pods that warm up."""
    client.order("warmed")
    return time.monotonic()


def who(pod, host, path="/", **more):
    return pod.order(host, path, **more)["who"]


def shares(pod, host, times, **more):
    return pod.count(host, times=times, field="name", **more)


def connections(mesh):
    """How many connections have reached pods of the first node by the mesh's TLS."""
    return sum(v for k, v in mesh.stats("node-1").items() if k == "http.inbound.downstream_cx_total")


def sticks(ask):
    """`ask(key)` gives who answered requests with that key: always the same one, and not the same one for all keys."""
    first = {key: ask(key) for key in KEYS}
    assert all(len(set(each)) == 1 for each in first.values()), first
    again = {key: ask(key) for key in KEYS}
    assert {key: set(each) for key, each in again.items()} == {key: set(each) for key, each in first.items()}
    found = collections.Counter(each[0] for each in first.values())
    assert set(found) == NEAR, found


def test_round_robin_gives_everybody_the_same(client):
    found = who(client, "robin", times=90)
    assert collections.Counter(found) == dict.fromkeys(NEAR, 30)
    assert all(len(set(found[i : i + 3])) == 3 for i in range(88))


def test_random_gives_everybody_about_the_same_in_no_order(client):
    found = who(client, "random", times=600)
    # Five standard deviations around a third.
    assert all(140 <= number <= 260 for number in collections.Counter(found).values()), found
    assert set(found) == NEAR
    assert sum(a == b for a, b in itertools.pairwise(found)) > 100


def test_least_request_gives_a_slow_pod_less(client):
    client.order("least", times=9)
    found = shares(client, "least", 400, path="/only/e1/delay/400", connections=8)
    assert set(found) == NEAR
    assert found["e1"] * 2 < min(found["e2"], found["e3"]), found


@pytest.mark.parametrize("host", ["ring-header", "maglev-header"])
def test_the_same_header_leads_to_the_same_pod(client, host):
    sticks(lambda key: who(client, host, headers={"x-user": key}, times=3))
    assert set(who(client, host, times=40)) == NEAR  # without it, to anybody


def test_the_same_query_leads_to_the_same_pod(client):
    sticks(lambda key: who(client, "ring-query", f"/?other={key}&user={key}", times=3))


@pytest.mark.parametrize(
    ("host", "name"), [("ring-cookie", "place"), ("maglev-cookie", "spot"), ("given-cookie", "spot")]
)
def test_the_same_cookie_leads_to_the_same_pod(client, host, name):
    sticks(lambda key: who(client, host, headers={"cookie": f"a=b; {name}={key}"}, times=3))


@pytest.mark.parametrize(("host", "said"), [("ring-cookie", "place="), ("maglev-cookie", "spot=")])
def test_a_cookie_is_made_where_there_is_none_and_sticks(client, host, said):
    found = [client.order(host, times=6, sticky=said) for _ in range(40)]
    for each in found:
        assert len(each["cookies"]) == 1, each
        assert each["cookies"][0].startswith(said)
        assert len(set(each["who"])) == 1, each
    assert {each["who"][0] for each in found} == NEAR
    parts = found[0]["cookies"][0].split("; ")
    assert ("Max-Age=3600" in parts) == (host == "maglev-cookie"), parts
    assert ("Path=/" in parts) == (host == "ring-cookie"), parts


def test_no_cookie_is_made_without_a_time_to_live(client):
    assert client.order("given-cookie", times=4)["cookies"] == []


@pytest.mark.parametrize("port", [80, 81])
def test_the_same_caller_is_led_to_the_same_pod(clients, port):
    found = [{who(pod, "source", port=port)[0] for _ in range(8)} for pod in clients]
    assert all(len(each) == 1 for each in found), found
    assert len({one for each in found for one in each}) > 1, found


def test_what_asks_for_tls_never_calls_in_plaintext(client):
    assert set(who(client, "open", times=3)) == {"plain"}
    answer = client.http("http://closed/")
    assert answer["status"] == 503
    assert answer["headers"]["x-retic-code"] == "RT1102", answer  # no connection could be made
    assert answer["seconds"] < 8


def test_behind_a_gateway_each_backend_has_its_own_rule():
    def ask(key, other):
        url = f"http://127.0.0.1:{balanced.GATEWAY_PORT}/?user={other}"
        return [pod_probes.http(url, headers={"x-user": key})["json"]["name"] for _ in range(8)]

    # Of two Services that share, one looks at the header and one at the query: two pods at the most.
    found = [ask(key, other) for key, other in itertools.product(KEYS[:3], KEYS[3:6])]
    assert all(len(set(each)) <= 2 for each in found), found
    assert {one for each in found for one in each} == NEAR


def test_a_port_of_its_own_has_nothing_of_the_rest(client):
    assert len(set(who(client, "ports", headers={"x-user": "a"}, times=6))) == 1
    assert set(who(client, "ports", headers={"x-user": "a"}, times=6, port=81)) == NEAR


def test_shares_of_zones_are_kept(client):
    found = shares(client, "shared", 400, connections=1)
    assert set(found) == NEAR | {"w1"}
    assert 90 <= found["w1"] <= 150, found  # three of ten


def test_no_zone_is_preferred_where_that_is_switched_off(client):
    found = shares(client, "level", 200)
    assert set(found) == NEAR | {"w1"}
    assert found["w1"] > 3, found


def test_what_is_beyond_the_pool_is_answered_503(client):
    client.order("pool")  # the cluster is there
    found = shares(client, "pool", 24, path="/delay/4000", connections=24)
    # One connection to each of three pods of each of two workers, and one request that waits; two where both workers
    # look at that limit at once, which Envoy allows.
    assert found.get("503", 0) >= 24 - 8, found
    assert sum(found.get(name, 0) for name in NEAR) >= 1, found
    # And it is over with the burst.
    assert set(who(client, "pool", times=6)) <= NEAR


def test_a_connection_carries_no_more_requests_than_it_may(mesh, client):
    made = connections(mesh)
    client.order("robin", times=18)
    kept = connections(mesh)
    client.order("short", times=18)
    assert connections(mesh) - kept >= 9  # of two requests each
    assert kept - made <= 3  # of each pod one, if there was none


def test_a_pod_that_fails_is_left_out_and_comes_back(client):
    assert set(who(client, "sick", times=9)) == NEAR
    found = who(client, "sick", "/only/e1/status/500", times=200)
    failed = [each for each in found if each.startswith("500")]
    # Left out after three; each worker learns it from the main thread, which on a busy machine takes some more.
    assert 3 <= len(failed) <= 40, found  # of 66
    assert not any(each.startswith("500") for each in found[150:]), found  # and then no more
    assert set(who(client, "sick", times=12)) == NEAR - {"e1"}

    def back():
        return set(who(client, "sick", times=9)) == NEAR

    wait.until(back, "e1 is called again", seconds=40, every=0.3)


def test_never_are_all_left_out(client):
    found = who(client, "sick", "/status/500", times=40)
    assert all(each.startswith("500") for each in found), found  # the pods' own answers, to the last
    assert set(who(client, "sick", times=9)) <= NEAR


def test_a_changed_rule_holds_at_once(mesh, client):
    assert set(who(client, "changed", headers={"x-user": "a"}, times=6)) == NEAR
    policy = balanced.balanced(consistentHash={"httpHeaderName": "x-user"})
    before = mesh.stats("node-1")
    with live.file(mesh, "older.yaml", balanced.rule("another", policy, host="changed", namespace="other")):
        assert set(who(client, "changed", headers={"x-user": "a"}, times=6)) == NEAR  # which is for others
    text = (mesh.folder / "mesh.yaml").read_text()
    old = "    loadBalancer:\n      simple: ROUND_ROBIN\n"
    head, mark, tail = text.partition("host: changed\n")
    new = "    loadBalancer:\n      consistentHash:\n        httpHeaderName: x-user\n"
    live.write(mesh, "mesh.yaml", head + mark + tail.replace(old, new, 1))

    def sticky():
        return len(set(who(client, "changed", headers={"x-user": "a"}, times=6))) == 1

    wait.until(sticky, "the new rule holds", seconds=10, every=0.1)
    after = mesh.stats("node-1")
    assert not {k for k in after if "drain" in k and after[k] != before.get(k)}


def test_another_zone_takes_over_when_nobody_is_ready(mesh, client):
    assert set(who(client, "failing", times=6)) == {"e1"}
    text = (mesh.folder / "mesh.yaml").read_text()
    live.write(mesh, "mesh.yaml", text.replace("    pair: 'yes'\n", "", 1))

    def moved():
        return set(who(client, "failing", times=6)) == {"w1"}

    wait.until(moved, "calls go to the other zone", seconds=20, every=0.3)


def test_a_new_pod_warms_up(mesh, client, loaded):
    # Who is there already has been for most of the twenty-four seconds, and more.
    wait.until(lambda: time.monotonic() > loaded + 22, "the pods are warm", seconds=24)
    assert set(who(client, "warmed", times=200)) == {"e2", "e3"}
    with live.file(mesh, "new.yaml", *[balanced.server("n1", warm="yes")]):
        wait.until(lambda: "n1" in who(client, "warmed", times=250), "the new pod is called", seconds=30, every=0.01)
        found = collections.Counter(who(client, "warmed", times=150))
        assert found["n1"] * 2 < min(found["e2"], found["e3"]), found

        def warm():
            return collections.Counter(who(client, "warmed", times=60)) == dict.fromkeys(("e2", "e3", "n1"), 20)

        wait.until(warm, "all get the same", seconds=60, every=0.5)
