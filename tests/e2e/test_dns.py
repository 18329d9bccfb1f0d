"""Names as a cluster gives them, asked from pods of both nodes."""

import pytest

ZONE = "cluster.local"


@pytest.fixture(scope="module")
def known(mesh):
    """Pods' and Services' addresses by name."""
    ps = mesh.ps()
    return {p["name"]: p["ip"] for p in ps["pods"]} | {f"svc/{s['name']}": s["address"] for s in ps["services"]}


@pytest.fixture(params=["near", "far"])
def pod(request):
    """A pod of each node."""
    return request.getfixturevalue(request.param)


FULL = f"site.default.svc.{ZONE}"


@pytest.mark.parametrize("name", ["site", "site.default", "site.default.svc", FULL, f"{FULL}."])
def test_a_service_by_short_namespaced_and_full_names(pod, known, name):
    assert pod.resolve(name)["addresses"] == [known["svc/site"]]


def test_short_names_are_of_the_pods_own_namespace(guest, known):
    assert guest.resolve("site")["addresses"] == ["error -2"]
    assert guest.resolve("site.default")["addresses"] == [known["svc/site"]]
    assert guest.resolve("quiet")["addresses"] == [known["svc/quiet"]]
    assert guest.http("http://site.default/")["status"] == 200


def test_a_headless_service_is_its_pods(pod, known):
    assert pod.resolve("db")["addresses"] == sorted([known["db-0"], known["db-1"]])


def test_members_of_a_stateful_set_have_names(pod, known):
    for member in ("db-0", "db-1"):
        assert pod.resolve(f"{member}.db")["addresses"] == [known[member]]
        answer = pod.say(f"{member}.db", 3306)
        assert answer["lines"][0].startswith(f"{member} "), "each name reaches its own pod"


@pytest.mark.parametrize("tcp", [False, True])
def test_srv_records_name_port_and_target(pod, tcp):
    got = pod.ask(f"_mysql._tcp.db.default.svc.{ZONE}", "SRV", tcp=tcp)
    assert [r.split()[3:] for r in got["records"]] == [["3306", f"db-{i}.db.default.svc.{ZONE}."] for i in (0, 1)]
    got = pod.ask(f"_http-alt._tcp.site.default.svc.{ZONE}", "SRV", tcp=tcp)
    assert [r.split()[3:] for r in got["records"]] == [["8000", f"site.default.svc.{ZONE}."]]


def test_an_external_name_inside_is_followed_and_reached(pod, known):
    assert pod.resolve("alias")["addresses"] == [known["svc/site"]]
    got = pod.ask(f"alias.default.svc.{ZONE}")
    assert got["records"] == [f"A {known['svc/site']}", f"CNAME site.default.svc.{ZONE}."]
    assert pod.http("http://alias/")["json"]["name"] == "site"


def test_an_external_name_outside_fails_soon_when_it_cannot_be_resolved(pod):
    got = pod.ask(f"elsewhere.default.svc.{ZONE}")
    assert got["rcode"] in ("NXDOMAIN", "SERVFAIL")
    assert got["seconds"] < 5
    assert "CNAME nowhere.invalid." in got["records"] or got["rcode"] == "SERVFAIL"


def test_addresses_lead_back_to_names(pod, known):
    assert pod.reverse(known["svc/site"]) == f"site.default.svc.{ZONE}"
    assert pod.reverse(known["db-1"]) == f"db-1.db.default.svc.{ZONE}"


def test_there_is_no_ipv6_address_and_that_is_said_at_once(pod):
    got = pod.ask(f"site.default.svc.{ZONE}", "AAAA")
    assert (got["rcode"], got["records"]) == ("NOERROR", [])
    assert got["seconds"] < 4
    assert pod.resolve("site")["seconds"] < 4


def test_names_that_do_not_exist(pod):
    for name in ("nobody", "db-7.db", "site.nowhere"):
        assert pod.resolve(name)["addresses"] == ["error -2"]
    assert pod.ask(f"nobody.default.svc.{ZONE}")["rcode"] == "NXDOMAIN"


def test_large_answers_come_over_tcp(near, known):
    assert near.ask(f"site.default.svc.{ZONE}", tcp=True)["records"] == [f"A {known['svc/site']}"]


def test_a_pod_has_its_own_name(mesh, known):
    done = mesh.exec("db-0", "sh", "-c", "hostname; hostname -f; hostname -i")
    assert done.stdout.split() == ["db-0", f"db-0.db.default.svc.{ZONE}", known["db-0"]]
