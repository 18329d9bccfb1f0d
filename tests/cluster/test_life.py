"""The life of pods in a cluster's mesh: how they come in, what they may be, how they go."""

import json

import pytest
from tests.cluster import strict_objects as objects
from tests.cluster.installed import IMAGE

from retic.install import names
from retic.testing import wait

ASK = "import urllib.request as r; print(r.urlopen('http://{}', timeout=20).read().decode())"


@pytest.fixture(scope="module")
def mesh(installed, nodes):
    """An echo server with a Service on the first node, and a caller on the second."""
    with installed.namespace() as kube:
        kube.apply(service("echo", {"app": "echo"}), echo("echo", nodes[0]))
        kube.apply(objects.sleeper("caller", IMAGE, nodes[1]))
        kube.ready("echo", "caller")
        captured(kube, "echo", "caller")
        answer(kube, "caller", "echo/")
        yield kube


def echo(name, node, **spec):
    ready = {**objects.get(8080, "/ready"), "timeoutSeconds": 5}
    container = objects.server(name, "echo_http", 8080, IMAGE, readinessProbe=ready)
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }  # fmt: skip


def service(name, selector, **more):
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": ports, **({"selector": selector} if selector else {}), **more},
    }  # fmt: skip


def is_captured(pod):
    return any(one["type"] == names.CAPTURED and one["status"] == "True" for one in pod["status"].get("conditions", ()))


def captured(kube, *pods, wanted=True, seconds=110):
    wait.until(lambda: all(is_captured(kube.get("pod", pod)) is wanted for pod in pods), f"captured: {wanted}", seconds)


def ask(kube, pod, url):
    return json.loads(kube.python(pod, ASK.format(url)))


def answer(kube, pod, url):
    """What is answered at a Service that has just been made, once it is known where the pod is."""
    return wait.until(lambda: ask(kube, pod, url), f"{url} answers", 110)


def identity(seen):
    return seen["headers"].get("x-forwarded-client-cert", "")


def job(name, code, **spec):
    """A Job whose pod runs the code, in its init container too."""
    run = {"image": IMAGE, "command": ["python", "-c", code]}
    template = {"restartPolicy": "Never", "initContainers": [{"name": "init", **run}],
                "containers": [{"name": "c", **run}], **spec}  # fmt: skip
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": template}}}  # fmt: skip


def finished(kube, name, seconds=110):
    done = kube.attempt("wait", "--for=condition=Complete", f"--timeout={seconds}s", f"job/{name}")
    assert done.returncode == 0, kube.run("logs", f"job/{name}", "--all-containers") + kube.run("get", "events")


def test_running_pods_come_in_and_go_out_under_open_connections(installed, nodes):
    with installed.namespace({}) as kube:
        kube.apply(service("echo", {"app": "echo"}), echo("echo", nodes[0]), objects.sleeper("caller", IMAGE, nodes[1]))
        kube.ready("echo", "caller")
        before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kube.get("pods")["items"]}
        kube.python("caller", HOLD)
        assert identity(ask(kube, "caller", "echo/")) == ""
        kube.run("label", "namespace", kube.namespace, "retic.dev/mesh=enabled")
        captured(kube, "echo", "caller")
        wait.until(lambda: "ns/" in identity(ask(kube, "caller", "echo/")), "calls have an identity", 110)
        assert held(kube) == "200", "the connection that was open goes on"

        def listed():
            message = next(one["message"] for one in checks(installed) if one["check"] == "plaintext")
            return all(f"{node}: " in message for node in nodes)

        wait.until(listed, "the older connection is listed at both its ends", 90, every=1)
        kube.run("label", "namespace", kube.namespace, "retic.dev/mesh-")
        captured(kube, "echo", "caller", wanted=False)
        wait.until(lambda: identity(ask(kube, "caller", "echo/")) == "", "plaintext again", 110)
        assert held(kube) == "200"
        now = {pod["metadata"]["name"]: pod for pod in kube.get("pods")["items"]}
        assert {name: pod["metadata"]["uid"] for name, pod in now.items()} == before
        assert {pod["status"]["containerStatuses"][0]["restartCount"] for pod in now.values()} == {0}


def checks(installed):
    return json.loads(installed.attempt("check", "-o", "json").stdout)


# A process that keeps one connection to the server and answers at a unix socket with a request's status on it.
HOLD = r"""
import os, socket, subprocess, sys
code = '''
import http.client, socket
import time
for _ in range(500):
    try:
        kept = http.client.HTTPConnection('echo', 80, timeout=20)
        kept.request('GET', '/'); kept.getresponse().read(); break
    except OSError:  # the Service is not known everywhere yet
        time.sleep(0.1)
listening = socket.socket(socket.AF_UNIX); listening.bind('\\0held'); listening.listen()
while True:
    one, _ = listening.accept()
    try:
        kept.auto_open = 0
        kept.request('GET', '/'); answer = kept.getresponse(); answer.read(); said = str(answer.status)
    except Exception as error:
        said = repr(error)
    one.sendall(said.encode()); one.close()
'''
subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL, start_new_session=True)
import time
for _ in range(600):
    try:
        one = socket.socket(socket.AF_UNIX); one.connect('\0held'); one.recv(9); break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit('it does not hold')
"""


