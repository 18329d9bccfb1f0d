"""Traces through real Envoys into a real OpenTelemetry Collector, a pod of the mesh: parents, sampling, tags."""

import json
import pathlib
import secrets
import shutil
import urllib.request

import fronts
import pytest
from tools.cluster import gobuild, places, steps

from retic.cli import running as cli
from retic.local import state
from retic.testing import collected, running, tls_pairs, wait
from retic.testing.collected import CLIENT, SERVER

HERE = pathlib.Path(__file__).parent
SECRET = "s3cr3t-value"
COLLECTOR = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: otel, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: otel}}}}
  template:
    metadata: {{labels: {{app: otel}}}}
    spec:
      containers:
      - name: collector
        command: ["{binary}", --config, "{configuration}"]
        readinessProbe: {{tcpSocket: {{port: 4317}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: otel, namespace: shop}}
spec:
  selector: {{app: otel}}
  ports:
  - {{name: grpc, port: 4317}}
  - {{name: http, port: 4318}}
  - {{name: tls-grpc, port: 4319}}
  - {{name: tls-http, port: 4320}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: otel, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: otel}}}}
  mtls: {{mode: STRICT}}
  portLevelMtls:
    4317: {{mode: PERMISSIVE}}
    4318: {{mode: PERMISSIVE}}
    4319: {{mode: PERMISSIVE}}
    4320: {{mode: PERMISSIVE}}
