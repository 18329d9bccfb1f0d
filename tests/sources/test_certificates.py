"""TLS Secrets: what Envoy would refuse is refused before, with its place; what has lapsed is said and served."""

import base64
import datetime
import importlib.util
import json
import subprocess

import hypothesis
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from hypothesis import strategies as st

from retic.cli import analyze
from retic.findings import Ref
from retic.objects import core, meta
from retic.sources import certificates, manifests, model
from retic.testing import tls_pairs

OWN, OTHER = tls_pairs.key(), tls_pairs.key()
CHAIN, KEY = tls_pairs.chain(OWN), tls_pairs.pem(OWN)
OTHERS = tls_pairs.chain(OTHER)
OLD = PrivateFormat.TraditionalOpenSSL
NO_SIGNING = (False, False, True, False, True, False, False, False, False)
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def made(private, **more):
    return tls_pairs.chain(private, **more), tls_pairs.pem(private)


GOOD = {
    "as made": (CHAIN, KEY),
    "an old form of key": (CHAIN, tls_pairs.pem(OWN, OLD)),
    "curve parameters": (CHAIN, PARAMETERS + tls_pairs.pem(OWN, OLD)),
    "P-384": made(ec.generate_private_key(ec.SECP384R1())),
    "P-521": made(ec.generate_private_key(ec.SECP521R1())),
    "RSA": made(rsa.generate_private_key(65537, 2048)),
    "RSA for key exchange": made(rsa.generate_private_key(65537, 2048), usage=NO_SIGNING),
    "Ed25519": made(ed25519.Ed25519PrivateKey.generate()),
    "a chain": (CHAIN + OTHERS, KEY),
    "text around": (b"Bag Attributes\n name: x\n" + CHAIN + b"end\n", b"Key Attributes: none\n" + KEY),
    "a key too many": (KEY + CHAIN, CHAIN + KEY),
    "lines of Windows": (CHAIN.replace(b"\n", b"\r\n"), KEY.replace(b"\n", b"\r\n")),
    "no last newline": (CHAIN.rstrip(), KEY.rstrip()),
    "expired": made(OWN, begin=-7200, end=-3600),
    "not yet valid": made(OWN, begin=3600, end=7200),
}

BAD = {
    "another key": (CHAIN, tls_pairs.pem(OTHER), "does not fit the certificate in tls.crt"),
    "another kind of key": (CHAIN, tls_pairs.pem(rsa.generate_private_key(65537, 2048)), "does not fit"),
    "another key first": (CHAIN, tls_pairs.pem(OTHER) + KEY, "does not fit"),
    "a chain from its end": (OTHERS + CHAIN, KEY, "in place 2, not first"),
    "no PEM for a chain": (b"hunter2", KEY, "tls.crt] has no certificate in PEM"),
    "no PEM for a key": (CHAIN, b"hunter2", "tls.key] has no private key in PEM"),
    "base64 twice": (base64.b64encode(CHAIN), base64.b64encode(KEY), "has no certificate in PEM"),
    "nothing": (b"", b"", "has no certificate in PEM"),
    "the key twice": (KEY, KEY, "has no certificate in PEM"),
    "the certificate twice": (CHAIN, CHAIN, "has no private key in PEM"),
    "a locked key": (CHAIN, tls_pairs.pem(OWN, password=b"hunter2"), "is encrypted"),
    "a locked old key": (CHAIN, tls_pairs.pem(OWN, OLD, b"hunter2"), "is encrypted"),
    "a cut chain": (CHAIN + OTHERS[:200], KEY, "indented or cut"),
    "a cut certificate": (CHAIN[:200], KEY, "indented or cut"),
    "a broken issuer": (
        CHAIN + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", KEY, "cannot be read",
    ),
    "a broken letter": (CHAIN[:60] + b"!!!!" + CHAIN[64:], KEY, "cannot be read"),
    "indented": (b"".join(b"  " + line for line in CHAIN.splitlines(True)), KEY, "indented or cut"),
    "an indented key": (CHAIN, b"   " + KEY, "indented or cut"),
    "a mark of byte order": (b"\xef\xbb\xbf" + CHAIN, KEY, "indented or cut"),
    "all on one line": (CHAIN.replace(b"\n", b" "), KEY, "indented or cut"),
    "a public key": (CHAIN, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no private key"),
    "P-224": (*made(ec.generate_private_key(ec.SECP224R1())), "curve secp224r1"),
    "another curve": (*made(ec.generate_private_key(ec.SECP256K1())), "curve secp256k1"),
    "short RSA": (*made(rsa.generate_private_key(65537, 1024)), "RSA key of 1024 bits"),
    "not for signing": (*made(OWN, usage=NO_SIGNING), "not for signing"),
}


def secret(chain, key, **more):
    data = {"tls.crt": base64.b64encode(chain).decode(), "tls.key": base64.b64encode(key).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "it"},
            "data": data, **more}  # fmt: skip


def loaded(tmp_path, *objects):
    file = tmp_path / "it.yaml"
    file.write_text(yaml.safe_dump_all(objects, sort_keys=False))
    return manifests.load([file])


