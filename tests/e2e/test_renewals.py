"""Certificates that live for half a minute: renewed again and again under load, and no request is lost."""

import pytest
import rough_load as load

from retic.control import model
from retic.testing import wait

CALLER = "spiffe://cluster.local/ns/default/sa/caller"
DEFAULT = "server:spiffe://cluster.local/ns/default/sa/default"
SECONDS, RENEWALS = 50, 3  # at half of 30 s


@pytest.fixture
def running_load(rough):
    made = load.Load(rough, SECONDS)
    yield made
    made.close()


def ends(mesh):
    """When the two ends' certificates end, as the proxies say."""
    found = {}
    for node, name in (("node-1", CALLER), ("node-2", DEFAULT)):
        secrets = load.ask(mesh, model.AskProxy(proxy=node, section="secrets"))
        found[node] = next(s["not_after"] for s in secrets if s["name"] == name)
    return found


def test_no_request_is_lost_while_certificates_are_renewed(rough, running_load):
    seen = {node: {end} for node, end in ends(rough).items()}

    def over():
        for node, end in ends(rough).items():
            seen[node].add(end)
        return not running_load.running()

    wait.until(over, "the load is over", SECONDS + 30, every=0.5)
    assert all(len(moments) > RENEWALS for moments in seen.values()), seen
    results = running_load.results()
    assert {kind: one["failures"] for kind, one in results.items() if one["failed"]} == {}
    assert all(one["answered"] >= load.RATE * SECONDS * 0.8 for one in results.values()), results
