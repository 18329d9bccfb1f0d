"""What Envoys count and report, through real Envoys: the metrics that a real Prometheus reads, `retic top`, reports."""

import asyncio
import json
import pathlib
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request

import pod_session
import pytest

from retic.control import client
from retic.local import state
from retic.node import admin
from retic.testing import prometheus, running, wait

HERE = pathlib.Path(__file__).parent
PORT = 18410
WEB, API = (f"spiffe://cluster.local/ns/shop/sa/{name}" for name in ("web", "api"))
ONCE = """
import socket, sys, urllib.request, urllib.error
def ask(url, method="GET", data=None, **headers):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)).read()
    except urllib.error.HTTPError as error:
        return error.read()
for _ in range(int(sys.argv[1])):
    ask("http://api/found")
    ask("http://api/", "POST", b"x" * 100)
    ask("http://api/", "DELETE")
    ask("http://gone/")
    ask("http://api/", **{"retic-peer": "evil/liar;evil/lie", "x-retic-destination": "lie"})
    with socket.create_connection(("api", 90)) as line:
        line.sendall(b"hello\\n")
        line.recv(100)
"""


@pytest.fixture(scope="module")
def mesh():
    with running.mesh(HERE / "metrics") as started:
        yield started


def make_traffic(mesh, times=2):
    done = mesh.exec("deploy/web", "python3", "-c", ONCE, str(times), namespace="shop")
    assert done.returncode == 0, done.stderr


def where(mesh):
    done = mesh.command("metrics", "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fetch(found, url, **headers):
    """A page as text; the server's certificate is checked."""
    context = ssl.create_default_context(cafile=found["ca_file"])
    context.check_hostname = False  # by its address here: Prometheus is told the name
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context, timeout=10) as answer:
        return answer.read().decode()


def authorized(found):
    return {"authorization": f"Bearer {pathlib.Path(found['token_file']).read_text()}"}


def test_a_real_prometheus_reads_what_dashboards_show(mesh, tmp_path):
    make_traffic(mesh)
    configuration = mesh.command("metrics").stdout
    with prometheus.Prometheus(configuration, tmp_path, PORT) as reader:
        both = 'source_workload="web",source_workload_namespace="shop"'
        good = reader.until(f'istio_requests_total{{reporter="destination",response_code="200",{both}}} >= 2')
        labels = {tuple(row["metric"][key] for key in ("request_method_class", "request_protocol")) for row in good}
        assert labels == {("read", "http"), ("write", "http")}, reader.log()
        wanted = {
            "source_principal": WEB, "destination_principal": API, "destination_workload": "api",
            "destination_workload_namespace": "shop", "destination_service": "api.shop.svc.cluster.local",
            "destination_service_name": "api", "destination_service_namespace": "shop", "response_flags": "-",
            "connection_security_policy": "mutual_tls", "node": "node-1",
        }  # fmt: skip
        for row in good:
            assert wanted.items() <= row["metric"].items()
        assert {row["metric"]["source_workload"] for row in reader.query("istio_requests_total")} == {"web"}
        for row in reader.until(f'istio_requests_total{{reporter="source",response_code="200",{both}}} >= 2'):
            assert wanted.items() <= row["metric"].items()
        assert reader.until(f'istio_requests_total{{reporter="source",{both},response_flags="UH",response_code="503"}}')
        assert reader.until('retic_refused_total{refused_by="shop/nobody-deletes",source_workload="web"} >= 2')
        # A histogram is told once Envoy has merged what its threads have: every five seconds.
        timed = "istio_request_duration_milliseconds"
        assert reader.until(f'{timed}_count{{reporter="destination",{both},response_flags="-"}} >= 8')
        assert reader.until(f"histogram_quantile(0.99, sum by (le) ({timed}_bucket{{{both}}})) > 0")
        assert reader.until(f'istio_request_bytes_sum{{reporter="destination",{both}}} > 150')
        sent = reader.until(f'istio_tcp_received_bytes_total{{reporter="source",{both}}} >= 12')
        for label in ("destination_service_name", "destination_workload"):
            assert sent[0]["metric"][label] == "api"
        assert sent[0]["metric"]["request_protocol"] == "tcp"
        assert reader.until(f'istio_tcp_connections_closed_total{{reporter="source",{both}}} >= 2')
        for own in ("queries_run_total > 0", "queries_cut_off_total >= 0", "discovery_bytes_total > 0",
                    "convergence_seconds_count > 0", "discovery_nacks_total == 0"):  # fmt: skip
            assert reader.until(f"retic_{own}"), own


def test_the_callers_side_knows_whose_address_was_called(mesh):
    (address,) = [pod["ip"] for pod in mesh.ps()["pods"] if pod["name"] == "api-0"]
    assert mesh.curl("deploy/web", f"http://{address}:8080/", namespace="shop")[0] == 200
    found = where(mesh)
    labels = 'destination_workload="api",destination_workload_namespace="shop"'
    wanted = re.compile(rf'istio_requests_total{{reporter="source".*{labels}.*destination_service="unknown".*}} 1')
    wait.until(lambda: wanted.search(fetch(found, found["url"], **authorized(found))), "it is counted", 20, every=0.2)


def test_metrics_are_for_those_with_the_token(mesh):
    found = where(mesh)
    assert pathlib.Path(found["token_file"]).stat().st_mode & 0o777 == 0o600
    own = fetch(found, found["proxies"]["node-1"], **authorized(found))
    assert "envoy_server_live" in own
    assert "retic_queries_run_total" not in own
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic Og=="}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(found, found["url"], **headers)
        assert refused.value.code == 401
        assert "istio" not in refused.value.read().decode()
    for page in ("/", "/proxies/other/metrics", "/proxies//metrics"):
        with pytest.raises(urllib.error.HTTPError) as missing:
            fetch(found, found["url"].removesuffix("/metrics") + page, **authorized(found))
        assert missing.value.code == 404


