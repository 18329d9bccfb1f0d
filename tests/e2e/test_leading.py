"""Where callers are led: sessions of routes, and what Services say of addresses, nodes and zones."""

import collections
import http.client

import live
import pytest

from retic.testing import wait

DOOR = ("127.0.0.1", 18250)


def who(session, host, times=16, **more):
    """How often each pod, or status, answered."""
    answers = (session.http(f"http://{host}/", **more) for _ in range(times))
    return collections.Counter(got["text"] if got["status"] == 200 else got["status"] for got in answers)


def token(answer, host):
    """The header by which a client shows that it belongs to the answer's session."""
    if host == "by-header":
        return {"x-mine": answer["headers"]["x-mine"]}
    return {"cookie": answer["headers"]["set-cookie"].partition(";")[0]}


@pytest.mark.parametrize("host", ["by-cookie", "by-header"])
def test_a_session_stays_with_its_pod(client, host):
    assert set(who(client, host, 24)) == {"near", "beside"}
    for _ in range(2):
        first = client.http(f"http://{host}/")
        assert who(client, host, headers=token(first, host)) == {first["text"]: 16}
    made_up = {"cookie": "mine=no", "x-mine": "MTAuMC4wLjE6ODA="}
    assert client.http(f"http://{host}/", headers=made_up)["status"] == 200


def test_a_cookie_says_how_long_it_holds(client):
    said = client.http("http://by-cookie/")["headers"]["set-cookie"]
    assert said.startswith("mine=")
    assert said.partition("; ")[2].split("; ") == ["Max-Age=3600", "Path=/", "HttpOnly"]


@pytest.mark.parametrize("host", ["by-cookie", "by-header"])
def test_a_session_outlives_its_pod(failing, client, host):
    command = ["python3", "-m", "retic.testing.apps.faulty_http", "--name", "guest"]
    container = {"name": "s", "command": command, "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": live.meta(f"guest-{host}", labels={"east": "yes"}),
        "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 1, "containers": [container]},
    }  # fmt: skip

    def at_guest():
        got = client.http(f"http://{host}/")
        return token(got, host) if got["text"] == "guest" else None

    old = client.http(f"http://{host}/")
    with live.file(failing, f"guest-{host}.yaml", pod):
        held = wait.until(at_guest, "a session at the new pod", seconds=20, every=0.02)
        assert who(client, host, 8, headers=token(old, host)) == {old["text"]: 8}, "a new pod moves nobody"
        assert who(client, host, 8, headers=held) == {"guest": 8}
    moved = wait.until(
        lambda: (got := client.http(f"http://{host}/", headers=held))["text"] in ("near", "beside") and got,
        "the session is elsewhere", seconds=20, every=0.05,
    )
    assert who(client, host, 8, headers=token(moved, host)) == {moved["text"]: 8}


def test_a_gateway_keeps_sessions_and_retries_too():
    def get(path, **headers):
        door = http.client.HTTPConnection(*DOOR, timeout=10)
        door.request("GET", path, headers=headers)
        answer = door.getresponse()
        body = answer.read().decode()
        door.close()
        return answer, body

    assert [get("/pair")[1] for _ in range(8)] == ["good"] * 8
    first, name = get("/")
    said = first.getheader("set-cookie")
    assert said.startswith("retic-session-")
    assert "Max-Age" not in said
    assert {get("/", cookie=said.partition(";")[0])[1] for _ in range(12)} == {name}


def test_an_address_keeps_its_endpoint(client, far_client):
    assert set(who(client, "zone-first", 24)) == {"near", "beside"}
    (name,) = who(client, "by-address")
    text = "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    lengths = {client.say("by-address", 81, text, lines=2)["lines"][1] for _ in range(12)}
    assert lengths == {f"content-length: {len(name)}\n"}, "and over TCP the same"
    assert set(who(far_client, "by-address", 8)) == {"far"}


@pytest.mark.parametrize(
    ("host", "here", "there"),
    [
        ("zone-first", {"near", "beside"}, {"far"}),
        ("node-first", {"near"}, {"far"}),
        ("node-only", {"near"}, {"far"}),
        # Nothing is on node-3, and whoever is elsewhere does not answer instead.
        ("east-only", {"near"}, {503}),
    ],
)
def test_a_service_says_how_far_its_callers_are_led(client, far_client, host, here, there):
    assert set(who(client, host, 24)) == here
    assert set(who(far_client, host, 8)) == there


def test_who_is_led_to_its_node_first_goes_further_when_nobody_is_there(failing, client):
    with live.file(failing, "away.yaml", live.service("away", {"away": "yes"}, trafficDistribution="PreferSameNode")):
        for name, node in (("zone", "node-2"), ("other", "node-3"), ("node", "node-1")):
            command = ["python3", "-m", "retic.testing.apps.faulty_http", "--name", name]
            ready = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
            pod = {
                "apiVersion": "v1", "kind": "Pod", "metadata": live.meta(f"away-{name}", labels={"away": "yes"}),
                "spec": {"nodeName": node, "containers": [{"name": "s", "command": command, "readinessProbe": ready}]},
            }  # fmt: skip
            live.write(failing, f"away-{name}.yaml", pod)
        wait.until(lambda: set(who(client, "away", 4)) == {"node"}, "the caller's node", seconds=20)
        for name, next_one in (("node", "zone"), ("zone", "other")):
            live.remove(failing, f"away-{name}.yaml")
            wait.until(lambda name=next_one: set(who(client, "away", 4)) == {name}, next_one, seconds=20)
        live.remove(failing, "away-other.yaml")
