"""A gateway's certificates as they are edited: the last good one serves, and what is wrong is said with its line."""

import base64
import ssl

import live
import pod_probes
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fronts import address, free_ports, gateway, listener, secret, shown, tagged, taken

from retic.testing import tls_pairs, wait

NAMES = ("a.keys.test", "b.keys.test")


def der(pair):
    return ssl.PEM_cert_to_DER_cert(pair[0].decode())


def findings(mesh, *codes):
    return [f for f in mesh.ps()["findings"] if f["code"] in codes and f["file"].endswith("keys.yaml")]


class Keys:
    """A Gateway with a listener for each name, each with a Secret of its own."""

    def __init__(self, mesh, port, *pairs):
        self.mesh, self.port, self.pairs = mesh, port, list(pairs)

    def objects(self):
        listeners = [listener(f"l{i}", self.port, name, [f"key-{i}"]) for i, name in enumerate(NAMES)]
        return [
            *(secret(f"key-{i}", pair) for i, pair in enumerate(self.pairs)),
            gateway("keys", *listeners), tagged("g-keys", "keys"),
        ]  # fmt: skip

    def write(self, number, pair):
        self.pairs[number] = pair
        live.write(self.mesh, "keys.yaml", *self.objects())

    def get(self, name):
        return taken(pod_probes.http(f"https://{name}:{self.port}/", resolve=f"127.0.0.1:{self.port}"))

    def shows(self, number, pair):
        wait.until(lambda: shown(self.port, NAMES[number]) == der(pair), f"{NAMES[number]} has its certificate")


@pytest.fixture
def keys(mesh):
    made = Keys(mesh, *free_ports(1), *(tls_pairs.pair(name) for name in NAMES))
    with live.file(mesh, "keys.yaml", *made.objects()):
        wait.until(lambda: address(mesh, "keys", made.port), "the gateway", seconds=15, every=0.2)
        wait.until(lambda: [made.get(name) for name in NAMES] == ["g-keys"] * 2, "its routes")
        yield made
    wait.until(lambda: address(mesh, "keys", made.port) is None, "the gateway goes", every=0.1)


def test_a_bad_edit_keeps_the_last_good_certificate(mesh, keys):
    good, other = keys.pairs[0], tls_pairs.pair(NAMES[0])
    for bad, said in (
        ((other[0], good[1]), "data[tls.key] does not fit the certificate in tls.crt; its last good state stays"),
        ((b"hunter2", good[1]), "data[tls.crt] has no certificate in PEM; its last good state stays"),
    ):
        keys.write(0, bad)
        found = wait.until(lambda s=said: [f for f in findings(mesh, "RT0011") if f["message"] == s], "it is said")
        assert (found[0]["object"], found[0]["severity"]) == ("Secret default/key-0", "error")
        field = said.split(" ")[0].removeprefix("data[").removesuffix("]")
        line = (mesh.folder / "keys.yaml").read_text().split("\n")[found[0]["line"] - 1]
        assert line.strip().startswith(f"{field}: ")
        assert shown(keys.port, NAMES[0]) == der(good)
        assert [keys.get(name) for name in NAMES] == ["g-keys"] * 2
        analyzed = mesh.command("analyze", "-f", str(mesh.folder / "keys.yaml"))
        assert analyzed.returncode == 1
        assert f"keys.yaml:{found[0]['line']}" in analyzed.stdout
        assert not findings(mesh, "RT0601", "RT0302")
        for text in (analyzed.stdout + analyzed.stderr, mesh.logs_of_processes()):
            assert "hunter2" not in text
            assert "PRIVATE KEY-----" not in text
            assert base64.b64encode(good[1]).decode()[40:80] not in text
    keys.write(0, other)
    keys.shows(0, other)
    wait.until(lambda: not findings(mesh, "RT0011"), "nothing is wrong any more")


def test_a_certificate_that_never_was_good_stops_its_own_listener_only(mesh):
    (port,) = free_ports(1)
    good, other = tls_pairs.pair(NAMES[0]), tls_pairs.pair(NAMES[1])
    made = Keys(mesh, port, good, (other[0], good[1]))
    with live.file(mesh, "keys.yaml", *made.objects()):
        wait.until(lambda: address(mesh, "keys", port), "the gateway", seconds=15, every=0.2)
        wait.until(lambda: made.get(NAMES[0]) == "g-keys", "the good one serves")
        assert shown(port, NAMES[1]) is None
        found = {f["code"]: f for f in findings(mesh, "RT0302", "RT0011", "RT0601")}
        assert set(found) == {"RT0302", "RT0011"}
        assert found["RT0302"]["object"] == "Gateway default/keys"
        assert found["RT0011"]["object"] == "Secret default/key-1"
        made.write(1, other)
        made.shows(1, other)
        assert [made.get(name) for name in NAMES] == ["g-keys"] * 2
        assert not findings(mesh, "RT0302", "RT0011", "RT0601")
    wait.until(lambda: address(mesh, "keys", port) is None, "the gateway goes", every=0.1)


def test_a_lapsed_certificate_is_served_and_said(mesh, keys):
    late = tls_pairs.pair(NAMES[0], begin=-7200, end=-3600)
    keys.write(0, late)
    keys.shows(0, late)
    found = wait.until(lambda: findings(mesh, "RT0306"), "it is said")
    assert (found[0]["object"], found[0]["severity"]) == ("Secret default/key-0", "warning")
    assert keys.get(NAMES[0]) == "g-keys"


def test_a_secret_of_another_type_is_no_certificate(mesh, keys):
    objects = keys.objects()
    objects[0]["type"] = "Opaque"
    live.write(mesh, "keys.yaml", *objects)
    wait.until(lambda: findings(mesh, "RT0302"), "it is said")
    wait.until(lambda: shown(keys.port, NAMES[0]) is None, "its listener is not served")
    assert keys.get(NAMES[1]) == "g-keys"


def test_several_certificates_of_one_listener(mesh):
    """Of another kind for clients that cannot do the first, and of another name by the name that is asked for."""
    (port,) = free_ports(1)
    long = rsa.generate_private_key(65537, 2048)
    pairs = {
        "several-ec": tls_pairs.pair("one.several.test"), "several-two": tls_pairs.pair("two.several.test"),
        "several-rsa": (tls_pairs.chain(long, "one.several.test"), tls_pairs.pem(long)),
    }  # fmt: skip
    objects = [secret(name, pair) for name, pair in pairs.items()]
    made = [gateway("several", listener("all", port, None, list(pairs))), tagged("r-several", "several")]
    with live.file(mesh, "several.yaml", *objects, *made):
        wait.until(lambda: address(mesh, "several", port), "the gateway", seconds=15, every=0.2)
        wait.until(lambda: shown(port, "one.several.test") == der(pairs["several-ec"]), "its first certificate")
        assert shown(port, "two.several.test") == der(pairs["several-two"])
        assert shown(port, "one.several.test", ciphers="ECDHE-RSA-AES128-GCM-SHA256") == der(pairs["several-rsa"])
        live.write(mesh, "several.yaml", *objects[1:], *made)
        wait.until(lambda: shown(port, "one.several.test") == der(pairs["several-rsa"]), "one goes, the others stay")
        assert shown(port, "two.several.test") == der(pairs["several-two"])
        assert [f["code"] for f in mesh.ps()["findings"] if f["object"] == "Gateway default/several"] == ["RT0302"]
    wait.until(lambda: address(mesh, "several", port) is None, "the gateway goes", every=0.1)
