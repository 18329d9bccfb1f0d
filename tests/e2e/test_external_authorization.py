"""CUSTOM policies: real authorizers, over gRPC and HTTP, asked by real Envoys in the name of the pod that is called."""

import json
import os
import pathlib
import shutil
import signal

import live
import pod_session
import pytest
import rough_load as load

from retic.testing import running, wait

WEB = "URI=spiffe://cluster.local/ns/default/sa/web"
CLIENT = "spiffe://cluster.local/ns/default/sa/default"
UPGRADE = {
    "connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "eA==", "sec-websocket-version": "13",
}  # fmt: skip
STEADY = ("total_filter_chains_draining", "total_listeners_draining", "listener_removed", "listener_modified")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("external") / "manifests"
    shutil.copytree(pathlib.Path(__file__).parent / "external", folder)
    with running.mesh(folder, nodes=2) as started:
        yield started


@pytest.fixture(scope="module")
def client(mesh):
    with pod_session.Pod(mesh, "client") as pod:
        yield pod


@pytest.fixture(scope="module")
def friend(mesh):
    with pod_session.Pod(mesh, "friend") as pod:
        yield pod


def ask(client, path, decide="", url="http://web", **more):
    headers = {**({"x-decide": decide} if decide else {}), **more.pop("headers", {})}
    return client.http(f"{url}{path}", headers=headers, **more)


def seen(answer):
    assert answer["status"] == 200, answer
    return answer["json"]["headers"]


def test_what_no_rule_matches_is_not_asked_about(client):
    assert "x-user" not in seen(ask(client, "/free"))


def test_over_grpc_an_authorizer_allows_and_says_who_it_is(client):
    answer = ask(client, "/grpc/a", "allow", headers={"x-user": "admin", "x-take-away": "1"})
    headers = seen(answer)
    assert headers["x-user"].startswith("user-of-")
    assert "x-take-away" not in headers
    assert WEB in answer["headers"]["x-decision"]
    assert headers["x-seen-caller"] == CLIENT


@pytest.mark.parametrize("path", ["/grpc/a", "/http/a"])
def test_an_authorizer_refuses_in_its_own_words(client, path):
    answer = ask(client, path, "deny")
    assert (answer["status"], answer["headers"]["x-reason"]) == (401, "deny")
    assert answer["text"].endswith("refuses GET /check/http/a\n" if path == "/http/a" else "refuses GET /grpc/a\n")
    assert ask(client, path)["headers"]["x-reason"] == "nothing"
    assert answer["headers"]["x-retic-code"] == "RT1109"


@pytest.mark.parametrize(
    ("path", "decide", "why"), [("/grpc/a", "deny", "said no"), ("/shut/a", "allow", "could not be asked")]
)
def test_who_has_an_authorizer_asked_is_told_by_the_id(mesh, client, path, decide, why):
    answer = ask(client, path, decide)
    assert answer["headers"]["x-retic-code"] == "RT1109"
    done = mesh.command("explain", "response", answer["headers"]["x-retic-id"], "-o", "json")
    (told,) = json.loads(done.stdout)["seen"]
    policies = [step for step in told["steps"] if step["what"] == "policy"]
    assert policies
    assert all(why in step["text"] and step["line"] for step in policies)


def test_over_http_only_named_headers_go_either_way(client):
    answer = ask(client, "/http/a", "allow", headers={"x-user": "admin", "x_user": "admin", "x-secret": "1"})
    headers = seen(answer)
    assert headers["x-user"].startswith("user-of-")
    assert "x_user" not in headers
    assert "x-secret" not in headers["x-seen-headers"].split(",")
    assert "x-added" in headers["x-seen-headers"].split(",")
    assert "authz-http allows" in answer["headers"]["x-decision"]
    assert "x-user" not in answer["headers"]


def test_what_only_the_authorizer_may_say_is_believed_from_nobody_else(client):
    assert seen(ask(client, "/free", headers={"x-user": "admin"})).get("x-user") is None


@pytest.mark.parametrize("path", ["/grpc/a", "/http/a"])
def test_the_authorizer_is_asked_in_the_name_of_the_pod_that_is_called(client, path):
    assert WEB in seen(ask(client, path, "allow"))["x-seen-by"]


@pytest.mark.parametrize(
    ("path", "decide", "status"),
    [
        ("/hasty/a", "slow", 403), ("/hasty-http/a", "slow", 503), ("/grpc/a", "garbage", 403),
        ("/http/a", "garbage", 403), ("/shut/a", "allow", 503), ("/missing/a", "allow", 403),
        ("/closed/a", "allow", 403),
    ],
)  # fmt: skip
def test_without_an_answer_a_request_is_refused(client, path, decide, status):
    assert ask(client, path, decide)["status"] == status


def test_it_passes_without_an_answer_only_where_that_is_asked_for(client):
    assert "x-user" not in seen(ask(client, "/open/a"))


