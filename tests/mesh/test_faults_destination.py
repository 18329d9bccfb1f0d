"""What a DestinationRule says in vain, or that is not done, is a finding with its place; what is done is none."""

import pytest
import yaml

from retic import findings, wiring
from retic.mesh import faults
from retic.objects import kinds
from retic.sources import manifest_file

OTHERS = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, name: http}, {port: 90, name: tcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.2, ports: [{port: 5432, name: tcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: shop}
spec: {clusterIP: None, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: away, namespace: shop}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, uid: u1, labels: {version: v1}}
spec: {nodeName: node-1, containers: [{name: c, command: [c]}]}
status: {podIP: 10.244.1.1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-x, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.1]}]
ports: [{name: http, port: 8080}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a-first, namespace: shop}
spec: {host: cart, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: old, labels: {version: v1}}]}
"""
HASH = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}


def said(spec, namespace="shop", name="it", others=OTHERS):
    value = {
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }  # fmt: skip
    texts = (others, yaml.safe_dump(value))
    entries = [entry for text in texts for entry in manifest_file.parse("it", text.encode())]
    form = [(f.code, f.message, f.fix) for entry in entries for f in entry.found]
    db = wiring.offline([entry.located.object for entry in entries if entry.located])
    ref = findings.Ref("DestinationRule", namespace, name)
    return form, db.ask(faults.of, ref)


def policy(**said):
    return {"host": "cart.shop.svc.cluster.local", "trafficPolicy": said}


def pool(**said):
    return policy(connectionPool=said)


TOP = "spec.trafficPolicy"
MEANT = {
    "no such Service": ({"host": "no"}, "RT0701", "spec.host"),
    "two parts are no name": ({"host": "cart.shop"}, "RT0701", "spec.host"),
    "a name outside": ({"host": "api.example.com"}, "RT0701", "spec.host"),
    "an end that no Service has": ({"host": "*.example.com", **{"subsets": [{"name": "a"}]}}, "RT0701", "spec.host"),
    "nobody's namespace": ({"host": "*.no.svc.cluster.local", "subsets": [{"name": "a"}]}, "RT0701", "spec.host"),
    "older policy": ({"host": "cart", "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}, "RT0702", TOP),
    "older subset": ({"host": "cart", "subsets": [{"name": "old"}]}, "RT0702", "spec.subsets[0].name"),
    "headless": ({"host": "peers"}, "RT0703", "spec.host"),
    "somewhere else": ({"host": "away"}, "RT0703", "spec.host"),
    "some callers": (
        {"host": "db", "workloadSelector": {"matchLabels": {"a": "b"}}}, "RT0704", "spec.workloadSelector",
    ),
    "no such port": (
        {"host": "db", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 81}}]}}, "RT0705",
        f"{TOP}.portLevelSettings[0].port.number",
    ),
    "nobody in a subset": (
        {"host": "cart", "subsets": [{"name": "v9", "labels": {"v": "9"}}]}, "RT0706", "spec.subsets[0].labels",
    ),
    "tunnel": (policy(tunnel={"protocol": "CONNECT"}), "RT0707", f"{TOP}.tunnel"),
    "proxy": (policy(proxyProtocol={"version": "V1"}), "RT0707", f"{TOP}.proxyProtocol"),
    "budget": (policy(retryBudget={"percent": 20}), "RT0707", f"{TOP}.retryBudget"),
    "as it is": (policy(loadBalancer={"simple": "PASSTHROUGH"}), "RT0707", f"{TOP}.loadBalancer.simple"),
    "warm-up of a ring": (
        policy(loadBalancer={**HASH["loadBalancer"], "warmupDurationSecs": "5s"}), "RT0707",
        f"{TOP}.loadBalancer.warmupDurationSecs",
    ),
    "upgrade": (pool(http={"h2UpgradePolicy": "UPGRADE"}), "RT0707", f"{TOP}.connectionPool.http.h2UpgradePolicy"),
    "silent TCP": (pool(tcp={"idleTimeout": "5s"}), "RT0707", f"{TOP}.connectionPool.tcp.idleTimeout"),
    "long TCP": (
        {"host": "db", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnectionDuration": "5s"}}}}, "RT0707",
        f"{TOP}.connectionPool.tcp.maxConnectionDuration",
    ),
    "headers of TCP": ({"host": "db", "trafficPolicy": HASH}, "RT0707", f"{TOP}.loadBalancer.consistentHash"),
    "headers of one TCP port": (
        policy(portLevelSettings=[{"port": {"number": 90}, **HASH}]), "RT0707",
        f"{TOP}.portLevelSettings[0].loadBalancer.consistentHash",
    ),
    "errors of old": (
        policy(outlierDetection={"consecutiveErrors": 5}), "RT0707", f"{TOP}.outlierDetection.consecutiveErrors",
    ),
    "local ones without a split": (
        policy(outlierDetection={"consecutiveLocalOriginFailures": 5}), "RT0707",
        f"{TOP}.outlierDetection.consecutiveLocalOriginFailures",
    ),
    "names of TLS": (policy(tls={"mode": "ISTIO_MUTUAL", "sni": "x"}), "RT0707", f"{TOP}.tls.sni"),
    "plaintext": (policy(tls={"mode": "DISABLE"}), "RT0708", f"{TOP}.tls.mode"),
    "other TLS": (policy(tls={"mode": "SIMPLE"}), "RT0708", f"{TOP}.tls.mode"),
    "a large ring": (
        policy(loadBalancer={"consistentHash": {"useSourceIp": True, "minimumRingSize": 1_000_000}}), "RT0709",
        f"{TOP}.loadBalancer.consistentHash.minimumRingSize",
    ),
    "a large table": (
        policy(loadBalancer={"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 5_000_011}}}), "RT0709",
        f"{TOP}.loadBalancer.consistentHash.maglev.tableSize",
    ),
    "a sub-zone": (
        policy(loadBalancer={"localityLbSetting": {"distribute": [{"from": "r/z/s", "to": {"*": 100}}]}}), "RT0710",
        f"{TOP}.loadBalancer.localityLbSetting.distribute[0]",
    ),
    "a zone to fail over to": (
        policy(loadBalancer={"localityLbSetting": {"failover": [{"from": "r/z", "to": "s"}]}}), "RT0710",
        f"{TOP}.loadBalancer.localityLbSetting.failover[0]",
    ),
    "labels of callers": (
        policy(loadBalancer={"localityLbSetting": {"failoverPriority": ["tier"]}}), "RT0710",
        f"{TOP}.loadBalancer.localityLbSetting.failoverPriority[0]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "code", "path"), MEANT.values(), ids=MEANT)
def test_what_is_not_done_is_a_finding(spec, code, path):
    form, meant = said(spec)
    assert form == []
    if "older" not in path and code != "RT0702" and spec["host"].startswith("cart"):
        meant = [fault for fault in meant if fault.code != "RT0702"]  # by a-first, which is older
    assert [(fault.code, fault.path) for fault in meant] == [(code, path)]
    assert all(fault.message and fault.fix for fault in meant)


def test_a_rule_elsewhere_is_exported_in_vain():
    _, meant = said({"host": "cart.shop.svc.cluster.local", "exportTo": ["*"]}, namespace="web")
    assert [(fault.code, fault.path) for fault in meant] == [("RT0703", "spec.exportTo")]
    for namespace in ("shop", "retic-system"):
        assert said({"host": "db.shop.svc.cluster.local", "exportTo": ["*"]}, namespace)[1] == ()


def test_a_service_that_keeps_calls_near_does_not_for_localities_and_subsets():
    near = OTHERS.replace("spec: {clusterIP: 10.96.0.2,", "spec: {internalTrafficPolicy: Local, clusterIP: 10.96.0.2,")
    localities = {"loadBalancer": {"localityLbSetting": {"enabled": False}}}
    for spec, path in (
        ({"trafficPolicy": localities}, "spec.trafficPolicy"), ({"subsets": [{"name": "a"}]}, "spec.subsets"),
    ):  # fmt: skip
        _, meant = said({"host": "db", **spec}, others=near)
        assert [(fault.code, fault.path) for fault in meant] == [("RT0703", path)]
        assert "internalTrafficPolicy: Local" in meant[0].message
        assert said({"host": "db", **spec})[1] == ()


def test_the_fix_for_half_a_name_is_the_whole_one():
    _, meant = said({"host": "cart.shop"})
    assert meant[0].fix == "write the whole name: cart.shop.svc.cluster.local"


def test_what_is_done_is_no_finding():
    full = {
        "loadBalancer": {
            "consistentHash": {
                "httpCookie": {"name": "a", "ttl": "0s", "attributes": [{"name": "SameSite", "value": "Lax"}]},
            },
            "localityLbSetting": {"distribute": [{"from": "r/z/*", "to": {"r/*": 50, "s/z": 50}}]},
        },
        "connectionPool": {
            "tcp": {
                "maxConnections": 5, "connectTimeout": "1s",
                "tcpKeepalive": {"time": "60s", "interval": "5s", "probes": 3},
            },
            "http": {
                "http1MaxPendingRequests": 1, "http2MaxRequests": 2, "maxRequestsPerConnection": 3, "maxRetries": 4,
                "idleTimeout": "5s", "h2UpgradePolicy": "DO_NOT_UPGRADE", "maxConcurrentStreams": 5,
            },
        },
        "outlierDetection": {
            "splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 5, "consecutiveGatewayErrors": 0,
            "consecutive5xxErrors": 5, "interval": "1s", "baseEjectionTime": "30s", "maxEjectionPercent": 50,
            "minHealthPercent": 0,
        },
        "tls": {"mode": "ISTIO_MUTUAL"},
    }  # fmt: skip
    alone = [{"port": {"number": 80}, "loadBalancer": {"simple": "LEAST_CONN", "warmup": {"duration": "5s"}}}]
    spec = {
        "host": "cart.shop.svc.cluster.local",
        "trafficPolicy": {**full, "portLevelSettings": alone},
        "subsets": [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": full}],
    }
    form, meant = said(spec, namespace="web")
    assert (form, meant) == ([], ())


@pytest.mark.parametrize(
    ("said_so", "path"),
    [
        ({"loadBalancer": {"simple": "RANDOM", **HASH["loadBalancer"]}}, "loadBalancer.consistentHash"),
        ({"loadBalancer": {"consistentHash": {}}}, "loadBalancer.consistentHash"),
        ({"loadBalancer": {"consistentHash": {"useSourceIp": True, "httpHeaderName": "a"}}}, "Hash.useSourceIp"),
        ({"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 8}}}}, "maglev.tableSize"),
        ({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "a", "to": {"a": 90}}]}}}, "distribute[0].to"),
        ({"loadBalancer": {"localityLbSetting": {"failover": [{"from": "a"}]}}}, "failover[0].to"),
        ({"loadBalancer": {"warmup": {"duration": "1s", "aggression": 0.5}}}, "warmup.aggression"),
        ({"outlierDetection": {"interval": "0s"}}, "outlierDetection.interval"),
        ({"connectionPool": {"tcp": {"connectTimeout": "0s"}}}, "tcp.connectTimeout"),
        ({"portLevelSettings": [{"port": {"number": 1}}, {"port": {"number": 1}}]}, "portLevelSettings[1].port.number"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_left_out(said_so, path):
    form, _ = said({"host": "db", "trafficPolicy": said_so})
    assert len(form) == 1
    assert path in form[0][1]


def test_every_version_is_read():
    assert len(kinds.KINDS["DestinationRule"].api_versions) == 3
