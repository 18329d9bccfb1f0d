"""A mesh of a few servers with many Services in front of them, each with a DestinationRule of its own."""

import yaml


def _object(kind, name, spec, version="v1", **metadata):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def node(name, region, zone):
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    return _object("Node", name, {}, labels=labels)


def server(name, node="node-1", **labels):
    """A pod that serves HTTP at 8080 and says its name."""
    container = {
        "name": "server",
        "command": ["python3", "-m", "retic.testing.apps.echo_http", "--port", "8080", "--name", name],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container]}
    return _object("Pod", name, spec, labels=labels)


def client(name, namespace="default"):
    container = {"name": "c", "command": ["sleep", "infinity"]}
    return _object("Pod", name, {"nodeName": "node-1", "containers": [container]}, namespace=namespace)


def service(name, selector, *ports):
    wanted = ports or [("http", 80)]
    made = [{"name": f"{kind}-{number}", "port": number, "targetPort": 8080} for kind, number in wanted]
    return _object("Service", name, {"selector": selector, "ports": made})


def rule(name, policy, host=None, namespace="default", **more):
    """A DestinationRule for the Service of that name."""
    spec = {"host": host or name, "trafficPolicy": policy, **more}
    return _object("DestinationRule", name, spec, "networking.istio.io/v1", namespace=namespace)


def balanced(**said):
    return {"loadBalancer": said}


def locality(**said):
    return balanced(localityLbSetting=said)


NEAR, ALL, PAIR, WARM = {"near": "yes"}, {"app": "echo"}, {"pair": "yes"}, {"warm": "yes"}

SERVERS = [
    server("e1", app="echo", near="yes", pair="yes", version="v1"),
    server("e2", app="echo", near="yes", warm="yes", version="v1"),
    server("e3", app="echo", near="yes", warm="yes", version="v2"),
    server("w1", "node-2", app="echo", pair="yes", version="v2"),
    server("plain", plain="yes"),
]
CLIENTS = [client(f"c{number}") for number in range(1, 5)]
NODES = [node("node-1", "land", "land-east"), node("node-2", "land", "land-west")]

GATEWAY_PORT = 18200


def door(*services):
    """A Gateway whose every request goes to one of the Services, all of the same share."""
    api, listener = "gateway.networking.k8s.io/v1", {"name": "http", "port": GATEWAY_PORT, "protocol": "HTTP"}
    backends = [{"name": name, "port": 80} for name in services]
    spec = {"parentRefs": [{"name": "door"}], "rules": [{"backendRefs": backends}]}
    return [
        _object("Gateway", "door", {"gatewayClassName": "retic", "listeners": [listener]}, api),
        _object("HTTPRoute", "door", spec, api),
    ]


POLICIES = {
    "robin": balanced(simple="ROUND_ROBIN"),
    "random": balanced(simple="RANDOM"),
    "least": balanced(simple="LEAST_REQUEST"),
    "ring-header": balanced(consistentHash={"httpHeaderName": "X-User"}),
    "maglev-header": balanced(consistentHash={"httpHeaderName": "x-user", "maglev": {"tableSize": 251}}),
    "ring-query": balanced(consistentHash={"httpQueryParameterName": "user", "ringHash": {"minimumRingSize": 512}}),
    "ring-cookie": balanced(consistentHash={"httpCookie": {"name": "place", "path": "/", "ttl": "0s"}}),
    "maglev-cookie": balanced(consistentHash={"httpCookie": {"name": "spot", "ttl": "1h"}, "maglev": {}}),
    "given-cookie": balanced(consistentHash={"httpCookie": {"name": "spot"}}),
    "source": balanced(consistentHash={"useSourceIp": True}),
    "pool": {
        "connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}},
    },
    "short": {"connectionPool": {"http": {"maxRequestsPerConnection": 2}}, **balanced(simple="ROUND_ROBIN")},
    "sick": {
        **balanced(simple="ROUND_ROBIN"),
        "outlierDetection": {
            "consecutive5xxErrors": 3, "interval": "0.5s", "baseEjectionTime": "10s", "maxEjectionPercent": 100,
        },
    },
    "ports": {
        **balanced(consistentHash={"httpHeaderName": "x-user"}),
        "portLevelSettings": [{"port": {"number": 81}, **balanced(simple="ROUND_ROBIN")}],
    },
    "changed": balanced(simple="ROUND_ROBIN"),
}  # fmt: skip
PORTS = {"ports": [("http", 80), ("http", 81)], "source": [("http", 80), ("tcp", 81)]}


def manifests():
    """The mesh as text."""
    made = [*NODES, *SERVERS, *CLIENTS]
    for name, policy in POLICIES.items():
        made += [service(name, NEAR, *PORTS.get(name, ())), rule(name, policy)]
    shares = [{"from": "land/land-east/*", "to": {"land/land-east/*": 70, "land/land-west/*": 30}}]
    made += [
        service("shared", ALL), rule("shared", locality(distribute=shares)),
        service("level", ALL), rule("level", locality(enabled=False)),
        service("failing", PAIR), rule("failing", locality(failoverPriority=["topology.kubernetes.io/zone"])),
        service("warmed", WARM),
        service("open", {"plain": "yes"}), service("closed", {"plain": "yes"}),
        rule("closed", {"tls": {"mode": "ISTIO_MUTUAL"}, "connectionPool": {"tcp": {"connectTimeout": "0.5s"}}}),
        _object(
            "PeerAuthentication", "plain",
            {"selector": {"matchLabels": {"plain": "yes"}}, "mtls": {"mode": "DISABLE"}}, "security.istio.io/v1",
        ),
        *door("ring-header", "ring-query"),
        rule("warmed", balanced(simple="ROUND_ROBIN", warmup={"duration": "24s", "minimumPercent": 1})),
    ]  # fmt: skip
    return "---\n".join(yaml.safe_dump(one, sort_keys=False) for one in made)
