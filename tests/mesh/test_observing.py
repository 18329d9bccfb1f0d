"""Which Telemetry counts for whom, side by side with Istio's precedence; and what is wrong with one."""

import pytest
import yaml

from retic import findings, graph, objects
from retic.mesh import faults, network, observing, observing_rules, tables
from retic.mesh.observing_rules import Tag
from retic.testing import tls_pairs

POD = tables.Key("shop", "web")
BASE = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: u, labels: {app: web}}
spec: {nodeName: n, containers: [{name: c}]}
---
apiVersion: retic.dev/v1alpha1
kind: TelemetryProvider
metadata: {name: otel}
spec: {opentelemetry: {service: otel.example.com, port: 4317}}
---
apiVersion: retic.dev/v1alpha1
kind: TelemetryProvider
metadata: {name: inside}
spec: {opentelemetry: {service: otel.shop.svc.cluster.local, port: 4317, http: {timeout: 2s}}}
"""


def mesh(*telemetries, access_logs=False):
    db = graph.Graph()
    db.commit([graph.Set(tables.SETTINGS, tables.ONE, network.Settings(access_logs=access_logs))])
    documents = [*yaml.safe_load_all(BASE), *telemetries]
    for raw in documents:
        value = objects.decode(raw)
        db.commit(tables.changes(findings.Ref(raw["kind"], value.metadata.namespace, value.metadata.name), value))
    return db


def telemetry(name, namespace, made="2026-01-01T00:00:00Z", **spec):
    return {
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "spec": spec,
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": made},
    }


def told(*telemetries, **settings):
    return mesh(*telemetries, **settings).ask(observing.of_pod, POD)


WEB = {"matchLabels": {"app": "web"}}
EVERYWHERE = telemetry("all", "retic-system", accessLogging=[{}])


def test_logs_go_by_the_nearest_scope():
    assert told().client.log is None
    assert told(access_logs=True).client.log == ""
    assert told(EVERYWHERE).server.log == ""
    off = telemetry("off", "shop", accessLogging=[{"disabled": True}])
    assert told(EVERYWHERE, off).client.log is None
    some = telemetry("web", "shop", selector=WEB, accessLogging=[{"filter": {"expression": "response.code > 1"}}])
    assert told(EVERYWHERE, off, some).client.log == "response.code > 1"
    other = telemetry("x", "shop", selector={"matchLabels": {"app": "x"}}, accessLogging=[{"disabled": True}])
    assert told(EVERYWHERE, other).client.log == ""
    # A namespace's says nothing of logs: the mesh's holds.
    assert told(EVERYWHERE, telemetry("t", "shop", tracing=[{}])).client.log == ""


def test_sides_and_providers():
    client = telemetry("a", "shop", accessLogging=[{"match": {"mode": "CLIENT"}}])
    assert (told(client).client.log, told(client).server.log) == ("", None)
    server = telemetry("a", "shop", accessLogging=[{"match": {"mode": "SERVER"}, "disabled": True}])
    assert (told(EVERYWHERE, server).client.log, told(EVERYWHERE, server).server.log) == ("", None)
    other = telemetry("a", "shop", accessLogging=[{"providers": [{"name": "else"}]}])
    assert told(EVERYWHERE, other).client.log is None


def test_the_oldest_of_a_scope_counts():
    first = telemetry("z", "shop", "2026-01-01T00:00:00Z", accessLogging=[{}])
    second = telemetry("a", "shop", "2026-01-02T00:00:00Z", accessLogging=[{"disabled": True}])
    assert told(first, second).client.log == ""
    found = mesh(first, second).ask(faults.of, findings.Ref("Telemetry", "shop", "a"))
    assert [fault.code for fault in found] == ["RT0808"]


def test_traces_are_put_together_from_scopes():
    root = telemetry("all", "retic-system", tracing=[{"providers": [{"name": "otel"}], "randomSamplingPercentage": 5,
                     "customTags": {"a": {"literal": {"value": "1"}}}}])  # fmt: skip
    space = telemetry("b", "shop", tracing=[{"randomSamplingPercentage": 50.5}])
    user = {"user": {"header": {"name": "X-User", "defaultValue": "?"}}}
    web = telemetry("w", "shop", selector=WEB, tracing=[{"customTags": user, "disableSpanReporting": True}])
    found = told(root, space, web).client.traced
    assert (found.provider, found.sampling, found.reported) == ("otel", 50.5, False)
    assert found.tags == (Tag("user", "?", "x-user"),)
    assert mesh(root, space, web).ask(observing.headers, "shop") == ("x-user",)
    assert told(space).client.traced is None
    nobody = telemetry("b", "shop", tracing=[{"providers": [{"name": "none"}]}])
    assert told(nobody).client.traced is None


def traced(**entry):
    return {"tracing": [{"providers": [{"name": "otel"}], **entry}]}


@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ({"metrics": [{"overrides": [{"disabled": True}]}]}, ["RT0804"]),
        ({"accessLogging": [{"filter": {"expression": "a >"}}]}, ["RT0801"]),
        ({"accessLogging": [{"filter": {"expression": "request.headers['cookie'] == 'a'"}}]}, ["RT0812"]),
        ({"accessLogging": [{"providers": [{"name": "otel"}]}]}, ["RT0803"]),
        ({"tracing": [{"providers": [{"name": "gone"}]}]}, ["RT0806"]),
        ({"tracing": [{}]}, ["RT0813"]),
        (traced(randomSamplingPercentage=101), ["RT0810"]),
        (traced(useRequestIdForTraceSampling=True, enableIstioTags=False), ["RT0805", "RT0805"]),
        (traced(customTags={"e": {"environment": {"name": "A"}}, "f": {"formatter": {"value": "%A%"}}}),
         ["RT0805", "RT0805"]),
        (traced(customTags={"e": {"header": {"name": "Authorization"}}}), ["RT0812"]),
        ({"selector": {"matchLabels": {"app": "none"}}}, ["RT0809"]),
        ({"selector": WEB, "tracing": [{"providers": [{"name": "otel"}]}]}, []),
    ],
)  # fmt: skip
def test_faults(spec, codes):
    found = mesh(telemetry("a", "shop", **spec)).ask(faults.of, findings.Ref("Telemetry", "shop", "a"))
    assert [fault.code for fault in found] == codes
    assert all(fault.fix for fault in found)


def test_a_collector_that_is_not_there():
    db = mesh()
    assert db.ask(faults.of, findings.Ref("TelemetryProvider", "", "otel")) == ()
    found = db.ask(faults.of, findings.Ref("TelemetryProvider", "", "inside"))
    assert [fault.code for fault in found] == ["RT0807"]


def secured(**tls):
    otlp = {"service": "otel.shop", "port": 4317, "tls": tls}
    return {
        "apiVersion": "retic.dev/v1alpha1", "kind": "TelemetryProvider", "metadata": {"name": "safe"},
        "spec": {"opentelemetry": otlp},
    }  # fmt: skip


def test_whom_a_collectors_certificate_is_for():
    def tls(**said):
        return mesh(secured(**said)).ask(observing_rules.collector, "safe").tls

    assert tls() == observing_rules.Tls("otel.shop")
    roots = tls_pairs.pair("otel.example.com")[0].decode()
    assert tls(hostname="otel.example.com", caCertificates=roots) == observing_rules.Tls("otel.example.com", roots)
    assert mesh().ask(observing_rules.collector, "otel").tls is None


def test_authorities_that_cannot_be_read():
    one, other = (tls_pairs.pair(name)[0].decode() for name in ("a.test", "b.test"))

    def codes(roots):
        db = mesh(secured(caCertificates=roots))
        return [fault.code for fault in db.ask(faults.of, findings.Ref("TelemetryProvider", "", "safe"))]

    for right in (one, one + other, f"# ours\n{one}\n{other.rstrip()}", one.replace("\n", "\r\n")):
        assert codes(right) == []
    lines = one.splitlines(keepends=True)
    cut, doubled = "".join(lines[:2] + lines[3:]), "".join(lines[:-1] * 2 + lines[-1:])
    begin, end = lines[0], lines[-1]
    for wrong in (cut, doubled, one.replace("M", "!", 1), f"{begin}{end}", f"{begin}MA==\n{end}", one + begin,
                  one.replace("CERTIFICATE", "PUBLIC KEY")):  # fmt: skip
        assert codes(wrong) == ["RT0814"], wrong
