"""A user without rights runs the same mesh."""

import json
import sys

import live
import pytest
from test_pod_files import SERVE, ask
from test_workloads import idle, pod

from retic.testing import machine, outsider, wait


@pytest.fixture
def host(lone_host):
    return lone_host


@pytest.fixture
def mesh(lone):
    return lone


def test_pods_and_the_machine_reach_what_they_should(mesh):
    ps = mesh.works()
    envoys = sorted(p["name"] for p in ps["processes"] if p["role"] == "envoy")
    assert envoys == ["gw-default-door", "node-1", "node-2"]
    assert all(p["ready"] for p in ps["pods"])
    assert ps["findings"] == []


def test_the_caller_is_seen_by_its_address(mesh):
    ip = next(p["ip"] for p in mesh.ps()["pods"] if p["name"] == "client")
    assert json.loads(mesh.curl("client", "http://server/")[1])["peer"].startswith(f"{ip}:")


def test_nothing_of_it_is_roots(mesh, host):
    for each in mesh.ps()["processes"]:
        with open(f"/proc/{each['pid']}/status") as file:
            uids = next(line for line in file if line.startswith("Uid:")).split()[1:]
        assert set(uids) == {str(host.user)}, each
    assert mesh.state.stat().st_uid == host.user
    assert mesh.state.is_relative_to(host.runtime)


def test_files_of_volumes_and_logs(mesh):
    assert mesh.exec("server", "cat", "/srv/words/word").stdout == "hello"
    assert mesh.exec("server", "sh", "-c", "echo kept > /srv/room/file; cat /srv/room/file").stdout == "kept\n"
    assert "listening 0.0.0.0:8080" in mesh.command("logs", "server").stdout


def test_an_edit_is_live(mesh):
    file = mesh.folder / "mesh.yaml"
    text = file.read_text()
    file.write_text(text.replace("metadata: {name: server}\nspec:", "metadata: {name: renamed}\nspec:"))
    wait.until(lambda: mesh.curl("client", "http://renamed/")[0] == 200, "the new name answers", 15)
    file.write_text(text)
    wait.until(lambda: mesh.curl("client", "http://server/")[0] == 200, "the old name answers", 15)


def test_an_outsider_gets_nothing_in_plaintext(mesh):
    ps = mesh.ps()
    ip = next(p["ip"] for p in ps["pods"] if p["name"] == "server")
    for role, name in (("agent", "node-1"), ("agent", "node-2"), ("cluster", "cluster")):
        where = outsider.place(ps, role, name)
        tried = where.popen("curl", "-s", "-m", "5", f"http://{ip}:8080/")
        out, _ = tried.communicate(timeout=20)
        assert (out, tried.returncode != 0) == ("", True)


def test_a_nameserver_outside_is_asked_over_udp_and_tcp(mesh, host):
    """On a machine of the test's own, which has the address outside."""
    with outsider.Somewhere(host.holder).popen(sys.executable, "-c", SERVE, machine.OUTSIDE) as serving:
        try:
            assert serving.stdout.readline().strip() == "serving"
            config = {"nameservers": [machine.OUTSIDE]}
            one = pod("abroad", idle(), dnsPolicy="None", dnsConfig=config)
            with live.file(mesh, "abroad.yaml", one):
                live.ready(mesh, "abroad")
                for over, last in (("udp", "1"), ("tcp", "2")):
                    said = ask(mesh, "abroad", machine.OUTSIDE, "any.example", over)
                    assert said == ["NOERROR", f"198.51.100.{last}"]
                done = mesh.exec("abroad", "getent", "ahostsv4", "some.example")
                assert done.stdout.split()[0] == "198.51.100.1"
        finally:
            serving.kill()
