"""Meshes of different names at once: the same addresses, nothing in common."""

import machine_mesh


def test_two_meshes_of_one_user_at_once(lone, lone_host):
    one, two = lone, machine_mesh.Mesh(lone_host)
    again = machine_mesh.Mesh(lone_host, one.name).command("up", "-f", str(one.folder), "--detach")
    assert again.returncode != 0
    assert "runs already" in again.stderr
    before = machine_mesh.traces(lone_host)
    two.bring_up()
    seen = [mesh.works() for mesh in (one, two)]
    clients = [next(p for p in ps["pods"] if p["name"] == "client") for ps in seen]
    assert clients[0]["ip"] == clients[1]["ip"]
    doors = [ps["gateways"][0]["listeners"][0]["address"] for ps in seen]
    assert doors[0] == "127.0.0.1:8080"
    assert doors[1] != doors[0]
    assert [[f["code"] for f in ps["findings"]] for ps in seen] == [[], ["RT0505"]], "the second one's port was taken"
    for ps, nodes in zip(seen, (["node-1", "node-2"], ["node-1"]), strict=True):
        assert sorted(p["name"] for p in ps["processes"] if p["role"] == "envoy") == ["gw-default-door", *nodes]
    assert not {p["pid"] for p in seen[0]["processes"]} & {p["pid"] for p in seen[1]["processes"]}
    assert two.command("down").returncode == 0
    assert not two.state.exists()
    assert machine_mesh.traces(lone_host) == before
    one.works()
