"""Pods as processes of this machine: starts, probes, restarts, volumes, variables and ends."""

import asyncio
import contextlib
import pathlib
import time

from kubelet_machine import Machine, python, shell

from retic.identity import clock
from retic.local.kubelet import status
from retic.local.workloads import pods
from retic.testing import ports


async def test_a_container_runs_with_its_variables_arguments_and_folder(machine):
    machine.put("ConfigMap", "settings", {"COLOR": "red", "SIZE": "9"})
    machine.put("Secret", "keys", {"token": "czNjcmV0"})
    env = [
        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "ALL", "value": "$(WHO)-$(TOKEN)-$$(WHO)-$(NONE)"},
    ]
    source = [{"prefix": "MY_", "configMapRef": {"name": "settings"}}]
    text = 'echo "$ALL $MY_COLOR $CPU $1 $PWD $HOSTNAME"; sleep 60'
    app = {
        "name": "app", "command": ["sh", "-c", text, "sh"], "args": ["$(MY_SIZE)"], "env": env,
        "envFrom": source, "resources": {"limits": {"cpu": "1500m"}},
    }  # fmt: skip
    machine.run("one", app)
    await machine.until_ready("one")
    await machine.until(lambda: machine.log("one"), "the log")
    assert machine.log("one").split() == ["one-s3cret-$(WHO)-$(NONE)", "red", "2", "9", str(machine.folder), "one"]


async def test_a_further_command_gets_what_a_running_container_was_started_with(machine):
    def inside(name, which="app"):
        (runner,) = (one for one in machine.kubelet.runners if one.pod.metadata.name == name)
        return runner.inside(which)

    machine.put("ConfigMap", "settings", {"COLOR": "red"})
    (machine.folder / "sub").mkdir()
    first = shell("exit 0", "first")
    source = [{"configMapRef": {"name": "settings"}}]
    app = shell("exec env -i sleep 60", envFrom=source, workingDir="sub")
    machine.run("one", app, initContainers=[first])
    await machine.until_ready("one")
    machine.put("ConfigMap", "settings", {"COLOR": "blue"})
    found = inside("one")
    assert (found.cwd, found.env["COLOR"], found.env["HOSTNAME"]) == (str(machine.folder / "sub"), "red", "one")
    assert inside("one", "first") == "it ended with 0"
    assert inside("one", "none") == "there is no such container"
    machine.run("job", shell("exit 2"), restartPolicy="Never")
    await machine.until(lambda: "job" in machine.seen and machine.seen["job"].status.phase == "Failed", "failed")
    assert inside("job") == "it ended with 2"
    machine.run("late", shell("sleep 60", envFrom=[{"configMapRef": {"name": "none"}}]))
    await machine.until(lambda: inside("late") == "it is waiting: CreateContainerConfigError", "it waits")


async def test_a_missing_config_map_holds_the_container_until_it_comes(machine):
    machine.run("one", shell("sleep 60", envFrom=[{"configMapRef": {"name": "late"}}]))
    await machine.until(lambda: "one" in machine.seen and machine.container("one").state.waiting, "waiting")
    assert machine.container("one").state.waiting.reason in ("ContainerCreating", "CreateContainerConfigError")
    machine.put("ConfigMap", "late", {"A": "b"})
    await machine.until_ready("one")


async def test_a_command_that_does_not_exist_is_told(machine):
    machine.run("one", {"name": "app", "command": ["/no/such/thing"]}, restartPolicy="Never")
    await machine.until(lambda: "one" in machine.seen and machine.seen["one"].status.phase == "Failed", "failed")
    ended = machine.container("one").state.terminated
    assert (ended.reason, ended.exit_code) == ("StartError", 128)
    assert "No such file" in ended.message


