"""A user's own intermediate, other trust domains, and certificates of every wrong sort: through real proxies."""

import json
import pathlib
import shutil
import urllib.request

import pytest
import rough_load
import test_attacks
import test_root_rotation
import test_trust

from retic.control import model
from retic.local import state
from retic.testing import authorities, outsider, running, wait

HERE = pathlib.Path(__file__).parent
OURS, OLD, PARTNER = "shop.example", "old.example", "partner.example"
CALLER = f"spiffe://{OURS}/ns/default/sa/caller"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The company's root and intermediate, and a partner's root, as files."""
    folder = tmp_path_factory.mktemp("authorities")
    root = authorities.root("company")
    shop, partner = root.below("shop", path_length=0), authorities.root("partner")
    files = {
        "ca-cert.pem": shop.chain, "root-cert.pem": root.pem, "partner.pem": partner.pem,
        "ca-key.pem": shop.key_pem,
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(text)
    return {"folder": folder, "root": root, "shop": shop, "partner": partner}


def options(folder):
    words = []
    for option, name in (("--ca-cert", "ca-cert.pem"), ("--ca-key", "ca-key.pem"), ("--ca-root", "root-cert.pem")):
        words += [option, str(folder / name)]
    return words


@pytest.fixture(scope="module")
def mesh(made, tmp_path_factory):
    manifests = tmp_path_factory.mktemp("own") / "manifests"
    shutil.copytree(HERE / "trust", manifests)
    partner = f"{PARTNER}={made['folder'] / 'partner.pem'}"
    extra = [*options(made["folder"]), "--trust-domain", OURS, "--trust-domain-alias", OLD, "--trusted-root", partner]
    with running.mesh(manifests, nodes=2, extra=extra) as started:
        yield started


def answers(mesh, tries, alpn):
    """What a caller with each of the pairs gets from pods of node-2, by name."""
    ps = mesh.ps()
    pod, port = ("web", 8080) if alpn == "retic-http" else ("others", 7000)
    address = next(p["ip"] for p in ps["pods"] if p["name"] == pod)
    asked = {
        name: {"host": address, "port": port, "tls": "TLSv1_3", "alpn": alpn, "key": key, "chain": chain}
        for name, (key, chain) in tries.items()
    }
    return outsider.place(ps, "agent", "node-1").python(test_attacks.KNOCK, json.dumps(asked))


def test_workloads_have_certificates_of_the_users_authority(mesh, made):
    status, body = mesh.curl("caller", "http://web/")
    assert status == 200
    assert json.loads(body)["headers"]["x-forwarded-client-cert"].endswith(f"URI={CALLER}")
    ca = state.folder(mesh.name) / "ca"
    assert (ca / "root.pem").read_bytes() == made["root"].pem
    with urllib.request.urlopen("http://127.0.0.1:18531/", timeout=5) as answer:
        assert f"URI=spiffe://{OURS}/" in json.loads(answer.read())["headers"]["x-forwarded-client-cert"]


def test_no_key_is_shown_or_kept_open(mesh, made):
    folder, needle = state.folder(mesh.name), made["shop"].key_pem.splitlines()[1].decode()
    texts = {str(file): file.read_text(errors="replace") for file in (folder / "logs").iterdir()}
    for process in mesh.ps()["processes"]:
        for part in ("cmdline", "environ"):
            texts[f"{process['role']} {part}"] = pathlib.Path(f"/proc/{process['pid']}/{part}").read_text()
    assert [name for name, text in texts.items() if needle in text or "PRIVATE KEY" in text] == []
    assert {oct(file.stat().st_mode & 0o777) for file in (folder / "ca").iterdir()} == {"0o600"}


@pytest.mark.parametrize("alpn", ["retic-http", "retic-tcp"])
def test_attackers_with_certificates_get_nothing(mesh, made, tmp_path, alpn):
    root, shop, partner = made["root"], made["shop"], made["partner"]
    there, pod = "spiffe://{}/ns/x/sa/y".format, f"spiffe://{OURS}/ns/default/sa/caller"
    partners = partner.below("partner's department")
    unknown = authorities.root("unknown")
    stolen = shop.leaf(pod)

    def pair(*arguments, by=shop, **more):
        return by.leaf(*arguments, **more).files(tmp_path)

    good = {
        "ours": pair(pod),
        "an alias": pair(there(OLD)),
        "the partner's": pair(there(PARTNER), by=partner),
        "the partner's intermediate": pair(there(PARTNER), by=partners),
        "the partner's, naming its issuer's number": pair(
            there(PARTNER), by=partner.below("another", full_key_id=True), full_key_id=True
        ),
    }
    bad = {
        "a trust domain that nobody accepts": pair(there("evil.example")),
        "upper case": pair(there(OURS.upper())),
        "one in upper case": pair(there("Shop.example")),
        "below ours": pair(there(f"x.{OURS}")),
        "ours, with a port": pair(there(f"{OURS}:443")),
        "the partner's from our authority": pair(there(PARTNER)),
        "ours from the partner": pair(pod, by=partner),
        "ours from the partner's intermediate": pair(pod, by=partners),
        "the alias from the partner": pair(there(OLD), by=partner),
        "the alias from nobody known": pair(there(OLD), by=unknown),
        "the partner's from nobody known": pair(there(PARTNER), by=unknown),
        "an expired intermediate": pair(pod, by=root.below("gone", begin=-7200, end=-3600)),
        "an intermediate of tomorrow": pair(pod, by=root.below("coming", begin=3600)),
        "an intermediate below ours": pair(pod, by=shop.below("too deep")),
        "an expired certificate": pair(pod, begin=-7200, end=-3600),
        "signed with a workload's certificate": pair(pod, by=stolen),
        "an authority's own certificate": shop.below("agent", pod).files(tmp_path),
        "two of ours": pair(there(OURS), pod),
        "two, the partner's first": pair(there(PARTNER), pod, by=partner),
        "two, ours first": pair(pod, there(PARTNER), by=partner),
        "the partner's, and ours as a DNS name": pair(there(PARTNER), by=partner, dns=[pod]),
        "ours, and another as a DNS name": pair(pod, dns=[there(OURS)]),
        "a DNS name only": pair(dns=["caller.shop.example"]),
        "no name at all": pair(),
        "a node's": pair(f"spiffe://{OURS}/retic/node/node-1"),
        "the partner's node": pair(f"spiffe://{PARTNER}/retic/node/node-1", by=partner),
        "no scheme of SPIFFE's": pair(f"https://{OURS}/ns/default/sa/caller"),
        "the trust domain alone": pair(f"spiffe://{OURS}"),
    }
    before, made_before = rough_load.processes(mesh), test_attacks.made(mesh)
    got = answers(mesh, bad, alpn)
    assert {name: answer for name, answer in got.items() if answer} == {}
    assert test_attacks.made(mesh) == made_before
    expected = "HTTP/1.1 200" if alpn == "retic-http" else ""
    got = answers(mesh, good, alpn)
    assert {name: answer for name, answer in got.items() if not answer or not answer.startswith(expected)} == {}
    assert rough_load.processes(mesh) == before, "nobody has fallen over"


def test_the_control_plane_takes_its_own_trust_domain_only(mesh, made, tmp_path):
    shop, partner = made["shop"], made["partner"]
    node = "spiffe://{}/retic/node/node-1".format
    pairs = {
        "right": shop.leaf(node(OURS)).files(tmp_path),
        "alias": shop.leaf(node(OLD)).files(tmp_path),
        "partner": partner.leaf(node(PARTNER)).files(tmp_path),
        "partner as ours": partner.leaf(node(OURS)).files(tmp_path),
        "two": shop.leaf(node(OURS), node(OLD)).files(tmp_path),
    }
    asked = {
        name: {"root": str(made["folder"] / "root-cert.pem"), "key": key, "chain": chain, "kind": "sign", "port": 15010,
               "identity": CALLER}
        for name, (key, chain) in pairs.items()
    }  # fmt: skip
    here = outsider.place(mesh.ps(), "agent", "node-1")
    got = here.python(test_trust.CONTROL, json.dumps(asked))
    assert got.pop("right") == "signed -----"
    refused = {"UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE"}
    assert {name: answer for name, answer in got.items() if answer not in refused} == {}


def drained(mesh):
    return {
        name: value
        for node in ("node-1", "node-2")
        for name, value in mesh.stats(node).items()
        if name.startswith("listener_manager.") and name.endswith(
            ("listener_modified", "listener_in_place_updated", "total_filter_chains_draining", "listener_removed")
        )
    }  # fmt: skip


def test_other_trust_domains_come_and_go_while_connections_stay(mesh, made, tmp_path):
    partner = made["folder"] / "partner.pem"
    caller = {
        "new": made["shop"].leaf("spiffe://new.example/ns/x/sa/y").files(tmp_path),
        "old": made["shop"].leaf(f"spiffe://{OLD}/ns/x/sa/y").files(tmp_path),
        "partner": made["partner"].leaf(f"spiffe://{PARTNER}/ns/x/sa/y").files(tmp_path),
    }
    before = drained(mesh)

    def accepted():
        return {name for name, answer in answers(mesh, caller, "retic-http").items() if answer}

    with test_root_rotation.conversation(mesh) as say:
        first = say()
        done = mesh.command("ca", "trust", "--trust-domain-alias", "new.example")
        assert (done.returncode, done.stdout) == (0, "new.example: an alias of the mesh's own trust domain\n")
        wait.until(lambda: accepted() == {"new"}, "the new alias is accepted, and nobody else", 10, every=0.1)
        again = ["--trust-domain-alias", OLD, "--trusted-root", f"{PARTNER}={partner}"]
        refused = mesh.command("ca", "trust", "--trust-domain-alias", PARTNER, *again)
        assert refused.returncode == 1
        assert f"the trust domain {PARTNER} is given twice" in refused.stderr
        assert accepted() == {"new"}, "nothing is half done"
        assert mesh.command("ca", "trust", *again).returncode == 0
        wait.until(lambda: accepted() == {"old", "partner"}, "the others are back", 10, every=0.1)
        last = say()
    # Every connection of the client has answered. Which ids servers may have stands in clusters, so that HTTP requests
    # go over new connections between the proxies; what is open otherwise stays where it is.
    assert last["tcp"] == first["tcp"]
    assert drained(mesh) == before
    assert mesh.curl("caller", "http://web/")[0] == 200


def test_the_partners_file_is_followed(mesh, made, tmp_path):
    file, again = made["folder"] / "partner.pem", authorities.root("partner, next")
    caller = {
        "old": made["partner"].leaf(f"spiffe://{PARTNER}/ns/x/sa/y").files(tmp_path),
        "new": again.leaf(f"spiffe://{PARTNER}/ns/x/sa/y").files(tmp_path),
    }
    file.write_bytes(made["partner"].pem + again.pem)
    wait.until(lambda: all(answers(mesh, caller, "retic-http").values()), "both roots count", 10, every=0.2)
    file.write_text("nonsense")
    finding = wait.until(
        lambda: next((f for f in rough_load.ask(mesh, model.AskFindings()) if f["code"] == "RT0432"), None),
        "the broken file is a finding", 10, every=0.1,
    )  # fmt: skip
    assert str(file) in finding["message"]
    assert all(answers(mesh, caller, "retic-http").values()), "the last good content is used"
    file.write_bytes(again.pem)
    wait.until(
        lambda: [bool(answer) for answer in answers(mesh, caller, "retic-http").values()] == [False, True],
        "the first root is gone", 10, every=0.2,
    )  # fmt: skip


def test_a_new_certificate_in_the_files_is_taken_as_a_rotation(mesh, made, tmp_path):
    folder, before = made["folder"], rough_load.ask(mesh, model.AskRoot())
    ordered = mesh.command("ca", "rotate")
    assert ordered.returncode == 1
    assert "the root is your own: write the new certificate and key into" in ordered.stderr
    company = authorities.root("company, next")
    shop = company.below("shop, next")
    (folder / "ca-cert.pem").write_bytes(shop.chain)
    broken = wait.until(
        lambda: next((f for f in rough_load.ask(mesh, model.AskFindings()) if f["code"] == "RT0431"), None),
        "half of a pair is a finding", 10, every=0.1,
    )  # fmt: skip
    assert str(folder / "ca-key.pem") in broken["message"]
    assert rough_load.ask(mesh, model.AskRoot())["signer"] == before["signer"]
    old = made["shop"].leaf(CALLER).files(tmp_path)
    (folder / "root-cert.pem").write_bytes(company.pem)
    (folder / "ca-key.pem").write_bytes(shop.key_pem)

    def over():
        now = rough_load.ask(mesh, model.AskRoot())
        return now["phase"] == "steady" and now["signer"] != before["signer"]

    wait.until(over, "the new authority signs, and the old root is gone", 30, every=0.2)
    assert not [f for f in rough_load.ask(mesh, model.AskFindings()) if f["code"] == "RT0431"]
    new = shop.leaf(CALLER).files(tmp_path)
    got = answers(mesh, {"old": old, "new": new}, "retic-http")
    assert [bool(got["old"]), bool(got["new"])] == [False, True]
    assert mesh.curl("caller", "http://web/")[0] == 200


def test_a_second_mesh_of_the_name_is_told_how_to_change_the_first(mesh, made):
    words = ["up", "-f", str(mesh.folder), "--trust-domain", OURS, *options(made["folder"])]
    done = mesh.command(*words)
    assert done.returncode == 1
    assert "runs already" in done.stderr
    assert "write a new certificate and key into them" in done.stderr
