"""Where a cluster's nodes are: an agent's pod cannot read its Node's labels, so the control plane does it for it."""

import msgspec

from retic import graph, xds
from retic.envoy import resources
from retic.mesh import nodes


def scope(db: graph.Graph, type_url: str, name: str, client: xds.Client) -> resources.Key:
    """As `resources.scope`, for a client in the zone that its Node's label names, if it names none itself.

    A Gateway's proxies may run in several zones and have none.
    """
    role, _, node = client.id.partition("/")
    if role == "node" and not client.zone:
        client = msgspec.structs.replace(client, zone=db.ask(nodes.zone, node))
    return resources.scope(type_url, name, client)