async def test_init_containers_run_in_order_before_containers_and_sidecars_stay(machine):
    place = machine.folder / "order"
    say = f"echo $0 >> {place}"
    inits = [
        {"name": "a", "command": ["sh", "-c", say, "a"]},
        {
            "name": "side",
            "command": ["sh", "-c", f"{say}; sleep 60", "side"],
            "restartPolicy": "Always",
            "startupProbe": {"exec": {"command": ["grep", "-q", "side", str(place)]}},
        },
        {"name": "b", "command": ["sh", "-c", say, "b"]},
    ]
    machine.run(
        "one", {"name": "app", "command": ["sh", "-c", say, "app"]}, initContainers=inits, restartPolicy="Never"
    )
    await machine.until(lambda: "one" in machine.seen and machine.seen["one"].status.phase == "Succeeded", "done")
    assert place.read_text().split() == ["a", "side", "b", "app"]
    assert machine.container("one", "side").state.terminated is not None


async def test_restarts_back_off_as_kubelet_does(stopped):
    machine, time = stopped
    machine.run("one", shell("echo life; exit 3"))
    begun = time.now()
    waits = []
    for _ in range(7):
        await machine.until(
            lambda: "one" in machine.seen and time.waiting and (s := machine.container("one").state.waiting)
            and s.reason == "CrashLoopBackOff" and len(waits) + 1 <= machine.container("one").restart_count,
            "the container waits",
        )  # fmt: skip
        left = (time.waiting[0] - time.now()).total_seconds()
        waits.append(left)
        time.advance(left)
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    assert (time.now() - begun).total_seconds() == sum(waits)
    assert "life" in machine.log("one", file="previous.log")


async def test_a_pod_is_told_to_end_once_its_callers_know(tmp_path):
    heard_at = []

    async def heard():
        await asyncio.sleep(0.3)  # a signal that does not wait for it is there long before
        heard_at.append(time.time_ns())

    machine = Machine(tmp_path, clock.System(), heard=heard)
    listens, told = tmp_path / "listens", tmp_path / "told"
    code = f"""
import pathlib, signal
def end(*_):
    pathlib.Path({str(told)!r}).touch()
    raise SystemExit
signal.signal(signal.SIGTERM, end)
pathlib.Path({str(listens)!r}).touch()
signal.pause()
"""
    machine.run("one", python(code))
    await machine.until(listens.exists, "it would hear a signal")
    (runner,) = machine.kubelet.runners
    machine.end("one")
    await runner.ended()
    assert told.stat().st_mtime_ns >= heard_at[0] - 50_000_000  # a file's time is that of the last tick
    assert machine.left == ["one"]


async def test_a_job_pod_ends_as_its_containers_do(machine):
    machine.run("good", shell("exit 0"), restartPolicy="OnFailure")
    machine.run("bad", shell("exit 2"), restartPolicy="Never")
    await machine.until(
        lambda: {n: p.status.phase for n, p in machine.seen.items()} == {"good": "Succeeded", "bad": "Failed"}, "ends"
    )


