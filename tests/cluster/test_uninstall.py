"""`retic uninstall` on a cluster with nodes: nothing stays, and pods go on in plaintext without a restart."""

import json
import subprocess
import sys

import pytest
from tests.cluster import strict_objects as objects
from tests.cluster import test_life as life
from tests.cluster.installed import IMAGE
from tools import deploy
from tools.cluster import steps

from retic.install import names
from retic.testing import wait

KINDS = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets,leases"
WIDE = "clusterroles,clusterrolebindings,priorityclasses,validatingwebhookconfigurations,gatewayclasses,namespaces"

# What the mesh could have left in the network namespaces of pods (by uid) and on the node.
LOOK = r"""
import json, os, pathlib, re, subprocess, sys
uids, found = sys.argv[1:], {}
for one in pathlib.Path('/proc').glob('[0-9]*'):
    try:
        group = (one / 'cgroup').read_text()
    except OSError:
        continue
    for uid in uids:
        if uid in group or uid.replace('-', '_') in group:
            found.setdefault(uid, one.name)
def inside(pid, *words):
    return subprocess.run(['nsenter', '-t', pid, '-n', *words], capture_output=True, text=True).stdout
pods = {uid: {
    'nft': inside(pid, 'nft', 'list', 'tables').split('\n'),
    'rules': [l for l in inside(pid, 'ip', 'rule').split('\n') if 'fwmark' in l],
    'routes': inside(pid, 'ip', 'route', 'show', 'table', '100').split('\n'),
    'sysctls': [inside(pid, 'cat', f'/proc/sys/net/ipv4/{n}').strip() for n in ('tcp_fwmark_accept', 'fwmark_reflect')],
    'listening': [l.split()[3] for l in inside(pid, 'ss', '-Hltn').split('\n') if l],
} for uid, pid in found.items()}
host = pathlib.Path('/host')
conf = host / 'etc/cni/net.d'
print(json.dumps({
    'pods': pods,
    'conf': {f.name: 'retic' in f.read_text() for f in conf.iterdir() if f.is_file()},
    'plugin': (host / 'opt/cni/bin/retic-cni').exists(),
    'run': (host / 'run/retic').exists(),
}))
"""


@pytest.fixture
def again(installed):
    """Retic is on the cluster after the test as before it."""
    yield installed
    deploy.deploy(installed.kubeconfig, steps.Steps())


def inspector(name, node):
    pod = objects.sleeper(name, IMAGE, node, hostPID=True, hostNetwork=True)
    pod["spec"]["containers"][0] |= {
        "securityContext": {"privileged": True, "runAsUser": 0},
        "volumeMounts": [{"name": part, "mountPath": f"/host/{path}"} for part, path in PARTS.items()],
    }  # fmt: skip
    pod["spec"]["volumes"] = [{"name": part, "hostPath": {"path": f"/{path}"}} for part, path in PARTS.items()]
    return pod


PARTS = {"conf": "etc/cni/net.d", "bin": "opt/cni/bin", "run": "run"}


def look(kube, node, pods):
    uids = [pod["metadata"]["uid"] for pod in pods if pod["spec"]["nodeName"] == node]
    return json.loads(kube.run("exec", f"look-{node}", "--", "python3", "-c", LOOK, *uids))


