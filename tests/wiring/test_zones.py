"""On a cluster a node's zone is what its label says, and an agent need not know it."""

import pytest

from retic import findings, wiring, xds
from retic.envoy import names
from retic.mesh import tables
from retic.objects import core, meta
from retic.wiring import zones


@pytest.fixture
def db():
    node = core.Node(metadata=meta.Metadata(name="n1", labels={"topology.kubernetes.io/zone": "east"}))
    made = wiring.offline([])
    made.commit(tables.changes(findings.Ref("Node", "", "n1"), node))
    return made


@pytest.mark.parametrize(
    ("client", "zone"),
    [
        (xds.Client("node/n1"), "east"), (xds.Client("node/n1", "west"), "west"), (xds.Client("node/n2"), ""),
        (xds.Client("gateway/shop/n1"), ""),
    ],
)  # fmt: skip
def test_endpoints_are_those_of_the_nodes_zone(db, client, zone):
    for name in (names.endpoints("shop", "web", 80), names.view("shop", "shop", "web", 80, "v1")):
        key = zones.scope(db, names.ENDPOINTS, name, client)
        assert (key.zone, key.client) == (zone, "")


def test_what_no_zone_changes_is_shared(db):
    assert zones.scope(db, names.CLUSTER, names.PASSTHROUGH, xds.Client("node/n1")).zone == ""
