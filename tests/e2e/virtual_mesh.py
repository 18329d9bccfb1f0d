"""The mesh of the tests of VirtualServices and mirrors: two clients of one namespace on one node, one of another
namespace, two versions of a server, a server that writes down all that it gets, and a gateway."""

import json

import live

PORT = 18300
HOST = "front.example.com"


def virtual(name, hosts, *http, namespace="default", **more):
    """A VirtualService."""
    spec = {"hosts": hosts, "http": list(http), **more} if hosts else {"http": list(http), **more}
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": live.meta(name, namespace),
        "spec": spec,
    }  # fmt: skip


def to(host="v1", **more):
    """One destination; what is not `weight`, `headers` is of the destination itself."""
    outer = {key: more.pop(key) for key in ("weight", "headers") if key in more}
    return {"destination": {"host": host, **more}, **outer}


def tagged(name, *matches, **more):
    """A route to v1 that says its name in x-rule."""
    route = {"headers": {"request": {"set": {"x-rule": name}}}, "route": [to()], **more}
    return {"match": list(matches), **route} if matches else route


def path(value, how="prefix"):
    """A match by path."""
    return {"uri": {how: value}}


def _client(name, account, namespace="default", **labels):
    spec = {
        "nodeName": "node-1", "serviceAccountName": account,
        "containers": [{"name": "c", "command": ["sleep", "infinity"]}],
    }  # fmt: skip
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": live.meta(account, namespace)},
        {"apiVersion": "v1", "kind": "Pod", "metadata": live.meta(name, namespace, labels=labels), "spec": spec},
    ]


def _server(name, container):
    pod = {"nodeName": "node-1", "terminationGracePeriodSeconds": 3, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": live.meta(name, labels={"app": name}), "spec": pod}


def objects(log):
    """All but the routes; `log` is where the recorder writes."""
    recorder = {
        "name": "server", "command": ["python3", "-m", "retic.testing.apps.recorder", "--port", "8080"],
        "env": [{"name": "LOG", "value": str(log)}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }  # fmt: skip
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}},
        *_client("a", "a", role="asker"), *_client("b", "b"), *_client("c", "c", "other"),
        _server("v1", live.echo("v1")), _server("v2", live.echo("v2")), _server("watcher", recorder),
        *(live.service(name, {"app": name}) for name in ("v1", "v2", "watcher")),
        {
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": live.meta("front"),
            "spec": {
                "gatewayClassName": "retic",
                "listeners": [{"name": "http", "port": PORT, "protocol": "HTTP", "hostname": "*.example.com"}],
            },
        },
    ]  # fmt: skip


def service(name, *ports):
    """A Service of v1's own pods under another name."""
    return live.service(name, {"app": "v1"}, *ports)


class Log:
    """What the recorder has written down."""

    def __init__(self, file):
        self.file = file

    def requests(self, word):
        """The heads of requests in which the word is, each as a mapping of lower-case names; `:path` is the target."""
        found = []
        for line in self.file.read_text().splitlines():
            said = json.loads(line)
            if "headers" in said and any(word in value for _, value in said["headers"]):
                found.append(dict(said["headers"]))
            elif word in str(said.get("bytes", "")):
                first, *rest = said["bytes"].split("\r\n\r\n")[0].split("\r\n")
                head = dict(one.split(": ", 1) for one in rest)
                found.append({":method": first.split()[0], ":path": first.split()[1], **head})
        return found

    def peers(self):
        """The addresses of all connections."""
        opened = [json.loads(line).get("open") for line in self.file.read_text().splitlines()]
        return {each.rpartition(":")[0] for each in opened if each}


def caller(head):
    """The identity that the receiving proxy says a request has."""
    return head.get("x-forwarded-client-cert", "").rpartition("URI=")[2]
