"""One pod reaches for ten thousand addresses and ports: its neighbours and their proxy hardly notice."""

import json
import pathlib
import sys

import rough_load as load

from retic.control import model
from retic.testing import wait

SCAN = (sys.executable, "-m", "retic.testing.scan")

MOST = 60 << 20
"""Bytes that a scan may add to the proxy of the whole node within the time that it takes here."""


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def clusters(mesh):
    return load.ask(mesh, model.AskProxy(proxy="node-1", section="stats"))["cluster_manager.active_clusters"]


def test_a_scan_of_ten_thousand_destinations(rough):
    pid = load.processes(rough)["envoy", "node-1"]
    quiet = load.Load(rough, seconds=3)
    calm = quiet.results()
    quiet.close()
    before, known = resident(pid), clusters(rough)
    busy = load.Load(rough, seconds=8)
    try:
        # Virtual addresses: each address and port is another name for the proxy. The other half are pods'.
        scans = [
            rough.start("scanner", *SCAN, first, "100", "50", "800", "25")
            for first in ("10.96.100.1", "10.244.2.100")
        ]
        outcomes = [json.loads(one.communicate(timeout=60)[0]) for one in scans]
        stormy = busy.results()
    finally:
        busy.close()
    grown, more = resident(pid) - before, clusters(rough) - known
    print(f"\nscan: {outcomes}; {more} clusters more, {grown / 1e6:.1f} MB more "
          f"({grown / max(more, 1) / 1e3:.0f} kB each), of {before / 1e6:.0f} MB")
    for kind, result in stormy.items():
        print(f"{kind}: p99 {calm[kind]['percentiles_ms']['p99']:.1f} -> {result['percentiles_ms']['p99']:.1f} ms")
    assert sum(one["tried"] for one in outcomes) == 10_000
    assert {kind: r["failures"] for kind, r in stormy.items() if r["failed"]} == {}
    assert load.processes(rough)["envoy", "node-1"] == pid
    assert grown < MOST
    # Who scanned is itself let through again, once it has stopped.
    wait.until(lambda: rough.curl("scanner", "http://web/")[0] == 200, "the scanner recovers", 20)


def test_a_closed_port_is_answered_at_once_by_a_pod_and_by_a_service(rough):
    ps = rough.ps()
    ip = next(p["ip"] for p in ps["pods"] if p["name"].startswith("others"))
    vip = next(s["address"] for s in ps["services"] if s["name"] == "others")
    for host in (ip, vip):
        for port in (9, 81):
            done = [rough.exec("caller", *SCAN, f"{host}:{port}", "1", "1", "10", "5") for _ in range(3)]
            outcome = min((json.loads(one.stdout) for one in done), key=lambda one: one["seconds"])
            assert outcome["seconds"] < 2, (host, port, outcome)
            assert "timeout" not in outcome, (host, port, outcome)
