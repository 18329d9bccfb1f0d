"""A refused or failed request says why: a code and an id for its client, and with the id everything for its operator.

Limits of connections and used-up retries are provoked in tests/envoy/test_replies.py, in one Envoy alone.
"""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

from retic.telemetry import words
from retic.testing import issuer, running, wait

HERE = pathlib.Path(__file__).parent
DOOR = "http://127.0.0.1:18450"
APP = "spiffe://cluster.local/ns/default/sa/app"
CLIENT = "spiffe://cluster.local/ns/default/sa/client"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("responses") / "manifests"
    shutil.copytree(HERE / "responses", folder)
    (folder / "tokens.yaml").write_text(json.dumps(_tokens()))
    with running.mesh(folder) as started:
        started.exec("unready", "touch", "away")
        wait.until(lambda: not _pod(started, "unready")["ready"], "the pod is not ready any more")
        yield started


def _tokens():
    known = issuer.Issuer("https://issuer.test", issuer.Key("ES256", "a"))
    return {
        "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": {"name": "tokens"},
        "spec": {
            "selector": {"matchLabels": {"app": "app"}},
            "jwtRules": [{"issuer": known.name, "jwks": known.jwks()}],
        },
    }  # fmt: skip


def _pod(mesh, name):
    return next(pod for pod in mesh.ps()["pods"] if pod["name"] == name)


class Answer:
    def __init__(self, text):
        head, _, self.body = text.replace("\r\n", "\n").partition("\n\n")
        first, *rest = head.split("\n") if head else ["HTTP/1.1 0"]
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}

    @property
    def code(self):
        return self.headers.get("x-retic-code")

    @property
    def id(self):
        return self.headers["x-retic-id"]


def ask(mesh, url, *options):
    return Answer(mesh.exec("client", "curl", "-s", "-i", "-m", "10", *options, url).stdout)


