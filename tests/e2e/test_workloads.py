"""Workloads as a cluster runs them: rollouts, order, volumes, variables, probes, endpoints, logs and exec."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import live
import pytest

from retic.testing import tls_pairs, wait

FOREVER = ["sleep", "infinity"]


def pod(name, *containers, namespace="default", **spec):
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": live.meta(name, namespace, labels={"app": name}),
        "spec": {"terminationGracePeriodSeconds": 2, "containers": list(containers), **spec},
    }


def idle(name="c", **more):
    return {"name": name, "command": FOREVER, **more}


def shell(text, name="c", **more):
    return {"name": name, "command": ["sh", "-c", text], **more}


def config(name, data, kind="ConfigMap"):
    field = "stringData" if kind == "Secret" else "data"
    return {"apiVersion": "v1", "kind": kind, "metadata": live.meta(name), field: data}


def logs(mesh, *words):
    done = mesh.command("logs", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_rolling_update_loses_no_request(mesh, near):
    def roll(version):
        return [
            live.deployment("roll", live.echo(version), replicas=2), live.service("roll", {"app": "roll"}),
        ]

    with live.file(mesh, "roll.yaml", *roll("old")):
        live.ready(mesh, "roll-", 2)
        wait.until(lambda: near.http("http://roll/")["status"] == 200, "it serves")
        near.begin("new", "roll")
        near.begin("kept", "roll", keep=True)
        try:
            wait.until(lambda: near.seen("new").get("old", 0) > 20, "requests flow")
            live.write(mesh, "roll.yaml", *roll("next"))
            wait.until(lambda: set(near.count("roll", times=20)) == {"next"}, "the new version only", seconds=45)
            seen = near.seen("new")["next"]
            wait.until(lambda: near.seen("new")["next"] > seen + 20, "requests flow on")
        finally:
            found = near.end("new"), near.end("kept")
        for one in found:
            assert set(one) == {"old", "next"}, found


def test_a_stateful_set_is_ordered_and_keeps_names(mesh, near):
    def members(replicas):
        return [
            live.deployment(
                "order", live.echo("v"), replicas=replicas, kind="StatefulSet", serviceName="order",
            ),
            live.service("order", {"app": "order"}, (80, 8080), clusterIP="None"),
        ]

    with live.file(mesh, "order.yaml", *members(2)):
        found = live.ready(mesh, "order-", 2)
        assert [p["name"] for p in found] == ["order-0", "order-1"]
        first = found[0]["ip"]
        live.write(mesh, "order.yaml", *members(1))
        only = ["order-0"]
        wait.until(lambda: [p["name"] for p in live.pods(mesh, "order-")] == only, "the last one goes", every=0.2)
        live.write(mesh, "order.yaml", *members(2))
        assert live.ready(mesh, "order-", 2)[0]["ip"] == first, "what did not change was not restarted"
        assert near.resolve("order-1.order")["addresses"] == [live.pods(mesh, "order-1")[0]["ip"]]


def test_a_stateful_set_has_a_folder_for_each_ordinal_that_outlives_its_pod(mesh):
    def keepers(word):
        note = f"echo {word} $HOSTNAME >> /var/store/visits; exec sleep infinity"
        return live.deployment(
            "keep", shell(note, volumeMounts=[{"name": "store", "mountPath": "/var/store"}]),
            replicas=2, kind="StatefulSet", serviceName="keep", podManagementPolicy="Parallel",
            volumeClaimTemplates=[{
                "metadata": {"name": "store"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        )  # fmt: skip

    def visits():
        live.ready(mesh, "keep-", 2)
        return [mesh.exec(f"keep-{i}", "cat", "/var/store/visits").stdout.splitlines() for i in (0, 1)]

    with live.file(mesh, "keep.yaml", keepers("first")):
        wait.until(lambda: visits() == [["first keep-0"], ["first keep-1"]], "each has its own", 20, every=0.2)
        live.write(mesh, "keep.yaml", keepers("then"))
        both = [["first keep-0", "then keep-0"], ["first keep-1", "then keep-1"]]
        wait.until(lambda: visits() == both, "the new pods find what the old ones left", 30, every=0.2)


def test_a_daemon_set_is_on_every_node_and_a_job_completes(mesh):
    job = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": live.meta("task"),
        "spec": {"completions": 2, "parallelism": 1, "template": {"spec": {
            "restartPolicy": "Never", "containers": [shell("echo done by $HOSTNAME")]}}},
    }  # fmt: skip
    sets = [live.deployment("each", idle(), kind="DaemonSet"), live.deployment("set", idle(), kind="ReplicaSet")]
    with live.file(mesh, "sets.yaml", *sets, job):
        assert {p["node"] for p in live.ready(mesh, "each-", 2)} == {"node-1", "node-2"}
        live.ready(mesh, "set-")
        ended = wait.until(lambda: len(p := live.pods(mesh, "task-")) == 2 and p, "both runs", every=0.2)
        wait.until(lambda: all("done by" in logs(mesh, p["name"]) for p in ended), "both ran", every=0.2)


def test_statuses_follow_what_runs_and_a_matching_pod_is_taken(mesh):
    def given(*more, replicas=2):
        return [
            live.deployment("told", idle(), replicas=replicas), live.deployment("kept", idle(), kind="ReplicaSet"),
            *more,
        ]

    def status(kind, name):
        return live.objects(mesh, kind, name)[0].status

    def available(replicas):
        now = status("Deployment", "told")
        assert now.available_replicas == now.updated_replicas == now.replicas == replicas
        return {item.type: (item.status, item.reason) for item in now.conditions}

    lone = pod("lone", idle())
    lone["metadata"]["labels"] = {"app": "kept"}
    with live.file(mesh, "told.yaml", *given(lone)):
        live.ready(mesh, "told-", 2)
        assert wait.until(lambda: available(2), "its status", every=0.2) == {
            "Available": ("True", "MinimumReplicasAvailable"), "Progressing": ("True", "NewReplicaSetAvailable"),
        }  # fmt: skip
        live.ready(mesh, "lone")
        (taken,) = live.objects(mesh, "Pod", "lone")
        assert [(o.kind, o.name, o.controller) for o in taken.metadata.owner_references] == [
            ("ReplicaSet", "kept", True)
        ]
        assert not live.pods(mesh, "kept-"), "the taken one is enough"
        wait.until(lambda: status("ReplicaSet", "kept").ready_replicas == 1, "its status", every=0.2)
        lone["metadata"]["labels"] = {"app": "free"}
        live.write(mesh, "told.yaml", *given(lone, replicas=3))
        live.ready(mesh, "kept-")
        assert live.objects(mesh, "Pod", "lone")[0].metadata.owner_references == ()
        assert live.objects(mesh, "Pod", "lone")[0].metadata.uid == taken.metadata.uid, "let go, it runs on"
        wait.until(lambda: available(3), "its status", every=0.2)
        made = live.objects(mesh, "Deployment", "told")[0]
        assert (made.metadata.generation, made.status.observed_generation) == (2, 2)
    wait.until(lambda: not live.objects(mesh, "Deployment", "told"), "it is gone", every=0.2)


FRONT_AND_BACK = pod(
    "shared",
    {**live.echo("side", port=8081), "name": "web"},
    shell("cat /data/init; exec sleep infinity", volumeMounts=[{"name": "data", "mountPath": "/data"}]),
    initContainers=[
        shell("sleep 0; echo first > /data/init", "init", volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        {**shell("echo sidecar runs; exec sleep infinity", "side"), "restartPolicy": "Always"},
        shell("test -s /data/init && echo second >> /data/init", "later",
              volumeMounts=[{"name": "data", "mountPath": "/data"}]),
    ],
    volumes=[{"name": "data", "emptyDir": {}}],
)  # fmt: skip


def test_containers_of_a_pod_share_network_and_folders(mesh):
    with live.file(mesh, "shared.yaml", FRONT_AND_BACK):
        live.ready(mesh, "shared")
        before = mesh.stats("node-1"), mesh.stats("node-2")
        status, body = mesh.curl("shared", "http://127.0.0.1:8081/")
        assert status == 200
        seen = json.loads(body)
        assert seen["peer"].startswith("127.0.0.1:")
        assert "x-forwarded-client-cert" not in seen["headers"]
        after = mesh.stats("node-1"), mesh.stats("node-2")
        for old, new in zip(before, after, strict=True):
            key = "http.outbound.downstream_rq_total"
            assert new.get(key) == old.get(key), "what stays in the pod is not captured"
        assert logs(mesh, "shared", "-c", "c").split() == ["first", "second"]
        assert "sidecar runs" in logs(mesh, "shared", "-c", "side")
        done = mesh.command("exec", "shared", "-c", "c", "--", "cat", "/data/init")
        assert done.stdout.split() == ["first", "second"]


def test_variables_and_volumes_from_config_maps_and_secrets(mesh):
    def given(color):
        return [config("look", {"color": color, "size": "9"}), config("key", {"pin": "1234"}, "Secret")]

    env = [
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "look", "key": "color"}}},
        {"name": "PIN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "pin"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "BOTH", "value": "$(COLOR)-$(PIN)-$(NOT)-$$(COLOR)"},
    ]
    mounts = [{"name": "look", "mountPath": "/etc/look"}, {"name": "key", "mountPath": "/etc/key", "readOnly": True}]
    one = pod(
        "vars",
        {"name": "c", "command": ["sh", "-c", 'echo "args $0 $1"; env; exec sleep infinity'], "args": ["$(BOTH)", "b"],
         "env": env, "envFrom": [{"configMapRef": {"name": "look"}, "prefix": "L_"}], "volumeMounts": mounts},
        volumes=[{"name": "look", "configMap": {"name": "look"}}, {"name": "key", "secret": {"secretName": "key"}}],
    )  # fmt: skip
    with live.file(mesh, "vars.yaml", one, *given("red")):
        ip = live.ready(mesh, "vars")[0]["ip"]
        text = wait.until(lambda: t if "COLOR" in (t := logs(mesh, "vars")) else None, "it said so")
        said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        assert text.splitlines()[0] == "args red-1234-$(NOT)-$(COLOR) b"
        assert (said["COLOR"], said["PIN"], said["IP"], said["APP"]) == ("red", "1234", ip, "vars")
        assert (said["L_color"], said["L_size"], said["NODE"][:5]) == ("red", "9", "node-")
        assert "NONE" not in said
        read = mesh.exec("vars", "sh", "-c", "cat /etc/look/color /etc/key/pin; ls /etc/look")
        assert read.stdout == "red1234color\nsize\n"
        live.write(mesh, "vars.yaml", one, *given("blue"))
        color = ["cat", "/etc/look/color"]
        wait.until(lambda: mesh.exec("vars", *color).stdout == "blue", "the volume follows", every=0.2)
        assert mesh.exec("vars", "sh", "-c", "echo $COLOR").stdout == "red\n", "variables do not"


def toggle(name, version, probe, **more):
    """A server whose probe looks for a file in the shared folder."""
    return pod(
        name, {**live.echo(version), "readinessProbe": None, **probe}, **more,
    )


def test_readiness_decides_where_requests_go(mesh, near, tmp_path):
    switch = tmp_path / "ready"
    switch.touch()
    look = {"exec": {"command": ["test", "-e", str(switch)]}, "periodSeconds": 1, "failureThreshold": 1}
    objects = [
        toggle("able-a", "a", {"readinessProbe": look}, nodeName="node-1"),
        toggle("able-b", "b", {"readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}},
               nodeName="node-1"),
        live.service("able", {"tier": "able"}),
        live.service("anyway", {"who": "a"}, (80, 8080), clusterIP="None", publishNotReadyAddresses=True),
    ]  # fmt: skip
    for one in objects[:2]:
        one["metadata"]["labels"] = {"tier": "able", "who": one["metadata"]["name"][-1]}
    with live.file(mesh, "able.yaml", *objects):
        live.ready(mesh, "able-", 2)
        wait.until(lambda: set(near.count("able", times=40)) == {"a", "b"}, "both answer")
        switch.unlink()
        wait.until(lambda: set(near.count("able", times=40)) == {"b"}, "only b answers", seconds=30)
        assert near.resolve("anyway")["addresses"] == [live.pods(mesh, "able-a")[0]["ip"]]
        assert not live.pods(mesh, "able-a")[0]["ready"]
        switch.touch()
        wait.until(lambda: set(near.count("able", times=40)) == {"a", "b"}, "both answer again", seconds=30)


def test_liveness_and_startup_restart_a_container(mesh, tmp_path):
    alive = tmp_path / "alive"
    alive.touch()
    beat = {"exec": {"command": ["test", "-e", str(alive)]}, "periodSeconds": 1, "failureThreshold": 1}
    start = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 30}
    objects = [
        toggle("beat", "x", {"livenessProbe": beat, "startupProbe": start}),
        pod("calls", {
            "name": "c", "command": ["python3", "-m", "retic.testing.apps.echo_grpc", "--port", "9000"],
            "readinessProbe": {"grpc": {"port": 9000}, "periodSeconds": 1}}),
    ]  # fmt: skip
    with live.file(mesh, "beat.yaml", *objects):
        live.ready(mesh, "beat")
        live.ready(mesh, "calls")
        mesh.exec("beat", "true")
        alive.unlink()
        wait.until(lambda: not live.pods(mesh, "beat")[0]["ready"], "it is restarted", every=0.2)
        alive.touch()
        live.ready(mesh, "beat")
        assert "listening" in logs(mesh, "beat", "--previous")


def test_endpoints_written_by_hand(mesh, near):
    """A pod's address is reached over mTLS; an address that is nobody's pod as it is."""
    address = live.pods(mesh, "site-v2")[0]["ip"]

    def by_hand(name, ip, port):
        return {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": live.meta(f"{name}-1", labels={"kubernetes.io/service-name": name}),
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": [ip], "conditions": {"ready": True}}],
        }

    with subprocess.Popen(
        [sys.executable, "-m", "retic.testing.apps.echo_http", "--host", "127.0.0.1", "--port", "0"],
        stdout=subprocess.PIPE, text=True,
    ) as outside:  # fmt: skip
        port = int(outside.stdout.readline().rpartition(":")[2])
        ports = {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 1}]}}
        services = [{"apiVersion": "v1", "kind": "Service", "metadata": live.meta(n), **ports}
                    for n in ("hand", "loop")]  # fmt: skip
        loop = by_hand("loop", "127.0.0.1", port)
        try:
            with live.file(mesh, "hand.yaml", *services, by_hand("hand", address, 8080), loop):
                answer = wait.until(
                    lambda: (a := near.http("http://hand/"))["status"] == 200 and a, "it answers", seconds=30
                )
                assert answer["json"]["version"] == "v2"
                assert answer["json"]["headers"]["x-forwarded-client-cert"].endswith("/sa/c0")
                assert near.http("http://loop/")["status"] == 503, "loopback would be the proxy's own"
                assert "RT0105" in {f["code"] for f in mesh.ps()["findings"]}
        finally:
            outside.send_signal(signal.SIGTERM)


def test_mistakes_are_said_with_their_line_and_stop_nobody_else(mesh):
    bad = {"name": "c", "image": "nginx"}
    objects = [
        pod("m-none", bad), pod("m-lost", {"name": "c", "command": ["no-such-command"]}),
        pod("m-fine", idle()), pod("m-ends", shell("echo bye; exit 3")),
        pod("m-map", idle(envFrom=[{"configMapRef": {"name": "absent"}}])),
    ]
    with live.file(mesh, "mistakes.yaml", *objects):
        live.ready(mesh, "m-fine")
        found = wait.until(
            lambda: f if len(f := _of(mesh, "mistakes.yaml")) >= 3 else None, "all are found", every=0.2
        )
        codes = {f["object"]: (f["code"], f["line"]) for f in found}
        text = (mesh.folder / "mistakes.yaml").read_text().splitlines()
        assert codes["Pod default/m-none"][0] == "RT0501"
        assert "name: c" in text[codes["Pod default/m-none"][1] - 1]
        assert codes["Pod default/m-lost"][0] == "RT0502"
        assert codes["Pod default/m-map"][0] == "RT0104"
        assert "bye" in wait.until(lambda: logs(mesh, "m-ends"), "it ended")
        ready = {p["name"]: p["ready"] for p in live.pods(mesh, "m-")}
        assert ready == {"m-none": False, "m-lost": False, "m-fine": True, "m-ends": False, "m-map": False}


def _of(mesh, file):
    return [f for f in mesh.ps()["findings"] if f["file"].endswith(file)]


def test_logs(mesh):
    text = "for i in 1 2 3; do echo line $i; done; echo wrong >&2; exec sleep infinity"
    with live.file(mesh, "logs.yaml", pod("talks", shell(text, "a"), shell("echo other; exec sleep infinity", "b"))):
        live.ready(mesh, "talks")
        wait.until(lambda: "wrong" in logs(mesh, "talks", "-c", "a"), "it has spoken")
        assert logs(mesh, "talks", "-c", "a").splitlines() == ["line 1", "line 2", "line 3", "wrong"]
        assert logs(mesh, "talks", "-c", "a", "--tail", "2").splitlines() == ["line 3", "wrong"]
        assert logs(mesh, "talks", "-c", "b").split() == ["other"]
        done = mesh.command("logs", "talks", "-c", "zzz")
        assert done.returncode == 1
        assert "a, b" in done.stderr
        following = subprocess.Popen(
            [sys.executable, "-m", "retic.cli", "logs", "--name", mesh.name, "-f", "talks", "-c", "a"],
            stdout=subprocess.PIPE, text=True,
        )
        try:
            assert following.stdout.readline() == "line 1\n"
            log = next(
                c["log"] for c in _status(mesh, "talks")["containers"] if c["name"] == "a"
            )
            with pathlib.Path(log).open("a") as file:
                file.write("later\n")
            assert [following.stdout.readline() for _ in range(4)][-1] == "later\n"
        finally:
            following.terminate()
            following.communicate()


def _status(mesh, name):
    from retic.cli import running

    found = running.cluster(running.folder(mesh.name), {"get": "status"})
    return next(p for p in found["pods"] if p["name"] == name)


def test_exec(mesh):
    assert mesh.exec("c0", "sh", "-c", "exit 7").returncode == 7
    assert mesh.command("exec", "-i", "c0", "--", "cat", stdin="in\nand out").stdout == "in\nand out"
    assert mesh.exec("deploy/site-v1", "hostname").stdout.startswith("site-v1-")
    assert mesh.exec("guest", "hostname", namespace="other").stdout == "guest\n"
    assert mesh.exec("c0", "pwd").stdout == f"{mesh.folder}\n"
    done = mesh.exec("nobody", "true")
    assert done.returncode == 1
    assert "nobody" in done.stderr
    done = mesh.command("exec", "c0", "-c", "zzz", "--", "true")
    assert done.returncode == 1
    assert "zzz" in done.stderr
    assert mesh.exec("c0", "no-such-command").returncode == 127


def test_requests_spread_over_ready_endpoints(near, mesh):
    found = near.count("crowd", times=1500, connections=6, field="name")
    assert set(found) == {p["name"] for p in live.pods(mesh, "crowd-")}
    assert all(300 < n < 700 for n in found.values()), found


def test_the_own_zone_comes_first_and_others_take_over(mesh, near, far):
    def zoned(*versions):
        nodes = {"east": "node-1", "west": "node-2"}
        made = [pod(f"zoned-{v}", live.echo(v), nodeName=nodes[v]) for v in versions]
        for one in made:
            one["metadata"]["labels"] = {"app": "zoned"}
        return [*made, live.service("zoned", {"app": "zoned"})]

    with live.file(mesh, "zoned.yaml", *zoned("east", "west")):
        live.ready(mesh, "zoned-", 2)
        wait.until(lambda: set(near.count("zoned", times=50)) == {"east"}, "the near zone", seconds=30)
        assert set(far.count("zoned", times=50)) == {"west"}
        near.begin("zoned", "zoned")
        live.write(mesh, "zoned.yaml", *zoned("west"))
        wait.until(lambda: set(near.count("zoned", times=20)) == {"west"}, "the other zone takes over", seconds=30)
        assert set(near.end("zoned")) == {"east", "west"}, "no request was lost"
        live.write(mesh, "zoned.yaml", *zoned("east", "west"))
        wait.until(lambda: set(near.count("zoned", times=20)) == {"east"}, "home again", seconds=10)


SECURE = """
import http.server, ssl
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"own tls")
server = http.server.ThreadingHTTPServer(("", 8443), Answer)
trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trust.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = trust.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.mark.parametrize("port", [443, 444])
def test_tls_of_the_applications_own_passes_through(mesh, near, secure, port):
    answer = near.say("secure", port, "GET / HTTP/1.0\r\n\r\n", tls=True)
    assert answer["lines"][0].split()[1] == "200"
    assert answer["certificate"] == secure, "ended by the application, nobody else"


