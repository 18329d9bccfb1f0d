"""Which pods are agents: of a node, or of a gateway; and whether one of a given uid is still there."""

import asyncio

import msgspec

from retic import graph
from retic.identity import spiffe
from retic.kube import naming
from retic.mesh import tables

NEWS_SECONDS = 5.0  # how long an agent's first call may be ahead of the news of its pod


class Accounts(msgspec.Struct, frozen=True):
    """The service accounts that agents run with. Nodes' is NAMESPACE/NAME, gateways' are made by `naming`."""

    node: str = "retic-system/retic-node"

    def of(self, client: spiffe.Client) -> str:
        """NAMESPACE/NAME of the account that this client's pods run with; a gateway's is its own."""
        if isinstance(client, spiffe.Node):
            return self.node
        return f"{client.namespace}/{naming.child(client.name)}"


class Pod(msgspec.Struct, frozen=True):
    """What an agent's pod is known by. `account` is NAMESPACE/NAME, `gateway` the label's value or ""."""

    uid: str
    namespace: str
    name: str
    node: str
    account: str
    gateway: str


@graph.query
def by_uid(db: graph.Db, uid: str) -> Pod | None:
    """The pod of that uid: None when there is none, when it is bound to no node, or when it is over."""
    for key in sorted(db.find(tables.PODS_BY_UID, uid)):
        pod = db.get(tables.PODS, key)
        if pod is None or not pod.spec.node_name or (pod.status and pod.status.phase in ("Succeeded", "Failed")):
            return None
        account = pod.spec.service_account_name or "default"
        return Pod(
            uid, key.namespace, key.name, pod.spec.node_name, f"{key.namespace}/{account}",
            pod.metadata.labels.get(tables.GATEWAY_LABEL, ""),
        )  # fmt: skip
    return None


def mismatch(pod: Pod, client: spiffe.Client, accounts: Accounts) -> str:
    """Why the pod is no agent of that client, "" when it is one."""
    if pod.account != accounts.of(client):
        return f"pod {pod.namespace}/{pod.name} runs as {pod.account}: {client.client_id} is {accounts.of(client)}"
    if isinstance(client, spiffe.Node):
        return "" if pod.node == client.name else f"pod {pod.namespace}/{pod.name} runs on node {pod.node}"
    if (pod.namespace, pod.gateway) != (client.namespace, naming.label(client.name)):
        return f"pod {pod.namespace}/{pod.name} is none of {client.client_id}"
    return ""


async def wait(db: graph.Graph, uid: str) -> Pod | None:
    """The pod of that uid, as soon as it is known; None when it is not within NEWS_SECONDS."""
    with db.watch(by_uid, uid) as found:
        try:
            async with asyncio.timeout(NEWS_SECONDS):
                async for pod in found:
                    if pod is not None:
                        return pod
        except TimeoutError:
            pass
    return None