def outside(path, *options):
    line = ["curl", "-s", "-i", "-m", "10", *options, f"{DOOR}{path}"]
    return Answer(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def explain(mesh, wanted):
    """What is told of it, and the same for people."""
    done = mesh.command("explain", "response", wanted, "-o", "json")
    assert done.returncode == 0, done.stderr
    shown = mesh.command("explain", "response", wanted)
    assert shown.returncode == 0, shown.stderr
    return json.loads(done.stdout)["seen"], shown.stdout


def newest(mesh, *options):
    done = mesh.command("explain", "response", "--last", "50", "-o", "json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["seen"]


def line(text):
    """The line of the manifest that has the text."""
    lines = (HERE / "responses" / "mesh.yaml").read_text().split("\n")
    return next(number for number, each in enumerate(lines, start=1) if text in each)


def step(seen, what):
    return next(each for each in seen["steps"] if each["what"] == what)


def test_a_policys_refusal_names_it_to_the_operator_only(mesh):
    answer = ask(mesh, "http://app/secret/plan?token=hush")
    assert (answer.status, answer.code) == (403, "RT1403")
    assert answer.body == f"retic: RT1403 the request was refused; id {answer.id}"
    assert "hidden" not in str(answer.headers) + answer.body
    (seen,), shown = explain(mesh, answer.id)
    assert seen["policy"]["object"] == "AuthorizationPolicy default/hidden-name"
    assert seen["policy"]["action"] == "DENY"
    assert seen["policy"]["file"].endswith("mesh.yaml")
    assert seen["policy"]["line"] == line('paths: ["/secret*"]')
    assert (seen["side"], seen["proxy"], seen["status"]) == ("inbound", "node-1", 403)
    assert (seen["caller"]["workload"], seen["caller"]["identity"]) == ("default/client", CLIENT)
    assert (seen["called"]["service"], seen["called"]["pod"]) == ("default/app", "default/app")
    assert (seen["method"], seen["host"], seen["path"]) == ("GET", "app", "/secret/plan")
    assert "rule 2" in seen["change"]
    assert "hush" not in shown + json.dumps(seen)
    assert f"mesh.yaml:{line('paths: [')}" in shown


def test_no_allow_policy_that_matches_is_named_with_why(mesh):
    answer = ask(mesh, "http://app/private")
    assert answer.code == "RT1403"
    (seen,), _ = explain(mesh, answer.id)
    assert seen["policy"]["object"] == "AuthorizationPolicy default/not-private"
    assert seen["policy"]["action"] == "ALLOW"
    said = [each["text"] for each in seen["steps"] if each["what"] == "policy"]
    assert any("notPaths" in each and "does not hold" in each for each in said), said


def test_a_path_that_can_be_read_in_two_ways(mesh):
    answer = ask(mesh, "http://app/a%2Fb", "--path-as-is")
    assert (answer.status, answer.code) == (403, "RT1403")
    (seen,), _ = explain(mesh, answer.id)
    assert "compares the path, and this one can be read in two ways" in step(seen, "policy")["text"]
    assert "plain form" in seen["change"]


def test_a_token_that_is_none(mesh):
    answer = ask(mesh, "http://app/", "-H", "authorization: Bearer none")
    assert (answer.status, answer.code) == (401, "RT1401")
    (seen,), _ = explain(mesh, answer.id)
    named = [each["object"] for each in seen["steps"] if each["what"] == "token"]
    assert "RequestAuthentication default/tokens" in named


def test_grpc_clients_read_it_in_their_message(mesh):
    answer = ask(
        mesh, "http://app/secret", "-X", "POST", "--http2-prior-knowledge", "-H", "content-type: application/grpc"
    )
    assert (answer.status, answer.headers["grpc-status"]) == (200, "7")
    assert answer.headers["grpc-message"] == f"retic: RT1403 the request was refused; id {answer.id}"
    (seen,), _ = explain(mesh, answer.id)
    assert seen["policy"]["object"] == "AuthorizationPolicy default/hidden-name"


def test_uh_no_endpoint_is_ready(mesh):
    answer = ask(mesh, "http://nobody/")
    assert (answer.status, answer.code) == (503, "RT1101")
    (seen,), _ = explain(mesh, answer.id)
    assert seen["flags"] == ["UH"]
    said = step(seen, "endpoints")
    assert "0 of 1 ready now" in said["text"]
    assert "Pod default/unready, not ready" in said["text"]
    assert said["line"] == line("metadata: {name: nobody}") - 2
    assert "readiness probe" in seen["change"]


def test_uh_a_port_that_the_service_does_not_have(mesh):
    answer = ask(mesh, "http://app:99/")
    assert answer.code == "RT1101"
    (seen,), _ = explain(mesh, answer.id)
    assert "has no TCP port 99: it has 80, 81" in step(seen, "endpoints")["text"]


def test_uf_nothing_listens(mesh):
    answer = ask(mesh, "http://app:82/")
    assert (answer.status, answer.code) == (503, "RT1102")
    (seen,), _ = explain(mesh, answer.id)
    assert "UF" in seen["flags"]
    assert f"{_pod(mesh, 'app')['ip']}:8099 refused the connection" in step(seen, "address")["text"]
    assert "targetPort" in seen["change"]


def test_uc_the_application_closes_before_it_answers(mesh):
    answer = ask(mesh, "http://app/close")
    assert (answer.status, answer.code) == (503, "RT1103")
    (seen, *_), _ = explain(mesh, answer.id)
    assert seen["flags"] == ["UC"]
    assert seen["side"] == "inbound"
    assert "closed the connection before it had answered" in step(seen, "inbound")["text"]


def test_an_application_that_closes_within_its_answer_is_listed(mesh):
    mesh.exec("client", "curl", "-s", "-o", "cut", "http://app/cut/100")
    found = wait.until(lambda: [one for one in newest(mesh) if one["path"] == "/cut/100"], "it is listed")
    assert {one["code"] for one in found} == {"RT1502"}
    seen, _ = explain(mesh, found[0]["id"])
    assert any("in the midst of its answer" in each["text"] for one in seen for each in one["steps"])


def test_nr_no_route_matches(mesh):
    answer = ask(mesh, "http://routed/elsewhere?token=hush")
    assert (answer.status, answer.code) == (404, "RT1404")
    (seen,), shown = explain(mesh, answer.id)
    missed = [each for each in seen["steps"] if each["what"] == "no match"]
    assert {each["line"] for each in missed} == {line("value: /delay"), line("value: /broken")}
    assert "hush" not in shown


def test_a_route_that_cannot_be_carried_out(mesh):
    answer = ask(mesh, "http://routed/broken")
    assert (answer.status, answer.code) == (500, "RT1500")
    assert answer.body.endswith(f"; id {answer.id}")
    (seen,), _ = explain(mesh, answer.id)
    assert "RT0201" in step(seen, "finding")["text"]
    assert seen["route"] == {
        "object": "HTTPRoute default/routed", "file": seen["route"]["file"], "line": line("value: /broken"),
    }  # fmt: skip


def test_ut_a_time_out_is_told_by_both_ends(mesh):
    answer = ask(mesh, "http://routed/delay/3000")
    assert (answer.status, answer.code) == (504, "RT1504")
    seen = wait.until(lambda: _both(explain(mesh, answer.id)[0]), "both proxies tell of it")
    first, other = seen
    assert (first["side"], first["flags"]) == ("outbound", ["UT"])
    assert first["route"]["line"] == line("value: /delay")
    assert (other["side"], other["code"], other["flags"]) == ("inbound", "RT1107", ["DC"])
    assert other["id"] != first["id"]


def _both(seen):
    return seen if len(seen) == 2 else None


def test_dc_a_client_that_leaves_is_listed(mesh):
    mesh.exec("client", "curl", "-s", "-m", "0.5", "http://app/delay/4000?token=hush")
    found = wait.until(
        lambda: [one for one in newest(mesh, "--from", "pod/client") if one["path"] == "/delay/4000"], "it is listed"
    )
    assert {(one["code"], one["status"]) for one in found} == {("RT1107", None)}
    assert words.is_id(found[0]["id"])
    (seen, *_), shown = explain(mesh, found[0]["id"])
    assert seen["flags"] == ["DC"]
    assert "hush" not in shown


def test_connections_are_listed_and_explained(mesh):
    closed = "import socket; s = socket.create_connection(('app', {})); s.sendall(b'x\\n'); print(s.recv(9))"
    for port in (83, 84):
        mesh.exec("client", "python3", "-c", closed.format(port))
    found = wait.until(lambda: _connections(mesh), "both are listed")
    refused = next(one for one in found if one["code"] == "RT1403")
    (seen, *_), _ = explain(mesh, refused["id"])
    # Of a connection nobody knows the method: a DENY policy that asks for it refuses.
    assert seen["policy"]["object"] == "AuthorizationPolicy default/hidden-name"
    assert seen["caller"]["identity"] == CLIENT
    unmade = next(one for one in found if one["code"] == "RT1102")
    (seen, *_), _ = explain(mesh, unmade["id"])
    assert "refused the connection" in step(seen, "address")["text"]


def _connections(mesh):
    found = [one for one in newest(mesh) if one["protocol"] == "TCP"]
    return found if {one["code"] for one in found} >= {"RT1102", "RT1403"} else None


def test_outside_gets_code_and_id_and_nothing_else(mesh):
    for path, status, code in (("/none", 503, "RT1101"), ("/secret", 403, "RT1403"), ("/nowhere", 404, "RT1404")):
        answer = outside(path)
        assert (answer.status, answer.code) == (status, code)
        assert re.fullmatch(rf"retic: {code} [a-z ]+; id {answer.id}", answer.body)
        ours = {name for name in answer.headers if "retic" in name or "envoy" in name}
        assert ours == {"x-retic-code", "x-retic-id"}
        as_json = outside(path, "-H", "accept: application/json")
        assert json.loads(as_json.body)["id"] == as_json.id
        seen, _ = explain(mesh, answer.id)
        assert seen[0]["proxy"] == ("node-1" if path == "/secret" else "gateway/default/door")
    assert newest(mesh, "--from", "gateway/door")


def test_an_application_cannot_say_what_proxies_say(mesh):
    answer = ask(mesh, "http://app:81/")
    assert (answer.status, answer.body) == (403, "no")
    assert not {"x-retic-code", "x-retic-id"} & set(answer.headers)


def test_a_client_cannot_choose_what_is_explained(mesh):
    """Neither by an id of its own, nor by writing to the operator's terminal."""
    first = ask(mesh, "http://nobody/")
    ask(mesh, "http://app/secret", "-H", f"x-request-id: {first.id}", "-H", f"x-retic-id: {first.id}")
    seen, _ = explain(mesh, first.id)
    assert [one["code"] for one in seen] == ["RT1101"]
    path = "/secret/\\xc2\\x9b31m\\xe2\\x80\\xaex%1b[31m?q"
    raw = f"GET {path} HTTP/1.1\\r\\nhost: app\\r\\nconnection: close\\r\\n\\r\\n"
    sent = f"import socket as s; s = s.create_connection(('app', 80)); s.sendall(b'{raw}'); print(s.recv(999).decode())"
    got = Answer(mesh.exec("client", "python3", "-c", sent).stdout)
    _, shown = explain(mesh, got.id)
    assert all(each.isprintable() or each == "\n" for each in shown)


def test_what_is_not_there_is_said_with_why(mesh):
    unknown = "3f0c7a52-91d4-4c36-9d5e-0a6c1f7b8e21"
    done = mesh.command("explain", "response", unknown)
    assert done.returncode == 2
    assert unknown in done.stderr
    assert "4 MiB" in done.stderr
    assert "--name" in done.stderr
    for wrong in ("nothing", "\x1b[31m", unknown.upper()):
        done = mesh.command("explain", "response", wrong)
        assert done.returncode == 2
        assert "is no id" in done.stderr
        assert "\x1b" not in done.stderr
    done = mesh.command("explain", "response", "--last", "3", "--from", "deploy/none")
    assert done.returncode == 2
    assert "there is no Deployment default/none" in done.stderr
    assert newest(mesh, "-n", "elsewhere") == []
