"""Under load by three protocols, half a minute of each event: no request is lost (docs/lost-requests.md)."""

import pytest
from tools.lossless import events, loads, row

SECONDS = 30
PAUSE = 2  # seconds between events: tests that run beside this one need the cores too
LIFETIME = 30  # of certificates, which are renewed at half of it, during every event


@pytest.fixture(scope="module")
def shop():
    with row.mesh_of(LIFETIME) as made:
        yield made


@pytest.mark.parametrize("name", [name for name in events.EVENTS if name != "nothing"])
def test_no_request_is_lost(shop, name):
    mesh, servers = shop
    found = row.measured(mesh, servers, events.EVENTS[name], SECONDS, pause=PAUSE)
    assert {protocol: cell for protocol, cell in found.cells.items() if cell.failed} == {}
    assert all(cell.requests >= 0.9 * loads.RATE * SECONDS for cell in found.cells.values()), found
    assert found.times >= 1
