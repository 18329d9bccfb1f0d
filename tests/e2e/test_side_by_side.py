"""Meshes of different names at once: the same addresses, nothing in common."""

import machine_mesh
import pytest

from retic.testing import machine


@pytest.fixture(scope="module")
def host():
    with machine.on(machine.users()[0]) as made:
        yield made


def test_two_meshes_at_once(host):
    before = machine_mesh.traces(host)
    one, two = machine_mesh.Mesh(host), machine_mesh.Mesh(host)
    one.bring_up()
    second = machine_mesh.Mesh(host, one.name).command("up", "-f", str(one.folder), "--detach")
    assert second.returncode != 0
    assert "runs already" in second.stderr
    two.bring_up()
    seen = [mesh.works() for mesh in (one, two)]
    for key in ("ip", "name"):
        assert [p[key] for p in seen[0]["pods"]][:1] == [p[key] for p in seen[1]["pods"]][:1]
    doors = {ps["gateways"][0]["listeners"][0]["address"] for ps in seen}
    assert len(doors) == 2
    assert "127.0.0.1:8080" in doors
    taken = [f for f in seen[1]["findings"] if f["code"] == "RT0505"]
    assert taken, "the second is told that its port was taken"
    for ps in seen:
        envoys = sorted(p["name"] for p in ps["processes"] if p["role"] == "envoy")
        assert envoys == ["gw-default-door", "node-1"]
    mine = {p["pid"] for p in seen[0]["processes"]}
    assert not mine & {p["pid"] for p in seen[1]["processes"]}
    assert one.command("down").returncode == 0
    assert not one.state.exists()
    two.works()
    assert two.command("down").returncode == 0
    for mesh in (one, two):
        before["files"].discard(str(mesh.folder))
    now = machine_mesh.traces(host)
    now["files"] = {f for f in now["files"] if "/m" not in f.removeprefix(str(host.runtime))}
    assert now == before
    assert not host.processes()