SERVE = """
import http.server, sys, pathlib
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = not pathlib.Path(sys.argv[2]).exists() and self.headers.get("x-probe") == "yes"
        self.send_response(200 if good else 503); self.end_headers()
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


async def test_http_readiness_follows_the_application_without_restarts(machine):
    port, broken = ports.free(), machine.folder / "broken"
    get = {"port": "web", "path": "/ok", "httpHeaders": [{"name": "x-probe", "value": "yes"}]}
    probe = {"httpGet": get, "periodSeconds": 1, "failureThreshold": 1}
    app = python(
        SERVE, args=[str(port), str(broken)], ports=[{"name": "web", "containerPort": port}], readinessProbe=probe
    )
    machine.run("one", app)
    await machine.until_ready("one")
    broken.touch()
    await machine.until(lambda: not pods.ready(machine.seen["one"]), "not ready")
    broken.unlink()
    await machine.until_ready("one")
    assert machine.container("one").restart_count == 0


def why(machine, name):
    """What is said of a pod that is not ready."""
    pod = machine.seen.get(name)
    return [] if pod is None else status.reasons(pod, machine.kubelet.unready(pod))


async def test_what_the_last_probe_brought_is_said(machine):
    port, nobody = ports.free(), ports.free()
    serve = python(SERVE, args=[str(port), "/none"])
    quick = {"periodSeconds": 1, "timeoutSeconds": 1}
    shown = {
        "http": ({"httpGet": {"port": port}}, "readiness probe: HTTP 503"),
        "closed": ({"tcpSocket": {"port": nobody}}, "readiness probe: connection refused"),
        "exec": ({"exec": {"command": ["sh", "-c", "echo no; exit 4"]}}, "readiness probe: exit code 4: no"),
        "slow": ({"exec": {"command": ["sleep", "60"]}}, "readiness probe: timed out after 1 s"),
        "plain": ({"httpGet": {"port": port, "scheme": "HTTPS"}}, "readiness probe: no TLS: WRONG_VERSION_NUMBER"),
        "strange": ({"httpGet": {"port": "web"}}, "readiness probe: the container has no port named web"),
        "later": ({"tcpSocket": {"port": port}, "initialDelaySeconds": 60},
                  "the readiness probe has not been tried yet"),
        "often": ({"tcpSocket": {"port": port}, "successThreshold": 1000},
                  "the readiness probe succeeds, not often enough yet"),
    }  # fmt: skip
    machine.run("server", serve)
    for name, (probe, _) in shown.items():
        machine.run(name, shell("sleep 60", readinessProbe={**quick, **probe}))
    machine.run(
        "starting", shell("sleep 60", startupProbe={**quick, "tcpSocket": {"port": nobody}, "failureThreshold": 1000})
    )
    wanted = {name: text for name, (_, text) in shown.items()} | {"starting": "startup probe: connection refused"}
    for name, text in wanted.items():
        line = [f"pod default/{name}, container app: running, not ready: {text}"]
        await machine.until(lambda name=name, line=line: why(machine, name) == line, line[0])
    await machine.until_ready("server")
    assert why(machine, "server") == []


async def test_an_old_end_is_no_reason_and_a_new_one_is(machine):
    once, nobody = machine.folder / "once", ports.free()
    probe = {"tcpSocket": {"port": nobody}, "periodSeconds": 1, "failureThreshold": 1}
    text = f"test -e {once} || {{ touch {once}; exit 3; }}; exec sleep 60"
    machine.run("again", shell(text, readinessProbe=probe))
    machine.run("ill", shell("exec sleep 60", livenessProbe=probe), restartPolicy="Never")
    machine.run("bad", shell("exit 2"), restartPolicy="Never")
    machine.run("half", shell("exit 0"), shell("exec sleep 60", "other"), restartPolicy="OnFailure")
    machine.run("loops", shell("exit 5"))
    lines = {
        "bad": "pod default/bad, container app: ended with 2",
        "ill": "pod default/ill, container app: ended with 143: liveness probe: connection refused",
        "loops": "pod default/loops, container app: CrashLoopBackOff: back-off 10s restarting failed container=app "
                 "(it ended with 5)",
        "half": "pod default/half: containers with unready status: [app]",
    }  # fmt: skip
    for name, line in lines.items():
        await machine.until(lambda name=name, line=line: why(machine, name) == [line], line)
    line = ("pod default/again, container app: running, not ready: readiness probe: connection refused; "
            "restarted after it ended with 3")  # fmt: skip
    await machine.until(lambda: why(machine, "again") == [line], line)


async def test_tcp_and_exec_probes_gate_start_and_readiness(machine):
    port, flag = ports.free(), machine.folder / "flag"
    app = python(
        SERVE, args=[str(port), "/none"], startupProbe={"tcpSocket": {"port": port}},
        readinessProbe={"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1},
    )  # fmt: skip
    machine.run("one", app)
    await machine.until(lambda: "one" in machine.seen and machine.container("one").started, "started")
    assert not pods.ready(machine.seen["one"])
    flag.touch()
    await machine.until_ready("one")


async def test_a_failing_liveness_probe_restarts_the_container(machine):
    flag = machine.folder / "alive"
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1, "failureThreshold": 1}
    machine.run("one", shell(f"touch {flag}; sleep 60", livenessProbe={**probe, "initialDelaySeconds": 1}))
    await machine.until_ready("one")
    await machine.until(flag.exists, "alive")
    flag.unlink()
    await machine.until(lambda: machine.container("one").restart_count == 1, "restarted")
    await machine.until(flag.exists, "alive again")


HEALTH = """
import sys, grpc
from concurrent import futures
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
server = grpc.server(futures.ThreadPoolExecutor(1))
servicer = health.HealthServicer()
servicer.set("shop", health_pb2.HealthCheckResponse.SERVING)
servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}"); server.start(); server.wait_for_termination()
"""


async def test_grpc_probes_ask_a_real_health_service(machine):
    port, other = ports.free(), ports.free()
    good = {"grpc": {"port": port, "service": "shop"}, "periodSeconds": 1}
    bad = {"grpc": {"port": other}, "periodSeconds": 1}
    machine.run("good", python(HEALTH, args=[str(port)], readinessProbe=good))
    machine.run("bad", python(HEALTH, args=[str(other)], readinessProbe=bad))
    await machine.until_ready("good")
    assert not pods.ready(machine.seen["bad"])


async def test_volumes_are_folders_and_follow_their_config_map_in_one_step(machine):
    machine.put("ConfigMap", "files", {"a": "1", "b": "2"})
    volumes = [{"name": "conf", "configMap": {"name": "files", "defaultMode": 0o440}}, {"name": "tmp", "emptyDir": {}}]
    mounts = [{"name": "conf", "mountPath": "/conf", "readOnly": True}, {"name": "tmp", "mountPath": "/scratch"}]
    machine.run("one", shell("sleep 60", volumeMounts=mounts), volumes=volumes)
    await machine.until_ready("one")
    made = {item.path: item for item in machine.fabric.volumes["one"]}
    assert (made["/conf"].read_only, made["/scratch"].read_only) == (True, False)
    conf = pathlib.Path(made["/conf"].source)
    assert ((conf / "a").read_text(), (conf / "a").stat().st_mode & 0o777) == ("1", 0o440)
    before = (conf / "..data").readlink()
    machine.put("ConfigMap", "files", {"a": "3"})
    assert ((conf / "a").read_text(), (conf / "b").exists()) == ("3", False)
    assert (conf / "..data").readlink() != before
    assert machine.fabric.made == ["one"]
    assert machine.container("one").restart_count == 0


async def test_an_end_is_asked_for_first_and_forced_after_the_grace(machine):
    told = machine.folder / "told"
    machine.run("polite", shell(f"trap 'echo bye > {told}; exit 0' TERM; while :; do sleep 0.1; done"))
    machine.run("deaf", shell("trap '' TERM; while :; do sleep 0.1; done"), terminationGracePeriodSeconds=1)
    await machine.until_ready("polite")
    await machine.until_ready("deaf")
    machine.end("polite")
    machine.end("deaf")
    await machine.until(lambda: sorted(machine.left) == ["deaf", "polite"], "both are gone")
    assert told.read_text() == "bye\n"
    assert machine.container("deaf").state.terminated.exit_code == 137
    assert sorted(machine.fabric.removed) == ["deaf", "polite"]


async def test_hooks_run_after_the_start_and_before_the_end(machine):
    place = machine.folder / "hooks"
    say = {what: {"exec": {"command": ["sh", "-c", f"echo {what} >> {place}"]}} for what in ("postStart", "preStop")}
    machine.run("one", shell("sleep 60", lifecycle=say))
    await machine.until_ready("one")
    machine.end("one")
    await machine.until(lambda: machine.left == ["one"], "gone")
    assert place.read_text().split() == ["postStart", "preStop"]


async def test_no_container_starts_before_the_agent_has_captured_the_pod(tmp_path):
    socket, answers = tmp_path / "cni.sock", [b'{"error":"not yet"}\n', b'{"ok":true}\n']
    machine = Machine(tmp_path, clock.System(), agent=socket)

    async def agent(reader, writer):
        await reader.readline()
        assert machine.fabric.spawned == [] or not answers
        writer.write(answers.pop(0) if answers else b'{"ok":true}\n')
        writer.close()

    machine.run("one", shell("sleep 60"))
    await machine.until(lambda: "one" in machine.seen, "a status")
    assert machine.fabric.spawned == []
    server = await asyncio.start_unix_server(agent, str(socket))
    await machine.until_ready("one")
    await machine.kubelet.close()
    server.close()
    with contextlib.suppress(asyncio.CancelledError):
        await server.wait_closed()