@pytest.fixture(scope="module")
def secure(mesh):
    pair = tls_pairs.pair("secure")
    objects = [
        config("secure", {"tls.crt": pair[0].decode(), "tls.key": pair[1].decode()}, "Secret"),
        pod("secure", {
            "name": "c", "command": ["python3", "-c", SECURE],
            "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
            "readinessProbe": {"httpGet": {"port": 8443, "scheme": "HTTPS"}, "periodSeconds": 1},
        }, volumes=[{"name": "tls", "secret": {"secretName": "secure"}}]),
        live.service("secure", {"app": "secure"}, {"name": "https", "port": 443, "targetPort": 8443},
                     {"name": "unsaid", "port": 444, "targetPort": 8443}),
    ]  # fmt: skip
    with live.file(mesh, "secure.yaml", *objects):
        live.ready(mesh, "secure")
        yield pair[0].decode()


def test_no_process_of_a_removed_pod_stays(mesh):
    with live.file(mesh, "gone.yaml", pod("gone", idle())):
        live.ready(mesh, "gone")
        pids = [c["pid"] for c in _status(mesh, "gone")["containers"]]
        assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
    wait.until(lambda: not live.pods(mesh, "gone"), "the pod goes", every=0.2)
    wait.until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "its process goes")
    # Its listeners neither: while Envoy drains them they take as much memory as a pod that runs.
    wait.until(lambda: _draining(mesh, "node-1") + _draining(mesh, "node-2") == 0, "its listeners go", 30, every=0.2)


def _draining(mesh, node):
    return mesh.stats(node)["listener_manager.total_listeners_draining"]