@pytest.mark.parametrize("provider", ["grpc", "http", "body", "beginning", "open"])
def test_rules_hold_after_an_authorizer_has_allowed(client, provider):
    assert ask(client, f"/{provider}/fine", "allow")["status"] == 200
    assert ask(client, f"/{provider}/denied", "allow")["status"] == 403
    assert ask(client, f"/{provider}/denied", "allow", method="POST", body="b")["status"] == 403


def test_rules_see_what_an_authorizer_has_said_and_no_forger(client):
    assert ask(client, "/http/named", "allow")["status"] == 403
    assert ask(client, "/free/named", headers={"x-user": "user-of-me"})["status"] == 200


def test_what_several_providers_are_meant_to_decide_is_refused(client):
    assert ask(client, "/grpc/both", "allow")["status"] == 403


def test_bodies_are_shown_up_to_their_bound(client):
    assert seen(ask(client, "/body/a", "allow", method="POST", body="b" * 64))["x-seen-body"] == "64"
    assert ask(client, "/body/a", "allow", method="POST", body="b" * 65)["status"] == 413
    answer = ask(client, "/beginning/a", "allow", method="POST", body="b" * 100_000)
    assert seen(answer)["x-seen-body"] == "64"
    assert answer["json"]["body_bytes"] == 100_000


def test_connections_are_asked_about_by_the_callers_identity(client, friend):
    assert "hello" in json.dumps(friend.say("raw", 7000, "hello\n"))
    assert "hello" not in json.dumps(client.say("raw", 7000, "hello\n"))


def test_a_server_that_speaks_first_hears_nothing_of_who_is_refused(client, friend):
    """Envoy decides at the caller's first byte: the greeting has been sent by then."""
    assert "hello" in json.dumps(friend.say("raw", 7002, "hello\n", lines=2))
    assert "hello" not in json.dumps(client.say("raw", 7002, "hello\n", lines=2))


def test_connections_cannot_be_asked_about_over_http_and_are_refused(friend):
    assert "hello" not in json.dumps(friend.say("raw", 7001, "hello\n"))


def test_websockets_are_asked_about_like_requests(client):
    for path in ("/grpc/chat", "/http/chat", "/body/chat"):
        assert client.websocket(f"ws://web{path}", "hi", headers={"x-decide": "allow"})["echo"] == "hi"
        answer = ask(client, path, headers=UPGRADE)
        assert answer["status"] == 401


def test_at_a_gateway(mesh):
    import pod_probes

    at = wait.until(lambda: mesh.ps()["gateways"][0]["listeners"][0]["address"], "the gateway's address")
    assert pod_probes.http(f"http://{at}/free")["status"] == 200
    assert pod_probes.http(f"http://{at}/private/a")["status"] == 401
    answer = pod_probes.http(f"http://{at}/private/a", headers={"x-decide": "allow"})
    assert answer["status"] == 200
    assert "spiffe://cluster.local/ns/default/sa/door" in answer["headers"]["x-decision"]


def custom(name, **spec):
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": live.meta(name),
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "action": "CUSTOM", **spec},
    }


def test_no_change_of_a_policy_ends_a_connection(mesh, client):
    before = {key: mesh.stats("node-1")[f"listener_manager.{key}"] for key in STEADY}
    client.websocket_open("chat", "ws://web/free")
    client.begin("held", "web", keep=True, path="/free")
    policy = custom("later", provider={"name": "door"}, rules=[{"to": [{"operation": {"paths": ["/later"]}}]}])
    with live.file(mesh, "later.yaml", policy):
        wait.until(lambda: ask(client, "/later")["status"] == 401, "the policy holds")
        assert ask(client, "/later", "allow")["status"] == 200
        assert client.websocket_talk("chat", "still") == "still"
    wait.until(lambda: ask(client, "/later")["status"] == 200, "the policy is gone")
    assert client.websocket_talk("chat", "here") == "here"
    assert list(client.end("held")) == [""]
    assert {key: mesh.stats("node-1")[f"listener_manager.{key}"] for key in STEADY} == before


def test_an_envoy_that_starts_without_the_control_plane_asks_as_before(mesh, client):
    before = load.processes(mesh)
    os.kill(before["control", "control"], signal.SIGSTOP)
    try:
        load.kill(before["envoy", "node-1"])
        wait.until(lambda: ask(client, "/grpc/a", "allow")["status"] == 200, "the next Envoy asks", 20, every=0.1)
        assert ask(client, "/grpc/a")["status"] == 401
        assert ask(client, "/http/a", "allow")["status"] == 200
        assert ask(client, "/grpc/denied", "allow")["status"] == 403
    finally:
        os.kill(before["control", "control"], signal.SIGCONT)
    load.settled(mesh)


def test_no_filter_was_left_out(mesh):
    stats = mesh.stats("node-1")
    assert not [key for key, value in stats.items() if "delegation_error" in key and value]
