"""The commands against a mesh that only has its sockets."""

import io
import json
import threading

import pytest
from typer import testing

from retic import findings
from retic.cli import app, failure, foreground, logs, ps, running, target, up
from retic.control import model
from retic.explain import why
from retic.local import state
from retic.local.sandbox import enter
from retic.local.workloads import gateways
from retic.testing import commands, wait

FINDING = findings.Finding(
    "RT0201", findings.Severity.ERROR, "HTTPRoute shop/web", "/x/shop.yaml", 12, "no such Service",
    "name one", "u",
)


@pytest.fixture
def mesh(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setattr(state, "folder", lambda *_: tmp_path)
    with commands.running(tmp_path) as made:
        yield made


def retic(*arguments):
    done = testing.CliRunner().invoke(app.app, list(arguments))
    if isinstance(done.exception, failure.Failure):
        return done.exception.code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def pod(name, *, owner=None, ready=True, namespace="default", containers=("main",), init=()):
    meta = {"name": name, "namespace": namespace}
    if owner:
        meta["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "uid": "u", "apiVersion": "v1"}]
    return {
        "kind": "Pod", "metadata": meta,
        "spec": {
            "containers": [{"name": one} for one in containers],
            "initContainers": [{"name": one} for one in init],
        },
        "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def owned(kind, name, owner=None):
    return {**pod(name, owner=owner), "kind": kind}


STATE = model.Ps(
    pods=(model.Pod("shop", "web-1", "node-1", "10.244.1.2", "web", True, "Running", "Running", 2),
          model.Pod("shop", "web-2", "", "", "web", False, "Pending", "Pending"),
          model.Pod("shop", "seed", "node-1", "10.244.1.3", "web", False, "Completed", "Succeeded")),
    services=(model.Service("shop", "web", "ClusterIP", "10.96.1.1", (
        model.Port("http", 80, "TCP"), model.Port("", 53, "UDP"))),),
    gateways=(model.Gateway("shop", "edge", (model.Listener(80, "127.0.0.1:8080"),)),),
    processes=(model.Process("envoy", "node-1", 1),),
    findings=(FINDING,),
)


def test_ps_as_tables(mesh):
    mesh.queries.state = STATE
    code, out = retic("ps")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["shop", "web-1", "yes", "Running", "2", "node-1", "10.244.1.2", "web"] in rows
    assert ["shop", "web-2", "no", "Pending", "0", "-", "-", "web"] in rows
    assert ["shop", "seed", "no", "Completed", "0", "node-1", "10.244.1.3", "web"] in rows
    assert ["shop", "web", "ClusterIP", "10.96.1.1", "http:80,", "53/UDP"] in rows
    assert ["shop", "edge", "80", "127.0.0.1:8080"] in rows
    assert out.endswith(
        "PROBLEMS\n/x/shop.yaml:12: error RT0201 HTTPRoute shop/web: no such Service (name one)\n"
    )


def test_ps_says_why_pods_are_not_ready(mesh):
    mesh.queries.state = STATE
    mesh.settled = {"ready": False, "reasons": ["pod shop/web-2: no node takes it"]}
    code, out = retic("ps")
    assert code == 0
    assert out.endswith("\n\nNOT READY\npod shop/web-2: no node takes it\n")


def test_pods_that_have_done_their_work_are_counted_apart():
    def pods(*phases):
        return [
            model.Pod("shop", "x", "", "", "web", phase == "Running", "", "Running" if phase == "Waiting" else phase)
            for phase in phases
        ]

    assert ps.count([]) == "0 pods ready"
    assert ps.count(pods("Running")) == "1 pod ready"
    assert ps.count(pods("Running", "Running", "Succeeded")) == "2 pods ready, 1 completed"
    assert ps.count(pods("Running", "Waiting", "Pending", "Succeeded")) == "1 of 3 pods ready, 1 completed"
    assert ps.count(pods("Succeeded", "Failed", "Failed")) == "0 pods ready, 1 completed, 2 failed"


def test_ps_as_json(mesh):
    mesh.queries.state = STATE
    code, out = retic("ps", "-o", "json")
    assert code == 0
    assert set(json.loads(out)) == {"pods", "services", "gateways", "processes", "findings"}
    assert json.loads(out)["pods"][0] == {
        "namespace": "shop", "name": "web-1", "node": "node-1", "ip": "10.244.1.2", "service_account": "web",
        "ready": True, "status": "Running", "phase": "Running", "restarts": 2,
    }
    assert json.loads(out)["gateways"][0]["listeners"] == [{"port": 80, "address": "127.0.0.1:8080"}]


def test_version_of_a_running_mesh(mesh):
    code, out = retic("version")
    assert code == 0
    assert out.splitlines()[1:] == ["mesh retic: retic 1.2.3", "envoy 1.40.0"]


def test_wait_for_every_proxy(mesh):
    assert retic("wait") == (0, "every proxy has its configuration; the mesh has no Gateway, route or policy\n")
    mesh.objects = [owned("HTTPRoute", "web"), owned("Service", "web")]
    assert retic("wait") == (0, "HTTPRoute default/web: live on every proxy\n")
    assert retic("wait", "httproute/web", "--timeout", "5") == (0, "HTTPRoute default/web: live on every proxy\n")
    code, message = retic("wait", "httproutes/gone", "-n", "shop", "--timeout", "5")
    assert (code, message) == (1, "not live after 5 s:\n  HTTPRoute shop/gone: it does not exist")


def test_wait_says_what_is_missing(mesh):
    mesh.objects = [{**owned("HTTPRoute", "web"), "metadata": {"name": "web", "namespace": "shop"}}]
    mesh.queries.state = STATE
    mesh.settled = {"ready": False, "reasons": ["pod shop/web-2: no node takes it"]}
    code, message = retic("wait", "--timeout", "1")
    assert code == 1
    assert message.splitlines() == [
        "not live after 1 s:", "  pod shop/web-2: no node takes it",
        "  /x/shop.yaml:12: error RT0201 HTTPRoute shop/web: no such Service (name one)",
    ]


def test_analyze_of_a_running_mesh(mesh):
    mesh.publish(FINDING)
    code, out = retic("analyze")
    assert (code, out) == (1, "/x/shop.yaml:12: error RT0201 HTTPRoute shop/web: no such Service (name one)\n")
    assert json.loads(retic("analyze", "-o", "json")[1])[0]["code"] == "RT0201"
    mesh.publish()
    assert retic("analyze") == (0, "")


@pytest.mark.parametrize("command", ["ps", "analyze"])
def test_namespaces_are_chosen_on_clusters_only(mesh, command):
    assert retic(command, "-A") == (2, "-n and -A are for clusters: of a mesh on this machine everything is shown")
    assert retic(command, "-n", "shop")[0] == 2


def test_why_leads_to_lines(mesh):
    mesh.queries.answers["routes/shop"] = why.Why(
        "routes/shop", True,
        (why.Source("EndpointSlice shop/web-x", "shop.yaml", 3, True, "Service shop/web"),
         why.Source("Service shop/web", "shop.yaml", 3, True),
         *(why.Source(f"Pod shop/web-{n}", "shop.yaml", 9, True, "Deployment shop/web") for n in range(10)),
         why.Source("HTTPRoute shop/web", "shop.yaml", 20, True), why.Source("Pod shop/web-1", "", 0, True),
         why.Source("Service shop/gone", "", 0, False)),
        why.Step("query", "q", "k", children=(why.Step("table", "t", "x"),)),
    )
    code, out = retic("why", "routes/shop", "--reads")
    assert code == 0
    assert out.splitlines() == [
        "shop.yaml:3: Service shop/web, of which the mesh made EndpointSlice shop/web-x",
        "shop.yaml:9: Deployment shop/web, of which the mesh made "
        f"{', '.join(f'Pod shop/web-{n}' for n in range(8))} and 2 more",
        "shop.yaml:20: HTTPRoute shop/web",
        "Pod shop/web-1 (made by the mesh, in no file)",
        "Service shop/gone (does not exist, and that counts)",
        "", "query q k", "  table t x",
    ]
    assert retic("why", "nonsense") == (1, "nonsense is no resource's name")


def test_proxy_names_what_there_is(mesh):
    code, out = retic("proxy", "node-7")
    assert (code, out) == (1, "no proxy node-7: there are none yet")


SECTIONS = {
    "listeners": [{
        "name": f"outbound/{uid}", "version": "1", "state": "active", "filter_chains": [{}],
        "default_filter_chain": {},
        "address": {"socket_address": {
            "address": "0.0.0.0", "port_value": 15001, "network_namespace_filepath": f"/run/retic/x/netns/{uid}"}},
    } for uid in "uv"],
    "routes": [{
        "name": "routes/shop", "version": "2", "state": "active",
        "virtual_hosts": [{"domains": ["10.96.0.1:80"], "routes": [
            {"match": {"prefix": "/a", "headers": [{"name": "x"}]}, "route": {"weighted_clusters": {
                "clusters": [{"name": "c1", "weight": 9}, {"name": "c2", "weight": 1}]}}},
            {"match": {"safe_regex": {"regex": "b.*"}}, "redirect": {}},
            {"match": {"path": "/c"}, "direct_response": {"status": 500}},
            {"match": {"connect_matcher": {}}, "route": {"cluster": "c1"}},
            {"match": {"connect_matcher": {}}, "route": {"cluster": "c1"}},
            {"match": {"path_separated_prefix": "/d"}, "route": {"cluster_header": "h"}},
        ]}],
    }, {"name": "routes/empty", "version": "3", "state": "active"}],
    "clusters": [{
        "name": "vip/a/b", "type": "EDS", "version": "4", "state": "active", "transport_socket": {},
    }],
    "endpoints": [{"cluster_name": "endpoints/a", "version": "5", "state": "active", "endpoints": [
        {"locality": {"zone": "z"}, "lb_endpoints": [{"health_status": "HEALTHY", "endpoint": {"address": {
            "socket_address": {"address": "10.244.1.2", "port_value": 80}}}}]}]},
        {"cluster_name": "endpoints/none", "version": "6", "state": "active"}],
    "secrets": [{"name": "spiffe://x", "kind": "tls_certificate", "names": ["spiffe://x"],
                 "not_after": "2030-01-01", "state": "active"}],
    "stats": {"b": 2, "a": 1},
    "": {"state": "LIVE", "listeners": 3},
}


@pytest.mark.parametrize(("section", "rows"), [
    ("listeners", [["outbound/u", "0.0.0.0:15001", "default/web-1", "2", "active", "1"],
                   ["outbound/v", "0.0.0.0:15001", "v", "2", "active", "1"]]),
    ("routes", [
        ["routes/shop", "10.96.0.1:80", "prefix", "/a", "header", "x", "c1", "(9),", "c2", "(1)", "2"],
        ["routes/shop", "10.96.0.1:80", "regex", "b.*", "redirect", "2"],
        ["routes/shop", "10.96.0.1:80", "path", "/c", "answer", "500", "2"],
        ["routes/shop", "(2", "times)", "10.96.0.1:80", "CONNECT", "c1", "2"],
        ["routes/shop", "10.96.0.1:80", "path_separated_prefix", "/d", "h", "2"],
        ["routes/empty", "-", "-", "-", "3"],
    ]),
    ("clusters", [["vip/a/b", "EDS", "yes", "active", "4"]]),
    ("endpoints", [
        ["endpoints/a", "10.244.1.2:80", "z", "0", "healthy"], ["endpoints/none", "none", "-", "-", "-"],
    ]),
    ("secrets", [["spiffe://x", "tls_certificate", "spiffe://x", "2030-01-01", "active"]]),
    ("stats", [["a:", "1"], ["b:", "2"]]),
    ("", [["state:", "LIVE"], ["listeners:", "3"]]),
])
def test_each_section_of_a_proxy_as_rows_and_as_json(mesh, monkeypatch, section, rows):
    monkeypatch.setattr(running, "ask", lambda *_, **__: SECTIONS[section])
    mesh.objects = [pod("web-1")]
    mesh.objects[0]["metadata"]["uid"] = "u"
    code, out = retic("proxy", "node-1", *([section] if section else []))
    assert code == 0
    assert [line.split() for line in out.splitlines()][-len(rows):] == rows
    code, out = retic("proxy", "node-1", *([section] if section else []), "-o", "json")
    assert (code, json.loads(out)) == (0, SECTIONS[section])


def entering(**env):
    return {"why": "", "holder_pid": 4711, "env": env, "cwd": "/srv/web"}


def test_exec_enters_the_pod_and_passes_the_exit_code(mesh, monkeypatch):
    mesh.objects = [pod("web-1", containers=("main", "side"))]
    mesh.inside = {"default/web-1/main": entering(A="main"), "default/web-1/side": entering(A="side")}
    for key in ("COLORTERM", "COLUMNS", "LINES"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("TERM", "here")
    monkeypatch.setenv("LANG", "here")
    calls = []
    monkeypatch.setattr(enter, "enter", lambda *a, **k: calls.append((a, k)) or 37)
    code, _ = retic("exec", "-it", "web-1", "-c", "side", "--", "sh", "-c", "exit 37")
    assert code == 37
    assert calls.pop() == (
        (4711, ["sh", "-c", "exit 37"]), {"env": {"A": "side", "TERM": "here"}, "cwd": "/srv/web"},
    )
    assert retic("exec", "web-1", "--", "env")[0] == 37
    assert calls.pop()[1]["env"]["A"] == "main"


def test_exec_into_what_does_not_run_names_its_state(mesh, monkeypatch):
    mesh.objects = [{**pod("seed"), "status": {"phase": "Succeeded"}}]
    monkeypatch.setattr(enter, "enter", lambda *_, **__: pytest.fail("nothing may be run"))
    code, message = retic("exec", "seed", "--", "ls")
    said = "container main of pod default/seed does not run: "
    assert (code, message) == (1, said + "nothing of the pod runs (the pod is Succeeded; see retic ps)")
    mesh.inside = {"default/seed/main": {"why": "it ended with 0"}}
    code, message = retic("exec", "seed", "--", "ls")
    assert (code, message) == (1, said + "it ended with 0 (the pod is Succeeded; see retic ps)")


def test_a_deployment_stands_for_a_ready_pod_of_its_own():
    objects = [
        owned("Deployment", "web"), owned("ReplicaSet", "web-1", ("Deployment", "web")),
        owned("ReplicaSet", "other-1", ("Deployment", "other")),
        pod("a", owner=("ReplicaSet", "web-1"), ready=False), pod("b", owner=("ReplicaSet", "web-1")),
        pod("0", owner=("ReplicaSet", "other-1")),
        pod("c", owner=("ReplicaSet", "web-1"), namespace="elsewhere"),
        pod("db-0", owner=("StatefulSet", "db")),
    ]
    assert target.pod(objects, "deploy/web", "default")["metadata"]["name"] == "b"
    assert target.pod(objects, "statefulset/db", "default")["metadata"]["name"] == "db-0"
    assert target.pod(objects, "pod/a", "default")["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("x", "no pod x in namespace default: there are a"), ("deploy/x", "Deployment default/x does not exist"),
     ("deploy/web", "has no pod now"), ("deploy/", "names no pod"),
     ("svc/x", "^svc/x names no pod: write POD, or one of pod/, deploy/, rs/, sts/, ds/, job/ with its NAME$")],
)
def test_what_cannot_be_found_is_named(wanted, words):
    with pytest.raises(failure.Failure, match=words):
        target.pod([pod("a"), owned("Deployment", "web")], wanted, "default")


def test_containers_are_chosen_and_checked():
    one, two = pod("a"), pod("b", containers=("x", "y"), init=("z",))
    assert target.container(one, None, needed=True) == "main"
    assert target.container(two, None, needed=False) == "x"
    assert target.container(two, "z", needed=True) == "z"
    with pytest.raises(failure.Failure, match=r"choose with -c x\|y\|z"):
        target.container(two, None, needed=True)
    with pytest.raises(failure.Failure, match="no container q: it has x, y, z"):
        target.container(two, "q", needed=True)


def container_folder(mesh):
    folder = mesh.folder / "pods" / "default_web-1" / "main"
    folder.mkdir(parents=True)
    return folder


def test_logs_in_full_in_part_and_of_the_life_before(mesh):
    mesh.objects = [pod("web-1")]
    assert "not started yet" in retic("logs", "web-1")[1]
    folder = container_folder(mesh)
    (folder / "log").write_bytes(b"one\ntwo\nthree")
    assert retic("logs", "web-1") == (0, "one\ntwo\nthree")
    assert retic("logs", "web-1", "--tail", "2") == (0, "two\nthree")
    assert retic("logs", "web-1", "--tail", "0") == (0, "")
    assert "has not been restarted" in retic("logs", "web-1", "--previous")[1]
    (folder / "previous.log").write_bytes(b"zero\n")
    assert retic("logs", "web-1", "--previous") == (0, "zero\n")


def test_a_gateways_log_is_its_envoys(mesh):
    front = pod("front-retic-x", containers=("proxy",))
    front["metadata"] |= {"annotations": {target.ROLE: "gateway"}, "labels": {target.GATEWAY: "front"}}
    mesh.objects = [front]
    code, message = retic("logs", "front-retic-x")
    assert (code, message) == (1, "the Envoy of gateway/default/front has not been started yet: see retic ps")
    (mesh.folder / "logs").mkdir()
    file = mesh.folder / "logs" / "envoy-gw-default-front.log"
    file.touch()
    done = testing.CliRunner().invoke(app.app, ["logs", "front-retic-x"])
    assert (done.stdout, done.exit_code) == ("", 0)
    assert done.stderr == "the Envoy of gateway/default/front has logged no warning and no error\n"
    file.write_text("one\ntwo\n")
    assert retic("logs", "front-retic-x", "--tail", "1") == (0, "two\n")
    assert "one log for all of its lives" in retic("logs", "front-retic-x", "--previous")[1]
    assert (target.ROLE, target.GATEWAY) == (gateways.ROLE, gateways.LABEL)


def test_following_goes_on_across_a_restart_and_a_shortening(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "log").write_bytes(b"a1\na2\na3\n")
    seen = io.BytesIO()
    thread = threading.Thread(target=lambda: [seen.write(part) for part in logs.follow(folder, 2)])
    thread.start()

    def shown(expected):
        wait.until(lambda: seen.getvalue() == expected, repr(expected))

    shown(b"a2\na3\n")
    with (folder / "log").open("ab", buffering=0) as file:
        file.write(b"a4\n")
        shown(b"a2\na3\na4\n")
        (folder / "log").replace(folder / "previous.log")
        file.write(b"last words\n")
    (folder / "log").write_bytes(b"b1\n")
    shown(b"a2\na3\na4\nlast words\nb1\n")
    (folder / "log.new").write_bytes(b"b1\nb2\n")
    (folder / "log.new").replace(folder / "log")
    shown(b"a2\na3\na4\nlast words\nb1\nb2\n")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    thread.join(10)
    assert not thread.is_alive()


def test_waiting_until_ready_gathers_the_reasons(mesh):
    assert list(up.waiting(mesh.folder, 0)) == []
    mesh.settled = {"ready": False, "reasons": ["Pod shop/web-1: the probe fails"]}
    mesh.queries.convergence = model.Converged(ready=False, reasons=("node-1 has not answered",))
    assert list(up.waiting(mesh.folder, 0)) == ["Pod shop/web-1: the probe fails", "node-1 has not answered"]


def test_edits_are_named_once_the_first_state_is_complete(mesh, capsys):
    service = {"kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"type": "x"}}
    changed = {**service, "spec": {"type": "y"}}
    place = {"file": "/x/shop.yaml", "line": 7, "fields": {}}
    mesh.objects = [service]
    mesh.events = [
        {"type": kind, "object": thing, "position": place}
        for kind, thing in (
            ("MODIFIED", {**service, "status": {"a": 1}}),  # its lines moved, or its status changed
            ("MODIFIED", changed), ("ADDED", pod("web-1")), ("DELETED", changed), ("ADDED", service),
        )
    ] + [{"type": "ADDED", "object": {**service, "metadata": {"name": "made"}}, "position": None}]
    foreground._follow_edits(mesh.folder, 0, ())
    lines = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        f"Service shop/web {verb} (/x/shop.yaml:7)" for verb in ("changed", "removed", "added")
    ]


def test_findings_are_told_when_they_come_and_when_they_go(mesh, monkeypatch):
    told = []
    monkeypatch.setattr(up, "say", told.append)
    thread = threading.Thread(target=foreground._follow_findings, args=(mesh.folder, 0, ()), daemon=True)
    thread.start()
    mesh.publish(FINDING)
    wait.until(lambda: len(told) == 1, "the finding is told")
    mesh.publish()
    wait.until(lambda: len(told) == 2, "its end is told")
    line = "/x/shop.yaml:12: error RT0201 HTTPRoute shop/web: no such Service (name one)"
    assert told == [line, f"no longer: {line}"]