def held(kube):
    code = r"import socket; one = socket.socket(socket.AF_UNIX); one.connect('\0held'); print(one.recv(99).decode())"
    return kube.python("caller", code)


def test_left_out_pods_are_listed_and_reached_in_plaintext(mesh, installed, nodes):
    out = echo("left-out", nodes[0])
    out["metadata"]["labels"]["retic.dev/mesh"] = "disabled"
    on_host = objects.sleeper("on-host", IMAGE, nodes[0], hostNetwork=True)
    with installed.namespace({"pod-security.kubernetes.io/enforce": "privileged", "retic.dev/mesh": "enabled"}) as kube:
        kube.apply(service("left-out", {"app": "left-out"}), out, on_host)
        kube.ready("left-out", "on-host")
        message = next(one["message"] for one in checks(installed) if one["check"] == "left-out")
        assert f"{kube.namespace}/left-out: its label" in message
        assert f"{kube.namespace}/on-host: it uses the host's network" in message
        assert identity(answer(mesh, "caller", f"left-out.{kube.namespace}/")) == ""


def test_a_job_completes_and_its_init_container_has_the_mesh(mesh):
    code = ASK.format("echo/") + "; import sys; sys.exit(0)"
    mesh.apply(job("once", code))
    finished(mesh, "once")
    logs = mesh.run("logs", "job/once", "--all-containers")
    assert logs.count("x-forwarded-client-cert") == 2, logs


def test_a_cron_job_runs(mesh):
    spec = job("unused", ASK.format("echo/"))["spec"]
    mesh.apply({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "often"},
                "spec": {"schedule": "* * * * *", "suspend": True, "jobTemplate": {"spec": spec}}})  # fmt: skip
    mesh.run("create", "job", "--from=cronjob/often", "by-hand")
    finished(mesh, "by-hand")


def test_a_sidecar_init_container_serves_before_the_others(mesh, nodes):
    sidecar = objects.server("side", "echo_http", 8080, IMAGE, restartPolicy="Always")
    sidecar["startupProbe"] = {**objects.get(8080, "/started"), "failureThreshold": 60}
    pod = echo("sided", nodes[0], initContainers=[sidecar])
    pod["spec"]["containers"] = [{"name": "c", "image": IMAGE, "command": ["sleep", "infinity"]}]
    mesh.apply(service("sided", {"app": "sided"}), pod)
    mesh.ready("sided")
    assert answer(mesh, "caller", "sided/")["name"] == "side"
    assert ask(mesh, "sided", "127.0.0.1:8080/")["name"] == "side"