def refused_by_envoy(tmp_path, chain, key):
    """Whether Envoy itself refuses the pair."""
    inline = {
        name: {"inline_bytes": base64.b64encode(text).decode()}
        for name, text in (("certificate_chain", chain), ("private_key", key))
    }
    kinds = "type.googleapis.com/envoy.extensions."
    context = {
        "@type": f"{kinds}transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [inline]},
    }
    echo = {"name": "echo", "typed_config": {"@type": f"{kinds}filters.network.echo.v3.Echo"}}
    chains = [{"filters": [echo], "transport_socket": {"name": "tls", "typed_config": context}}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    listeners = [{"name": "one", "address": address, "filter_chains": chains}]
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps({"static_resources": {"listeners": listeners}}))
    spec = importlib.util.find_spec("envoy._bin")
    envoy = f"{next(iter(spec.submodule_search_locations))}/envoy"
    done = subprocess.run(
        [envoy, "--mode", "validate", "-c", str(file), "--log-level", "critical"], capture_output=True, text=True,
        check=False,
    )
    assert done.returncode == 0 or "from <inline>" in done.stderr or "private key" in done.stderr, done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("name", GOOD)
def test_what_envoy_takes_is_taken(name, tmp_path):
    found = loaded(tmp_path, secret(*GOOD[name]))
    assert (found.findings, len(found.objects)) == ((), 1)
    assert not refused_by_envoy(tmp_path, *GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_what_envoy_refuses_is_refused_before(name, tmp_path):
    chain, key, said = BAD[name]
    found = loaded(tmp_path, secret(chain, key))
    assert found.objects == ()
    assert found.broken == (model.Broken(str(tmp_path / "it.yaml"), Ref("Secret", "default", "it")),)
    assert said in found.findings[0].message
    line = {"data[tls.crt]": 7, "data[tls.key]": 8}[found.findings[0].message.split(" ")[0]]
    assert (found.findings[0].code, found.findings[0].line) == ("RT0011", line)
    assert refused_by_envoy(tmp_path, chain, key)


@hypothesis.given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4), st.booleans()
)
def test_no_bytes_break_the_judge(changes, in_chain):
    body = bytearray(base64.b64decode(b"".join((CHAIN if in_chain else KEY).splitlines()[1:-1])))
    for where, value in changes:
        body[int(where * len(body))] = value
    label = b"CERTIFICATE" if in_chain else b"PRIVATE KEY"
    text = b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, base64.encodebytes(body), label)
    pair = (text, KEY) if in_chain else (CHAIN, text)
    assert all(wrong.field in ("tls.crt", "tls.key") for wrong in certificates.judge(*pair))
    value = core.Secret(meta.Metadata("it"), type="kubernetes.io/tls", data={"tls.crt": pair[0]})
    assert certificates.until_change({Ref("Secret", "", "it"): value}, datetime.datetime.now(datetime.UTC)) != 0


def test_an_unknown_version_is_a_fault():
    body = bytearray(base64.b64decode(b"".join(CHAIN.splitlines()[1:-1])))
    at = body.index(b"\xa0\x03\x02\x01\x02") + 4
    body[at] = 48
    text = b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % base64.encodebytes(body)
    assert [w.message for w in certificates.judge(text, KEY)] == ["has a certificate that cannot be read"]


def test_no_word_of_a_secret_is_said(tmp_path):
    for chain, key, _ in BAD.values():
        said = repr(loaded(tmp_path, secret(chain, key))) + repr(tuple(certificates.judge(chain, key)))
        for word in ("hunter2", "BEGIN CERT", "BEGIN PRIV", *(key + chain).decode("latin-1").split("\n")):
            assert len(word) < 8 or word.startswith("-") or word not in said


def test_a_field_is_missing_or_written_as_text(tmp_path):
    whole = secret(CHAIN, KEY)
    found = loaded(tmp_path, {**whole, "data": {"tls.crt": whole["data"]["tls.crt"]}})
    assert [(f.code, f.message.split(";")[0]) for f in found.findings] == [
        ("RT0007", "data[tls.key] is missing, and type kubernetes.io/tls needs it")
    ]
    found = loaded(tmp_path, {**whole, "data": {}, "stringData": {"tls.key": KEY.decode(), "tls.crt": "hunter2"}})
    assert found.findings[0].message.startswith("stringData[tls.crt] has no certificate in PEM")
    for other in (None, "Opaque"):
        found = loaded(tmp_path, {**secret(b"x", b"y"), "type": other})
        assert found.findings == (), "what is no certificate may hold anything"


def test_a_lapsed_certificate_is_a_warning_with_its_line(tmp_path):
    found = loaded(tmp_path, secret(*GOOD["expired"]), secret(*GOOD["not yet valid"], metadata={"name": "later"}))
    assert len(found.objects) == 2
    said = analyze.examine(found)
    assert [(f.code, f.severity.value, f.line, f.object) for f in said] == [
        ("RT0306", "warning", 7, "Secret default/it"), ("RT0306", "warning", 16, "Secret default/later"),
    ]
    assert "expired on 20" in said[0].message
    assert "is not valid before 20" in said[1].message


def test_the_next_change_of_a_lapse_is_known(tmp_path):
    found = loaded(tmp_path, secret(*GOOD["as made"]), secret(*GOOD["not yet valid"], metadata={"name": "later"}))
    objects = {each.ref: each.object for each in found.objects}
    now = datetime.datetime.now(datetime.UTC)
    seen = []
    for _ in range(4):
        seen.append([f.object[-5:] for f in certificates.lapsed(objects, {}, now)])
        wait = certificates.until_change(objects, now)
        if wait is None:
            break
        now += datetime.timedelta(seconds=wait)
    assert seen == [["later"], [], ["later"], ["lt/it", "later"]]