def test_nothing_stays_and_pods_go_on(again, nodes):
    installed = again
    privileged = {"pod-security.kubernetes.io/enforce": "privileged"}
    with installed.namespace(privileged) as eye, installed.namespace() as kube:
        eye.apply(*(inspector(f"look-{node}", node) for node in sorted(set(nodes))))
        eye.ready(*(f"look-{node}" for node in sorted(set(nodes))))
        gateway = {
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "front"},
            "spec": {"gatewayClassName": "retic", "listeners": [{"name": "http", "protocol": "HTTP", "port": 8080}]},
        }  # fmt: skip
        route = {
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "echo"},
            "spec": {"parentRefs": [{"name": "front"}], "rules": [{"backendRefs": [{"name": "echo", "port": 80}]}]},
        }  # fmt: skip
        kube.apply(life.service("echo", {"app": "echo"}), life.echo("echo", nodes[0]))
        kube.apply(objects.sleeper("caller", IMAGE, nodes[1]), gateway, route)
        kube.ready("echo", "caller")
        kube.run("wait", "gateway/front", "--for=condition=Programmed", "--timeout=110s")
        life.captured(kube, "echo", "caller")
        pods = [kube.get("pod", name) for name in ("echo", "caller")]
        during = look(eye, nodes[0], pods)
        assert any("retic" in table for table in next(iter(during["pods"].values()))["nft"]), during
        assert during["plugin"]
        assert during["run"]
        load = installed.kubectl(kube.namespace)
        running = subprocess.Popen(
            [*load._words, "exec", "caller", "--", "python3", "-u", "-c", LOAD], stdout=subprocess.PIPE, text=True
        )
        assert running.stdout.readline() == "begun\n"
        said = installed.retic("uninstall", seconds=400)
        assert said.strip().splitlines()[-1].startswith(("removed all", "the label")), said
        result, _ = running.communicate(timeout=180)
        counted = json.loads(result)
        assert counted["failed"] == [], counted
        assert counted["plaintext"] > 10, "it went over to plaintext meanwhile"
        assert "waiting up to 90 s" in said, said

        for kind, words in ((KINDS, ["--all-namespaces"]), (WIDE, [])):
            left = kube.run("get", kind, *words, "-l", f"{names.PART_OF}=retic", "-o", "name")
            assert left == ""
        assert kube.attempt("get", "namespace", names.NAMESPACE).returncode != 0
        assert "front-retic" not in kube.run("get", "deployments,services,serviceaccounts,configmaps", "-o", "name")
        now = [kube.get("pod", name) for name in ("echo", "caller")]
        assert [pod["metadata"]["uid"] for pod in now] == [pod["metadata"]["uid"] for pod in pods]
        assert {pod["status"]["containerStatuses"][0]["restartCount"] for pod in now} == {0}
        for value in (*now, kube.get("gateway", "front"), kube.get("httproute", "echo")):
            said = json.dumps(value["status"])
            assert '"type": "retic.dev/' not in said
            assert names.GATEWAY_CONTROLLER not in said
        for node in sorted(set(nodes)):
            seen = look(eye, node, pods)
            assert seen["plugin"] is False
            assert seen["run"] is False
            assert not any(seen["conf"].values()), seen["conf"]
            assert not any(name.endswith(".before-retic") for name in seen["conf"])
            for pod in seen["pods"].values():
                assert not any("retic" in table for table in pod["nft"]), pod
                assert (pod["rules"], pod["routes"], pod["sysctls"]) == ([], [""], ["0", "0"]), pod
                assert not [one for one in pod["listening"] if ":150" in one or ":151" in one], pod

        kube.apply(life.echo("new", nodes[0]))
        kube.ready("new")
        done = installed.attempt("uninstall")
        assert done.returncode == 0
        assert "nothing to do" in done.stdout + done.stderr


# Requests without pause for some time: what failed, and how many came without the mesh. One connection was open
# before, and ends when its pod has long left the mesh.
LOAD = r"""
import http.client, json, time
held = http.client.HTTPConnection('echo', 80, timeout=10)
held.request('GET', '/')
port = held.sock.getsockname()
held.getresponse().read()
print('begun')
failed, plaintext, begin = [], 0, time.monotonic()
end = begin + 90
while time.monotonic() < end:
    if held is not None:
        try:
            held.request('GET', '/')
            held.getresponse().read()
            if held.sock is None or held.sock.getsockname() != port:
                failed.append('it is another connection now')
        except Exception as error:
            failed.append(f'kept open: {error!r}')
        if failed or time.monotonic() > begin + 60:
            held.close()
            held = None
    try:
        kept = http.client.HTTPConnection('echo', 80, timeout=10)
        kept.request('GET', '/')
        answer = kept.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            failed.append(answer.status)
        plaintext += 'x-forwarded-client-cert' not in body['headers']
    except Exception as error:
        failed.append(repr(error))
    time.sleep(0.02)
print(json.dumps({'failed': failed[:5], 'plaintext': plaintext}))
"""


def test_an_interrupted_uninstallation_is_finished_by_another(again, nodes):
    installed = again
    with installed.namespace() as kube:
        kube.apply(life.service("echo", {"app": "echo"}), life.echo("echo", nodes[0]))
        kube.ready("echo")
        life.captured(kube, "echo")
        system = installed.kubectl()
        command = [sys.executable, "-m", "retic.cli", "uninstall", "--kubeconfig", str(installed.kubeconfig)]
        first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait.until(
            lambda: system.attempt("get", "daemonset", names.NODE).returncode != 0, "the agents go", 120, every=0.2
        )
        first.kill()
        first.communicate()
        done = installed.attempt("install")
        assert done.returncode != 0
        assert "finish it with retic uninstall" in done.stdout + done.stderr
        installed.retic("uninstall", seconds=400)
        assert system.attempt("get", "namespace", names.NAMESPACE).returncode != 0
        kube.apply(life.echo("new", nodes[1]))
        kube.ready("echo", "new")