"""
COLLECTORS_NAME = "otel.example.com"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    gobuild.build(gobuild.COLLECTOR, steps.Steps())
    folder = tmp_path_factory.mktemp("manifests")
    files = tmp_path_factory.mktemp("collector")
    pair = (files / "tls.crt", files / "tls.key")
    for file, content in zip(pair, tls_pairs.pair(COLLECTORS_NAME), strict=True):
        file.write_bytes(content)
    (files / "otel.yaml").write_text(collected.configuration(files / "spans.json", pair))
    text = COLLECTOR.format(binary=places.binary("otelcol"), configuration=files / "otel.yaml")
    (folder / "collector.yaml").write_text(text)
    shutil.copy(HERE / "telemetry" / "mesh.yaml", folder)
    with running.mesh(folder) as started:
        started.spans, started.authority = files / "spans.json", pair[0].read_text()
        yield started


def provider(name="otel", **how):
    return {
        "apiVersion": "retic.dev/v1alpha1", "kind": "TelemetryProvider", "metadata": {"name": name},
        "spec": {"opentelemetry": {"service": "otel.shop.svc.cluster.local", "port": 4317, **how}},
    }


def tracing(**entry):
    return {
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": "traces", "namespace": "shop"},
        "spec": {"tracing": [{"providers": [{"name": "otel"}], **entry}]},
    }


_revisions = iter(range(1, 1000))


def apply(mesh, *objects):
    """Write the objects, and wait until agents and Envoys have them."""
    revision = str(next(_revisions))
    for each in objects:
        each["metadata"]["labels"] = {"revision": revision}
    (mesh.folder / "traces.yaml").write_text("\n---\n".join(json.dumps(each) for each in objects) or "# none\n")

    def there():
        found = cli.objects(state.folder(mesh.name))
        return sum(each["metadata"].get("labels", {}).get("revision") == revision for each in found) == len(objects)

    wait.until(there, "the objects are there")
    assert mesh.command("wait").returncode == 0


def ask(mesh, path, *headers, times=1, method="GET"):
    options = [word for header in headers for word in ("-H", header)]
    url = f"http://api{path}" if times == 1 else f"http://api{path}?n=[1-{times}]"
    done = mesh.exec("deploy/web", "curl", "-s", "-X", method, *options, url, namespace="shop")
    assert done.returncode == 0, done.stderr
    return done.stdout


def of(mesh, path):
    return [span for span in collected.spans(mesh.spans) if span.attributes.get("url.path") == path]


def until(mesh, path, count):
    return wait.until(lambda: (found := of(mesh, path)) and len(found) >= count and found, f"{count} spans", seconds=20)


def seen(text):
    """The context that the application got."""
    return json.loads(text)["headers"].get("traceparent", "")


def test_a_request_has_a_client_and_a_server_span(mesh):
    user = {"user": {"header": {"name": "x-user", "defaultValue": "nobody"}}, "team": {"literal": {"value": "blue"}}}
    apply(mesh, provider(), tracing(randomSamplingPercentage=100, customTags=user))
    got = seen(ask(mesh, f"/one?token={SECRET}", "x-user: anna"))
    client, server = sorted(until(mesh, "/one", 2), key=lambda span: -span.kind)
    assert (client.kind, client.parent, client.service, client.name) == (CLIENT, "", "web.shop", "GET shop/api")
    assert (server.kind, server.parent, server.service, server.name) == (SERVER, client.id, "api.shop", "GET shop/api")
    assert server.trace == client.trace
    assert got == f"00-{server.trace}-{server.id}-01"
    about = {
        "http.request.method": "GET", "http.response.status_code": 200, "url.query": "token=[redacted]",
        "server.address": "api", "user": "anna", "team": "blue", "retic.service": "shop/api",
    }  # fmt: skip
    for span in (client, server):
        assert about.items() <= span.attributes.items()
        assert not span.error
    assert client.attributes["retic.peer.principal"] == "spiffe://cluster.local/ns/shop/sa/api"
    assert server.attributes["retic.peer.principal"] == "spiffe://cluster.local/ns/shop/sa/web"
    assert server.attributes["retic.peer.workload"] == "shop/web"
    assert SECRET not in mesh.spans.read_text()


def test_an_applications_context_is_continued(mesh):
    apply(mesh, provider(http={}, port=4318), tracing(randomSamplingPercentage=0))
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    got = seen(ask(mesh, "/two", f"traceparent: 00-{trace}-{parent}-01", "tracestate: a=1"))
    client, server = sorted(until(mesh, "/two", 2), key=lambda span: -span.kind)
    assert (client.trace, client.parent, server.trace, server.parent) == (trace, parent, trace, client.id)
    assert got == f"00-{trace}-{server.id}-01"
    # Not sampled: as it came, and nothing is told.
    unsampled = f"00-{trace}-{parent}-00"
    assert seen(ask(mesh, "/unsampled", f"traceparent: {unsampled}")) == unsampled
    # None of these is a context: a new one is begun, at 0 % without being told.
    for wrong in ("nonsense", f"00-{'0' * 32}-{parent}-01", f"00-{trace}-{'0' * 16}-01", f"ff-{trace}-{parent}-01",
                  f"00-{trace.upper()}x-{parent}-01", f"00-{trace}-{parent}-01-more"):  # fmt: skip
        found = seen(ask(mesh, "/wrong", f"traceparent: {wrong}", "tracestate: a=1"))
        assert found.endswith("-00")
        assert trace not in found
    # A later version is read as far as it is known.
    later = seen(ask(mesh, "/later", f"traceparent: 01-{trace}-{parent}-01-more"))
    assert later.startswith(f"00-{trace}-")
    until(mesh, "/later", 2)
    assert not of(mesh, "/unsampled")
    assert not of(mesh, "/wrong")


def test_a_share_is_sampled_and_both_hops_agree(mesh):
    apply(mesh, provider(), tracing(randomSamplingPercentage=30))
    ask(mesh, "/share", times=400)
    ask(mesh, "/marked", f"traceparent: 00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
    until(mesh, "/marked", 2)
    wait.until(lambda: len(of(mesh, "/share")) == 2 * len({span.trace for span in of(mesh, "/share")}), "all")
    traces = {span.trace for span in of(mesh, "/share")}
    assert 70 < len(traces) < 175  # 120 are to be expected, six deviations are 55


def test_failures_and_a_gateway(mesh):
    apply(mesh, provider(), tracing(randomSamplingPercentage=100))
    ask(mesh, "/refused", method="DELETE")
    spans = until(mesh, "/refused", 2)
    assert {(span.kind, span.error) for span in spans} == {(CLIENT, True), (SERVER, False)}
    assert {span.attributes["http.response.status_code"] for span in spans} == {403}
    mesh.exec("deploy/web", "curl", "-s", "http://gone/gone", namespace="shop")
    (gone,) = until(mesh, "/gone", 1)
    assert (gone.error, gone.attributes["retic.response_flags"]) == (True, "UH")
    address = wait.until(lambda: fronts.address(mesh, "door", 18501), "the gateway")
    urllib.request.urlopen(f"http://{address}/door", timeout=10).read()
    door, server = sorted(until(mesh, "/door", 2), key=lambda span: span.service != "door.shop")
    assert (door.service, door.kind, door.parent) == ("door.shop", SERVER, "")
    assert (server.service, server.parent) == ("api.shop", door.id)


def test_without_a_telemetry_nothing_is_touched(mesh):
    apply(mesh)
    wait.until(lambda: seen(ask(mesh, "/plain")) == "", "no context is made any more")
    context = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    assert seen(ask(mesh, "/own", f"traceparent: {context}")) == context
    quiet = tracing(randomSamplingPercentage=100, disableSpanReporting=True)
    quiet["spec"]["accessLogging"] = [{"match": {"mode": "CLIENT"}}]
    apply(mesh, provider(), quiet)
    context = wait.until(lambda: (got := seen(ask(mesh, "/quiet"))).endswith("-01") and got, "contexts go on")
    wait.until(lambda: context[3:35] in mesh.command("logs", "--access").stdout, "the agent knows of them")
    apply(mesh, provider(), tracing(randomSamplingPercentage=100))
    ask(mesh, "/loud")
    until(mesh, "/loud", 2)
    assert not of(mesh, "/plain")
    assert not of(mesh, "/own")
    assert not of(mesh, "/quiet")


@pytest.mark.parametrize("how", [{"port": 4319}, {"port": 4320, "http": {}}])
def test_spans_travel_by_tls(mesh, how):
    tls = {"hostname": COLLECTORS_NAME, "caCertificates": mesh.authority}
    apply(mesh, provider(tls=tls, **how), tracing(randomSamplingPercentage=100))
    ask(mesh, f"/secure/{how['port']}")
    until(mesh, f"/secure/{how['port']}", 2)


def test_a_collector_that_is_away_is_said_and_slows_nobody(mesh):
    apply(mesh, provider(port=4316), tracing(randomSamplingPercentage=100))
    found = mesh.command("analyze")
    assert "RT0807" in found.stdout
    ask(mesh, "/lost")
    log = state.folder(mesh.name) / "logs" / "agent-node-1.log"
    wait.until(lambda: "spans were dropped" in log.read_text(), "it is logged")
    assert SECRET not in log.read_text()