def test_a_stateful_sets_pods_are_called_by_name(mesh):
    container = objects.server("c", "echo_http", 8080, IMAGE, readinessProbe=objects.get(8080, "/ready"))
    mesh.apply(
        service("states", {"app": "states"}, clusterIP="None"),
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "states"},
         "spec": {"serviceName": "states", "replicas": 2, "podManagementPolicy": "Parallel",
                  "selector": {"matchLabels": {"app": "states"}},
                  "template": {"metadata": {"labels": {"app": "states"}},
                               "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}}},
    )  # fmt: skip
    mesh.run("rollout", "status", "statefulset/states", "--timeout=110s")
    captured(mesh, "states-0", "states-1")
    for name in ("states-0", "states-1"):
        seen = wait.until(lambda name=name: ask(mesh, "caller", f"{name}.states:8080/"), "the pod's name is known", 110)
        assert "spiffe://" in identity(seen)


def test_addresses_that_are_used_again_meet_nothing_old(mesh, nodes):
    """Pods of other service accounts come and go quickly on one node; the caller always meets who is there now."""
    for account in ("first", "second"):
        mesh.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    for number in range(6):
        account = ("first", "second")[number % 2]
        pod = echo(f"turn-{number}", nodes[0], serviceAccountName=account)
        pod["metadata"]["labels"]["app"] = "turn"
        mesh.apply(service("turn", {"app": "turn"}), pod)
        mesh.ready(f"turn-{number}")
        captured(mesh, f"turn-{number}")

        def there(number=number):
            return ask(mesh, "caller", "turn/")["name"] == f"turn-{number}"

        wait.until(there, "the newest answers", 110)
        seen = ask(mesh, f"turn-{number}", "echo/")
        assert f"/sa/{account}" in identity(seen)
        mesh.run("delete", "pod", f"turn-{number}", "--wait=true")


def test_a_pod_that_crashes_in_a_loop_stays_captured_and_comes_back(mesh, nodes):
    pod = echo("crashing", nodes[0])
    code = (
        "import os, sys, subprocess; here = '/data/n'; n = int(open(here).read()) if os.path.exists(here) else 0;"
        " open(here, 'w').write(str(n + 1)); n < 2 and sys.exit(1);"
        " os.execvp('python', ['python', '-m', 'retic.testing.apps.echo_http', '--port', '8080', '--name', 'crashing'])"
    )
    pod["spec"]["containers"][0] |= {
        "command": ["python", "-c", code], "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }  # fmt: skip
    pod["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}]
    mesh.apply(service("crashing", {"app": "crashing"}), pod)
    mesh.ready("crashing")
    assert mesh.get("pod", "crashing")["status"]["containerStatuses"][0]["restartCount"] == 2
    captured(mesh, "crashing")
    assert "spiffe://" in identity(answer(mesh, "caller", "crashing/"))


def test_several_ports_and_a_host_port(mesh, nodes):
    pod = echo("many", nodes[0])
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": 8080, "hostPort": 18080}]
    open_ = {"tcpSocket": {"port": 7000}, "periodSeconds": 1, "timeoutSeconds": 5}
    pod["spec"]["containers"].append(objects.server("lines", "echo_tcp", 7000, IMAGE, readinessProbe=open_))
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "tcp", "port": 7000}]
    mesh.apply(service("many", {"app": "many"}, ports=ports), pod)
    mesh.ready("many")
    host = mesh.get("pod", "many")["status"]["hostIP"]
    tries = {
        "http": ("many", 80, objects.http("/"), None), "lines": ("many", 7000, "hello\n", None),
        "host port": (host, 18080, objects.http("/"), None),
    }  # fmt: skip

    def known():
        seen = objects.call(mesh, "caller", tries, 20)
        assert seen["lines"].endswith("hello\n"), seen
        assert "200" in seen["http"][:15], seen
        return seen

    seen = wait.until(known, "both ports of the Service answer", 110)
    assert "200" in seen["host port"][:15], seen


def test_services_of_other_kinds(mesh):
    address = mesh.get("pod", "echo")["status"]["podIP"]
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "by-hand-1", "labels": {"kubernetes.io/service-name": "by-hand"}},
        "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": [address]}],
    }  # fmt: skip
    mesh.apply(
        service("by-hand", None), slice_, service("nobody", {"app": "nobody"}),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other-name"},
         "spec": {"type": "ExternalName", "externalName": f"echo.{mesh.namespace}.svc.cluster.local"}},
    )  # fmt: skip
    for name in ("by-hand", "other-name"):
        assert answer(mesh, "caller", f"{name}/")["name"] == "echo", name
    seen = objects.call(mesh, "caller", {"nobody": ("nobody", 80, objects.http("/"), None)})
    assert not seen["nobody"].startswith("HTTP/1.1 200")


def test_what_is_outside_the_mesh_is_as_it_was(mesh):
    """The API server, the cluster's DNS by UDP and TCP, addresses that nobody has."""
    code = """
import json, ssl, socket, struct, time, urllib.request
token = open('/var/run/secrets/kubernetes.io/serviceaccount/token').read()
trust = ssl.create_default_context(cafile='/var/run/secrets/kubernetes.io/serviceaccount/ca.crt')
ask = urllib.request.Request('https://kubernetes.default.svc/version', headers={'authorization': 'Bearer ' + token})
version = json.load(urllib.request.urlopen(ask, context=trust, timeout=20))['major']
server = next(l.split()[1] for l in open('/etc/resolv.conf') if l.startswith('nameserver'))
query = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + b''.join(
    bytes([len(p)]) + p.encode() for p in 'kubernetes.default.svc.cluster.local'.split('.')) + b'\\0\\0\\1\\0\\1'
with socket.create_connection((server, 53), 20) as tcp:
    tcp.sendall(struct.pack('>H', len(query)) + query); by_tcp = len(tcp.recv(4096)) > 20
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    udp.settimeout(20); udp.sendto(query, (server, 53)); by_udp = len(udp.recv(4096)) > 20
begin = time.monotonic()
try:
    with socket.create_connection(('10.41.0.1', 9), 60) as s:
        s.settimeout(60); outside = s.recv(1) == b''
except OSError as error:
    outside = not isinstance(error, TimeoutError)
print(json.dumps([version, by_tcp, by_udp, outside, time.monotonic() - begin < 40]))
"""
    assert json.loads(mesh.python("caller", code)) == ["1", True, True, True, True]


def test_kubectl_reaches_into_pods(mesh):
    with mesh.forwarded("pod/echo", 8080) as port:
        seen = objects.call(mesh, None, {"forward": ("127.0.0.1", port, objects.http("/"), None)}, 20)
    assert seen["forward"].startswith("HTTP/1.1 200")
    assert "listening" in mesh.run("logs", "echo")
    assert mesh.run("exec", "echo", "--", "echo", "hello").strip() == "hello"