def test_no_application_sees_what_proxies_tell_each_other(mesh):
    _, body = mesh.curl("deploy/web", "http://api/", "-H", "retic-peer: evil/liar;evil/lie", namespace="shop")
    seen = json.loads(body)["headers"]
    assert not [name for name in seen if "retic" in name.lower()]
    done = mesh.command("top", "--window", "1", "-o", "json")
    assert "evil" not in done.stdout


def test_top_says_who_calls_whom_and_who_was_refused(mesh):
    talking = threading.Thread(target=make_traffic, args=(mesh, 150))
    make_traffic(mesh, 1)  # Envoy's first series
    talking.start()
    done = mesh.command("top", "--window", "12", "-n", "shop", "-o", "json")
    talking.join()
    assert done.returncode == 0, done.stderr
    # The kubelet's probes are calls of nobody.
    told = [row for row in json.loads(done.stdout)["rows"] if row["identity"]]
    assert {row["source"] for row in told} == {"shop/web"}
    rows = {(row["destination"], row["service"], row["protocol"]): row for row in told}
    http = rows["shop/api", "shop/api", "http"]
    assert http["identity"] == WEB
    assert http["rps"] > 1
    assert http["success"] == pytest.approx(0.75, abs=0.05)
    assert http["refused_rps"] == pytest.approx(http["rps"] / 4, rel=0.2)
    assert http["refused_by"] == "shop/nobody-deletes"
    assert 0 < http["p50_ms"] <= http["p95_ms"] <= http["p99_ms"]
    assert rows["", "shop/gone", "http"]["success"] == 0
    assert rows["shop/api", "shop/api", "tcp"]["success"] == 1


def test_calls_by_grpc_have_durations_and_their_own_protocol(mesh):
    looked, codes = threading.Event(), set()

    def talk(pod):
        while not looked.is_set():
            codes.add(pod.grpc("api:91", "Unary")["code"])

    with pod_session.Pod(mesh, "deploy/web", "shop") as pod:
        talking = threading.Thread(target=talk, args=(pod,))
        talking.start()
        done = mesh.command("top", "--window", "12", "-n", "shop", "-o", "json")
        looked.set()
        talking.join()
    assert codes == {"OK"}
    (row,) = [each for each in json.loads(done.stdout)["rows"] if each["protocol"] == "grpc"]
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    found = where(mesh)
    page = fetch(found, found["url"], **authorized(found))
    counted = [line for line in page.splitlines() if line.startswith("istio_request_duration_milliseconds_count")]
    assert any('request_protocol="grpc"' in line for line in counted)


def test_top_without_traffic_or_namespace(mesh):
    quiet = mesh.command("top", "--window", "1")
    assert (quiet.returncode, "retic exec" in quiet.stdout) == (0, True)
    wrong = mesh.command("top", "-n", "shpo")
    assert wrong.returncode == 1
    assert "no namespace shpo" in wrong.stderr
    assert "shop" in wrong.stderr
    assert mesh.command("top", "--window", "0").returncode == 2


def agent(mesh):
    return state.folder(mesh.name) / "agents" / "node-1"


def ask(mesh, request):
    return json.loads(next(iter(client.lines(agent(mesh) / "reports.sock", request, seconds=10))))


def test_failed_requests_are_reported_and_kept(mesh):
    make_traffic(mesh, 1)
    # Only those whose proxy answered itself, or which went wrong: the application's answers are its own.
    found = wait.until(lambda: [row for row in ask(mesh, {"failed": 50})["entries"] if row["code"] == 403], "reported")
    refused = found[0]
    assert refused["details"] == "rbac_access_denied_matched_policy[shop/nobody-deletes/0]"
    about = {"side": "inbound", "workload": "shop/api", "peer": "shop/web", "service": "shop/api", "caller": WEB}
    assert about.items() <= refused.items()
    assert ask(mesh, {"find": refused["id"]})["entries"] == [refused]
    assert {row["code"] for row in ask(mesh, {"failed": 50})["entries"] if "code" in row} == {403, 503}
    assert "error" in ask(mesh, {"failed": "many"})


def test_every_request_is_reported_while_somebody_looks(mesh):
    path = agent(mesh) / "reports.sock"
    with socket.socket(socket.AF_UNIX) as line, line.makefile("r") as lines:
        line.connect(str(path))
        line.settimeout(10)
        line.sendall(b'{"follow": {}}\n')
        assert json.loads(lines.readline()) == {"following": True}
        make_traffic(mesh, 3)  # each of Envoy's threads learns of it in its own time
        seen = []
        while not (found := found_by(seen, "inbound") & found_by(seen, "outbound")):
            seen.append(json.loads(lines.readline())["entry"])
    for one in found:
        assert sorted(row["side"] for row in seen if row["id"] == one) == ["inbound", "outbound"]
    wait.until(lambda: "retic.report" not in runtime(agent(mesh)), "switched off again")
    before = ask(mesh, {"failed": 1000})["entries"]
    assert all(row.get("code") != 200 for row in before)


def found_by(entries, side):
    return {row["id"] for row in entries if (row["side"], row.get("code"), row.get("path")) == (side, 200, "/found")}


def runtime(folder):
    values = json.loads(asyncio.run(admin.get(folder / "admin.sock", "/runtime")))
    return "".join(key for key, value in values["entries"].items() if value["final_value"] not in ("", "0"))
