"""A mesh on a cluster as commands meet it: an API server's answers, and agents that answer by `pods/exec`. No Envoy."""

import contextlib
import json

from retic.install import names
from retic.testing import agent_ends, api_server, exec_server

SHOP = "shop"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1/gateways"
CONFIG = f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/{names.CONFIG}"
CART, WEB = "uid-cart", "uid-web"
RUNNING = [{"type": "Ready", "status": "True"}]


def pod(server, name, namespace, *, node, address="", uid="", conditions=(), status=None, **metadata):
    fields = {
        "metadata": {"uid": uid or f"uid-{name}", **metadata},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "i"}]},
        "status": {
            "phase": "Running", "podIP": address, "conditions": [*RUNNING, *conditions], **(status or {}),
        },
    }  # fmt: skip
    for path in ("/api/v1/pods", f"/api/v1/namespaces/{namespace}/pods"):
        server.put(path, name, namespace, **json.loads(json.dumps(fields)))


def agent(server, name, node):
    pod(server, name, names.NAMESPACE, node=node, labels=names.labels("node"))


def gateway(server, name, pod_name, node="node-1"):
    pod(
        server, pod_name, SHOP, node=node, address="10.42.0.9", annotations={"retic.dev/role": "gateway"},
        labels={"gateway.networking.k8s.io/gateway-name": name},
    )  # fmt: skip


@contextlib.asynccontextmanager
async def serving(folder):
    """The server, its commands, and the agents of node-1, node-2 and gateway/shop/front, by their pods."""
    server = api_server.Server()
    await server.start()
    labels = {names.MESH_LABEL: "enabled"}
    server.put("/api/v1/namespaces", SHOP, metadata={"labels": labels})
    server.put("/api/v1/namespaces", names.NAMESPACE)
    captured = [{"type": names.CAPTURED, "status": "True"}]
    for name, uid, node, address in (("web", WEB, "node-1", "10.42.0.7"), ("cart", CART, "node-2", "10.42.1.8")):
        pod(server, name, SHOP, node=node, address=address, uid=uid, labels={"app": name}, conditions=captured)
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    server.put("/api/v1/services", "cart", SHOP, spec={"selector": {"app": "cart"}, "ports": ports,
                                                      "clusterIP": "10.43.0.5"})  # fmt: skip
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    server.put(GATEWAYS, "front", SHOP, spec={"gatewayClassName": "retic", "listeners": listeners})
    agent(server, "retic-node-a", "node-1")
    agent(server, "retic-node-b", "node-2")
    gateway(server, "front", "front-1")
    server.answers[CONFIG] = [api_server.Answer(200, b'{"data": {"config.json": "{\\"image\\": \\"i\\"}"}}')] * 50
    pods = {
        f"{names.NAMESPACE}/retic-node-a": [WEB], f"{names.NAMESPACE}/retic-node-b": [CART], f"{SHOP}/front-1": [""],
    }  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        commands = await stack.enter_async_context(exec_server.Commands(server))
        agents = {}
        for name, uids in pods.items():
            made = agent_ends.Agent(folder / name.partition("/")[2], uids)
            agents[name.partition("/")[2]] = await stack.enter_async_context(made)
            commands.folders[name] = made.folder
        yield server, commands, agents
    await server.stop()
