"""What STRICT would refuse, added up from Envoys' counters."""

import datetime
import json
import pathlib

from retic.identity import report
from retic.node import admin, refusals
from retic.testing import clock

BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
A, B = pathlib.Path("a"), pathlib.Path("b")


class Envoys:
    """Counters by socket; a socket without any does not answer."""

    def __init__(self, monkeypatch):
        self.counts = {}
        monkeypatch.setattr(admin, "get", self.get)

    async def get(self, socket, path):
        assert "shadow_denied" in path
        if socket not in self.counts:
            raise admin.AdminError("away")
        stats = [{"name": f"http.plaintext.rbac.strict.{uid}.shadow_denied", "value": n}
                 for uid, n in self.counts[socket].items()]  # fmt: skip
        return json.dumps({"stats": [*stats, {"histograms": {}}]}).encode()


def test_requests_and_connections_are_added():
    stats = [
        {"name": "http.plaintext.rbac.strict.u-1.shadow_denied", "value": 2},
        {"name": "plaintext.rbac.strict.u-1.shadow_denied", "value": 3},
        {"name": "plaintext.rbac.strict.u-2.shadow_denied", "value": 0},
        {"name": "plaintext.rbac.shadow_denied", "value": 9},
    ]
    assert refusals.parse(json.dumps({"stats": stats}).encode()) == {"u-1": 5}


async def test_sums_outlive_an_envoy_and_say_when(monkeypatch):
    envoys, time, sockets = Envoys(monkeypatch), clock.Fake(BEGIN), [A]
    counted = refusals.Refusals(lambda: sockets, time)
    assert await counted.look(["u-1"]) == ()
    envoys.counts[A] = {"u-1": 4, "u-2": 1}
    assert await counted.look(["u-1"]) == (report.Refusable("u-1", 4, "2026-01-01T00:00:00Z"),)
    time.advance(60)
    assert await counted.look(["u-1"]) == (report.Refusable("u-1", 4, "2026-01-01T00:00:00Z"),)
    sockets.append(B)
    envoys.counts[B] = {"u-1": 2}
    assert await counted.look(["u-1"]) == (report.Refusable("u-1", 6, "2026-01-01T00:01:00Z"),)
    envoys.counts[A] = {"u-1": 1}  # another Envoy in its place
    assert [one.count for one in await counted.look(["u-1"])] == [7]
    envoys.counts[A] = {"u-1": 1, "u-3": 1}
    envoys.counts[B] = {}  # the pod's listener is gone there, and comes again
    assert [one.count for one in await counted.look(["u-1", "u-3"])] == [7, 1]
    assert await counted.look([]) == ()
