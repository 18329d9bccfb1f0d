"""A cluster's metrics: a real Prometheus with a service account's token reads all parts, and nobody else does.

It runs on this machine, which has routes to the pods of the cluster that is made here.
"""

import http.client
import json
import os
import pathlib
import re
import ssl
import subprocess

import pytest
import yaml
from tests.cluster import agents
from tests.cluster import strict_objects as objects
from tests.cluster.installed import IMAGE
from tools.cluster import places

from retic.testing import prometheus, wait

PORT = 18420
GROUP = "rbac.authorization.k8s.io"
GATEWAY_API = "gateway.networking.k8s.io/v1"
LABELS = {"app": "server"}
NUMBER = 15014
RULES = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
]


@pytest.fixture(scope="module")
def shop(installed, nodes):
    """A caller, a server on another node, a Gateway before it, and the account of a Prometheus."""
    server = objects.sleeper("server", IMAGE, nodes[-1])
    server["metadata"]["labels"] = LABELS
    server["spec"]["containers"][0] |= {
        "command": ["python", "-m", "retic.testing.apps.echo_http", "--port", "8080"],
        "imagePullPolicy": "IfNotPresent", "readinessProbe": {"tcpSocket": {"port": 8080}},
    }  # fmt: skip
    with installed.namespace() as kube:
        role = f"{kube.namespace}-reader"
        kube.apply(
            server, objects.sleeper("web", IMAGE, nodes[0]),
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
             "spec": {"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}},
            {"apiVersion": GATEWAY_API, "kind": "Gateway",
             "metadata": {"name": "front", "annotations": {"retic.dev/service-type": "ClusterIP"}},
             "spec": {"gatewayClassName": "retic", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}},
            {"apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": {"name": "front"},
             "spec": {"parentRefs": [{"name": "front"}], "rules": [{"backendRefs": [{"name": "server", "port": 80}]}]}},
            *({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
              for name in ("prometheus", "nobody")),
            {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": role}, "rules": RULES},
            {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
             "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
             "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": kube.namespace}]},
        )  # fmt: skip
        try:
            kube.ready("server", "web")
            installed.retic("wait", "-n", kube.namespace, "--timeout", "90")
            yield kube
        finally:
            kube.run("delete", "clusterrole,clusterrolebinding", role)


def token(kube, account, audience="retic.dev/metrics"):
    words = [f"--audience={audience}"] if audience else []
    return kube.run("create", "token", account, *words).strip()


def root(installed):
    return installed.kubectl().get("configmap", "retic-root")["data"]["root.pem"]


def get(installed, address, authorization=None, server_name="metrics.retic.internal", names=None):
    """Status and body of the page of metrics; `names` gets those of the certificate."""
    context = ssl.create_default_context(cadata=root(installed))

    class Connection(http.client.HTTPSConnection):
        def connect(self):
            http.client.HTTPConnection.connect(self)
            self.sock = context.wrap_socket(self.sock, server_hostname=server_name)
            if names is not None:
                names.extend(name for _, name in self.sock.getpeercert()["subjectAltName"])

    asking = Connection(address, NUMBER, timeout=20)
    try:
        asking.request("GET", "/metrics", headers={"authorization": authorization} if authorization else {})
        answer = asking.getresponse()
        return answer.status, answer.read().decode()
    finally:
        asking.close()


def parts(installed, kube):
    """The addresses of an agent, a controller and a Gateway's pod."""
    system = installed.kubectl()
    found = [
        system.get("pods", "-l", f"app.kubernetes.io/component={part}")["items"][0] for part in ("node", "controller")
    ]
    found += kube.get("pods", "-l", "gateway.networking.k8s.io/gateway-name=front")["items"]
    return [pod["status"]["podIP"] for pod in found]


def call(kube, host, path="/"):
    script = f"import urllib.request; print(urllib.request.urlopen('http://{host}{path}', timeout=20).status)"
    return kube.run("exec", "web", "--", "python3", "-c", script).strip()


def discovered(installed, shop):
    """The targets of these namespaces' pods, one for each port of a container, with labels by which they are chosen
    (prometheus.io/docs, kubernetes_sd_config, role pod)."""
    for kube in (installed.kubectl(), shop):
        for pod in kube.get("pods")["items"]:
            address, labels = pod["status"].get("podIP", ""), pod["metadata"].get("labels", {})
            known = {
                "pod_ip": address, "pod_phase": pod["status"]["phase"], "namespace": kube.namespace,
                **{f"pod_label_{re.sub('[^a-zA-Z0-9]', '_', key)}": value for key, value in labels.items()},
            }  # fmt: skip
            ports = [port["containerPort"] for one in pod["spec"]["containers"] for port in one.get("ports", ())]
            targets = [f"{address}:{port}" for port in ports] or [address]
            yield {"targets": targets, "labels": {f"__meta_kubernetes_{key}": value for key, value in known.items()}}


def test_a_real_prometheus_reads_every_part(installed, shop, tmp_path):
    (tmp_path / "token").write_text(token(shop, "prometheus"))
    (tmp_path / "root.pem").write_text(root(installed))
    printed = yaml.safe_load(installed.retic("metrics"))
    (job,) = printed["scrape_configs"]
    job["authorization"]["credentials_file"] = str(tmp_path / "token")
    job["tls_config"]["ca_file"] = str(tmp_path / "root.pem")
    # Debian's build cannot discover: it is told what discovery by pods would say.
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    job["static_configs"] = list(discovered(installed, shop))
    space = shop.namespace
    with prometheus.Prometheus(yaml.safe_dump(printed), tmp_path, PORT) as reader:
        wait.until(lambda: call(shop, "server") == "200", "the server answers", 110)
        wait.until(lambda: call(shop, "front-retic") == "200", "the Gateway answers", 110)

        def parts_there():
            return {
                (kube.namespace, f"{pod['status'].get('podIP')}:{NUMBER}")
                for kube in (installed.kubectl(), shop)
                for pod in kube.get("pods", "-l", "app.kubernetes.io/managed-by=retic")["items"]
            }

        def up():
            rows = reader.query(f'up{{job="retic",namespace=~"retic-system|{space}"}} == 1')
            return {(row["metric"]["namespace"], row["metric"]["instance"]) for row in rows}

        def all_are_read():
            wanted = parts_there()
            assert len(wanted) >= 4, wanted
            assert up() == wanted, (up(), wanted, reader.query("up"))
            return True

        wait.until(all_are_read, "all parts are read", 110, every=0.5)
        called = f'source_workload="web",source_workload_namespace="{space}",response_code="200"'
        for side in ("source", "destination"):
            (row,) = reader.until(
                f'istio_requests_total{{reporter="{side}",destination_workload="server",{called}}} >= 1', 60
            )
            assert row["metric"]["destination_service"] == f"server.{space}.svc.cluster.local"
            assert row["metric"]["source_principal"] == f"spiffe://cluster.local/ns/{space}/sa/default"
            assert row["metric"]["connection_security_policy"] == "mutual_tls"
        assert reader.until(f'istio_requests_total{{node="gateway/{space}/front",response_code="200"}} >= 1', 110)
        for own in ("queries_run_total > 0", "discovery_acks_total > 0", "discovery_nacks_total == 0"):
            assert reader.until(f"retic_{own}"), own
        assert "error" not in reader.log().lower(), reader.log()


def test_only_whose_token_may_get_metrics_reads_them(installed, shop):
    good, poor = token(shop, "prometheus"), token(shop, "nobody")
    agents_own, api_servers = token(shop, "prometheus", "retic.dev"), token(shop, "prometheus", "")
    for address in parts(installed, shop):
        assert get(installed, address, f"Bearer {good}")[0] == 200
        for authorization, status in (
            (None, 401), ("Bearer no.such.token", 401), (f"Bearer {agents_own}", 401),
            (f"Bearer {api_servers}", 401), (f"Bearer {poor}", 403),
        ):  # fmt: skip
            got, body = get(installed, address, authorization)
            assert (got, "envoy_" in body or "retic_queries" in body) == (status, False), (address, authorization)
        with pytest.raises(ssl.SSLError):
            get(installed, address, f"Bearer {good}", "another.name")


def test_agents_that_roll_hand_the_port_on(installed, shop, nodes):
    system = installed.kubectl()
    good = token(shop, "prometheus")
    before = {node: agents_of(installed).of(node) for node in set(nodes)}
    system.run("rollout", "restart", "daemonset/retic-node")
    for node, pod in before.items():
        after = system.get("pod", agents_of(installed).replaced(node, pod, 150))
        address, uid = after["status"]["podIP"], after["metadata"]["uid"]

        def reads(node=node, address=address, uid=uid):
            names = []
            try:
                status, page = get(installed, address, f"Bearer {good}", names=names)
            except (OSError, http.client.HTTPException):
                return False
            own = f"{uid}.pod.retic.internal" in names
            return own and status == 200 and f'envoy_server_live{{node="{node}"}} 1' in page

        wait.until(reads, f"the next agent of {node} is read, with its own certificate", 60, every=0.5)
    system.rolled("daemonset/retic-node")


def agents_of(installed):
    return agents.Agents(installed.kubectl())


def test_no_port_is_there_where_none_is_wanted(installed, shop):
    with installed.values(**{"metrics.port": "0"}):
        installed.kubectl().rolled("daemonset/retic-node")
        installed.kubectl().rolled("deployment/retic-controller")
        for address in parts(installed, shop)[:2]:
            wait.until(lambda address=address: refuses(address), f"nothing listens at {address}", 110, every=0.5)
        done = installed.attempt("metrics")
        assert (done.returncode, done.stdout) == (1, "")
        assert "retic upgrade --set metrics.port=15014" in done.stderr


def refuses(address):
    try:
        http.client.HTTPConnection(address, NUMBER, timeout=5).connect()
    except ConnectionRefusedError:
        return True
    return False


def test_what_the_command_says_to_programs(installed):
    found = json.loads(installed.retic("metrics", "-o", "json"))
    assert found == {
        "port": NUMBER, "path": "/metrics", "server_name": "metrics.retic.internal", "namespace": "retic-system",
        "config_map": "retic-root", "key": "root.pem", "audience": "retic.dev/metrics",
        "right": "get /metrics",
    }  # fmt: skip
    printed = installed.retic("metrics")
    (line,) = [line.removeprefix("#   ") for line in printed.splitlines() if line.startswith("#   kubectl ")]
    path = f"{pathlib.Path(places.kubectl()).parent}:{os.environ['PATH']}"
    environment = {"KUBECONFIG": str(installed.kubeconfig), "PATH": path}
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == root(installed)
