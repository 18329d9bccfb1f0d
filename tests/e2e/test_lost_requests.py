"""Under load by three protocols, half a minute of each event: no request is lost (docs/lost-requests.md).

A machine that has no time left loses requests by itself: they wait for a processor until they count as lost. Where that
was so, and requests ran out of time, the event is had once more under a quarter of the load.
"""

import pytest
from tools.lossless import events, loads, row

SECONDS = 30
LEAST_IDLE = 0.05  # of the processors' time; with less there is no telling whose fault a loss is
PAUSE = 2  # seconds between events: tests that run beside this one need the cores too
LIFETIME = 30  # of certificates, which are renewed at half of it, during every event


@pytest.fixture(scope="module")
def shop():
    with row.mesh_of(LIFETIME) as made:
        yield made


@pytest.mark.parametrize("name", [name for name in events.EVENTS if name != "nothing"])
def test_no_request_is_lost(shop, name):
    mesh, servers = shop
    for rate in (loads.RATE, loads.RATE // 4):
        found = row.measured(mesh, servers, events.EVENTS[name], SECONDS, pause=PAUSE, rate=rate)
        print(f"{name}, {rate} requests a second: {found.lost} lost, {found.idle:.0%} idle")
        late = any(cell.failures.get("timeout") for cell in found.cells.values())
        if not late or found.idle >= LEAST_IDLE:
            break
    assert {protocol: cell for protocol, cell in found.cells.items() if cell.failed} == {}
    assert all(cell.requests >= 0.9 * rate * SECONDS for cell in found.cells.values()), found
    assert found.times >= 1
