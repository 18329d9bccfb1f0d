"""A server with policies, and callers that cheat: only what is allowed reaches the application, and all stays up."""

import datetime
import json
import pathlib
import sys

import attack_texts
import authorization_lab
import pytest
from attack_texts import HTTP2, OTHERS, PATHS, SMUGGLED, WORD
from authorization_lab import APP, operation, policy, source, when

from retic.local import state
from retic.testing import clock, outsider, wait

CLIENT = str(pathlib.Path(__file__).with_name("attack_client.py"))
WEB = "spiffe://cluster.local/ns/default/sa/web"


def policies(lab):
    port = {"ports": ["8090"]}
    web = source(principals=["cluster.local/ns/default/sa/web"])
    rules = [
        web | operation(paths=["/open", "/open/*"], methods=["GET", "POST"]),
        operation(paths=["/gold/*"], **port) | when("request.headers[x-tier]", values=["gold"]),
        operation(paths=["/host/*"], hosts=["recorder"], **port),
    ]
    evil = operation(**port) | when("request.headers[x-role]", values=["evil"])
    denied = [operation(paths=["/open/secret*"], **port), evil]
    return (
        policy("in", selector=APP, rules=rules), policy("out", selector=APP, action="DENY", rules=denied),
        policy("other", "other", rules=[{}]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = authorization_lab.Lab(tmp_path_factory.mktemp("attacks") / "manifests", nodes=1)
    made.apply(*policies(made))
    yield made
    made.close()


@pytest.fixture(scope="module")
def forger(lab, tmp_path_factory):
    return outsider.Forger(tmp_path_factory.mktemp("forged"), state.folder(lab.mesh.name) / "ca")


@pytest.fixture(scope="module")
def node(lab):
    return outsider.place(lab.mesh.ps(), "agent", "node-1")


@pytest.fixture
def unharmed(lab):
    """The mesh's processes are the same afterwards, and who may call still does."""
    before = lab.pids()
    yield
    assert lab.pids() == before
    wait.until(lambda: lab.ask("web", service="recorder.default", host="recorder", target="/open") == 200, "it works")


@pytest.fixture
def attack(lab, tmp_path):
    def made(tries, line, **more):
        file = tmp_path / "tries.json"
        file.write_text(json.dumps({"host": lab.ips["app"], "port": 8090, "tries": tries, **more}))
        return json.loads(line(sys.executable, CLIENT, str(file)))

    return made


def inside(lab):
    def run(*words):
        done = lab.mesh.exec("web", *words, seconds=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def reached(lab, *words):
    """What of these words the application was sent."""
    log = lab.log()
    assert '"open"' in log
    return [line[:300] for line in log.splitlines() if any(word.lower() in line.lower() for word in words)]


TRIES = {
    **{f"{n} {path[:60]}": [attack_texts.get(path)] for n, path in enumerate(PATHS)},
    **{name: [text] for name, text in OTHERS.items()},
    **{f"smuggled {name}": [text] for name, text in SMUGGLED.items()},
}


@pytest.mark.parametrize("how", ["through its own proxy", "past it, with its certificate"])
def test_nothing_forbidden_reaches_the_application_by_http_1(lab, forger, node, attack, unharmed, how):
    assert len(TRIES) > 130
    if how == "through its own proxy":
        answers = attack(TRIES, inside(lab))
    else:
        key, chain = forger.pair(WEB)
        answers = attack(TRIES, node.run, key=key, chain=chain)
    let_in = {name for name, found in answers.items() if isinstance(found, list) and 200 in found}
    # Of these the first request is allowed, and what is behind it is judged by itself or belongs to nobody.
    allowed = {
        "the proxy's own", "a bare CR", "smuggled second in line", "smuggled third in line", "smuggled GET with a body",
        "smuggled expecting to go on", "smuggled trailers", "smuggled upgrade, then another", "smuggled chunk, LF",
        "smuggled bare LF", "smuggled bare LF in the head", "smuggled chunk extension, large",
    }  # fmt: skip
    assert let_in <= allowed, {name: answers[name] for name in let_in - allowed}
    assert [each[:190] for each in reached(lab, WORD)] == []
    assert {"ax-bare" in each for each in reached(lab, "x-bare")} == {True}, "a CR alone begins no header"


def test_nothing_forbidden_reaches_the_application_by_http_2(lab, forger, node, attack, unharmed):
    key, chain = forger.pair(WEB)
    sure = {"allowed": attack_texts.h2(("x-tier", "none"), path="/open/seen-2")}
    answers = attack(HTTP2 | sure, node.run, key=key, chain=chain)
    assert answers["allowed"] == [200]
    assert reached(lab, "/open/seen-2")
    assert [each[:90] for each in reached(lab, WORD)] == []
    let_in = {name for name, found in answers.items() if isinstance(found, list) and 200 in found}
    assert let_in <= {"allowed", "the proxy's own"}, {name: answers[name] for name in let_in}


@pytest.mark.parametrize(("alpn", "port"), [("retic-tcp", 8090), ("retic-http", 7090), ("retic-tcp", 7090)])
def test_http_said_to_be_tcp_and_tcp_said_to_be_http(lab, forger, node, attack, unharmed, alpn, port):
    """What is declared HTTP is judged as HTTP, whatever the caller's proxy says; and no HTTP field lets TCP in."""
    key, chain = forger.pair(WEB)
    tries = {str(n): [attack_texts.get(path)] for n, path in enumerate(PATHS[:12])}
    tries["raw"] = [f"{WORD}\n"]
    answers = attack(tries, node.run, key=key, chain=chain, alpn=alpn, port=port)
    assert not [found for found in answers.values() if isinstance(found, list) and 200 in found]
    assert [each[:90] for each in reached(lab, WORD)] == []
    assert WORD not in lab.log("tcp")




def certificates(lab, folder):
    """Pairs that are no good."""
    ca = state.folder(lab.mesh.name) / "ca"
    long_ago = clock.Fake(datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2))
    return {
        "expired": outsider.Forger(folder, ca, time=long_ago).pair(WEB),
        "another domain": outsider.Forger(folder, ca, "evil.example").pair("spiffe://evil.example/ns/default/sa/web"),
        "another root": outsider.Forger(folder, folder / "own").pair(WEB),
        "no workload": outsider.Forger(folder, ca).pair("spiffe://cluster.local/retic/node/node-1"),
        "none": (None, None),
    }


def test_certificates_that_are_no_good(lab, node, attack, tmp_path, unharmed):
    tries = {"allowed to web": [attack_texts.get("/open/FORGED")], "preface": ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]}
    for name, (key, chain) in certificates(lab, tmp_path).items():
        for alpn in ("retic-http", "retic-tcp"):
            answers = attack(tries, node.run, key=key, chain=chain, alpn=alpn)
            assert not [found for found in answers.values() if isinstance(found, list) and found], (name, answers)
    assert reached(lab, "FORGED") == []


def test_a_stolen_certificate_is_its_accounts_and_no_more(lab, forger, node, attack, unharmed):
    """Who has a pod's key is the pod to others: what bounds it is the certificate's time, the policy, and addresses."""
    web, spy = forger.pair(WEB), forger.pair("spiffe://cluster.local/ns/default/sa/spy")
    tries = {name: [attack_texts.get(path)] for name, path in {"open": "/open/STOLEN", "no": f"/{WORD}"}.items()}
    assert attack(tries, node.run, key=web[0], chain=web[1]) == {"open": [200], "no": [403]}
    assert attack(tries, node.run, key=spy[0], chain=spy[1]) == {"open": [403], "no": [403]}
    at = operation(ports=["8080", "8081", "8090"])
    elsewhere = source(principals=["cluster.local/ns/default/sa/web"], notIpBlocks=[lab.ips["web"]])
    lab.apply(*policies(lab), policy("place", selector=APP, action="DENY", rules=[elsewhere | at]))
    try:
        assert attack(tries, node.run, key=web[0], chain=web[1]) == {"open": [403], "no": [403]}
        assert lab.ask("web", service="recorder.default", host="recorder", target="/open") == 200
    finally:
        lab.apply(*policies(lab))
