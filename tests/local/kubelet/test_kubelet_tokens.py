"""Service account tokens: what they say, who can check them, how they are kept and renewed."""

import base64
import json
import pathlib

import pytest
from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from kubelet_machine import shell

from retic.local.kubelet import tokens

MOUNT = [{"name": "id", "mountPath": "/id"}]


def source(path="token", **more):
    return {"serviceAccountToken": {"path": path, **more}}


def volume(*sources, **more):
    return [{"name": "id", "projected": {"sources": list(sources), **more}}]


def folder(machine):
    return pathlib.Path(machine.fabric.volumes["one"][0].source)


def part(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def checked(text, public):
    """A token's header and claims, as somebody who has the public key reads them."""
    head, body, signature = text.split(".")
    raw = part(signature)
    pair = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key = serialization.load_pem_public_key(public.read_bytes())
    key.verify(pair, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    return json.loads(part(head)), json.loads(part(body))


async def test_a_token_says_who_the_pod_is(stopped):
    machine, time = stopped
    machine.put("ServiceAccount", "reader", {})
    machine.run(
        "one", shell("sleep 60", volumeMounts=MOUNT), serviceAccountName="reader",
        volumes=volume(source(audience="vault", expirationSeconds=700), source("deep/other")),
    )  # fmt: skip
    await machine.until_ready("one")
    text = (folder(machine) / "token").read_text()
    head, claims = checked(text, machine.folder / "serviceaccount.pub")
    assert head["alg"] == "ES256"
    now = int(time.now().timestamp())
    assert (claims["aud"], claims["iat"], claims["nbf"], claims["exp"]) == (["vault"], now, now, now + 700)
    assert claims["sub"] == "system:serviceaccount:default:reader"
    bound = claims["kubernetes.io"]
    assert bound["namespace"] == "default"
    assert bound["pod"] == {"name": "one", "uid": "one"}
    assert bound["serviceaccount"] == {"name": "reader", "uid": "uid-reader"}
    assert bound["node"]["name"] == "node-1"
    _, other = checked((folder(machine) / "deep/other").read_text(), machine.folder / "serviceaccount.pub")
    assert (other["aud"], other["exp"]) == ([tokens.ISSUER], now + 3600)
    assert other["jti"] != claims["jti"]


async def test_a_forged_token_does_not_pass(stopped):
    machine, _ = stopped
    text = tokens.Issuer.open(machine.folder).sign({"sub": "a"})
    head, _, signature = text.split(".")
    forged = f"{head}.{base64.urlsafe_b64encode(b'{}').decode().rstrip('=')}.{signature}"
    with pytest.raises(exceptions.InvalidSignature):
        checked(forged, machine.folder / "serviceaccount.pub")


async def test_a_token_is_renewed_in_place_before_it_ends(stopped):
    machine, time = stopped
    machine.run("one", shell("sleep 60", volumeMounts=MOUNT), volumes=volume(source(expirationSeconds=1000)))
    await machine.until_ready("one")
    file = folder(machine) / "token"
    first = file.read_text()
    machine.wanted["one"].metadata.labels["seen"] = "again"  # volumes are looked at, the token stays
    machine.put("ConfigMap", "other", {})
    assert file.read_text() == first
    time.advance(799)
    machine.sync()
    assert file.read_text() == first
    await machine.until(lambda: time.waiting, "the renewal is waited for")
    time.advance(1)
    await machine.until(lambda: file.read_text() != first, "another token")
    _, claims = checked(file.read_text(), machine.folder / "serviceaccount.pub")
    assert claims["exp"] == int(time.now().timestamp()) + 1000


async def test_a_token_that_would_hold_for_a_year_is_renewed_each_day(stopped):
    machine, time = stopped
    machine.run("one", shell("sleep 60", volumeMounts=MOUNT), volumes=volume(source(expirationSeconds=31_536_000)))
    await machine.until_ready("one")
    first = (folder(machine) / "token").read_text()
    await machine.until(lambda: time.waiting, "the renewal is waited for")
    time.advance(86400)
    await machine.until(lambda: (folder(machine) / "token").read_text() != first, "another token")


@pytest.mark.parametrize(("more", "pod", "user", "mode"), [
    ({}, {}, None, 0o644), ({"defaultMode": 0o440}, {}, None, 0o440), ({}, {"fsGroup": 7}, None, 0o600),
    ({}, {"runAsUser": 7}, None, 0o600), ({}, {"runAsUser": 7}, 8, 0o644), ({}, {}, 8, 0o644),
])  # fmt: skip
async def test_a_tokens_file_is_as_open_as_kubelet_makes_it(stopped, more, pod, user, mode):
    """`user`: of the second container; one user for all containers makes the file private."""
    machine, _ = stopped
    second = {"securityContext": {"runAsUser": user}} if user else {}
    containers = [shell("sleep 60", volumeMounts=MOUNT), shell("sleep 60", "other", **second)]
    machine.run("one", *containers, securityContext=pod, volumes=volume(source(), **more))
    await machine.until_ready("one")
    assert (folder(machine) / "token").stat().st_mode & 0o777 == mode


def test_the_key_is_kept_private_and_used_again(tmp_path):
    first = tokens.Issuer.open(tmp_path)
    assert (tmp_path / "serviceaccount.key").stat().st_mode & 0o777 == 0o600
    again = tokens.Issuer.open(tmp_path)
    heads = {json.loads(part(issuer.sign({}).split(".")[0]))["kid"] for issuer in (first, again)}
    assert len(heads) == 1
    assert "PRIVATE" not in repr(first) + repr(vars(first))
