"""Files that a pod finds: its account's token, its names, its resolver's settings."""

import base64
import json
import time

import live
import pytest
from test_workloads import idle, pod

from retic.local import state


def claims(text):
    body = text.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@pytest.fixture(scope="module")
def tokens(mesh):
    source = {"serviceAccountToken": {"path": "vault", "audience": "vault.example", "expirationSeconds": 600}}
    one = pod(
        "bearer", idle(volumeMounts=[{"name": "id", "mountPath": "/id"}]), serviceAccountName="c1",
        volumes=[{"name": "id", "projected": {"sources": [source]}}],
    )  # fmt: skip
    with live.file(mesh, "bearer.yaml", one):
        live.ready(mesh, "bearer")
        yield


def test_a_projected_token_is_the_pods_own(mesh, tokens):
    done = mesh.exec("bearer", "sh", "-c", "cat /id/vault; stat -Lc ' %a' /id/vault")
    text, mode = done.stdout.split()
    said = claims(text)
    assert (said["aud"], said["sub"]) == (["vault.example"], "system:serviceaccount:default:c1")
    assert said["exp"] - said["iat"] == 600
    assert said["iat"] <= time.time() < said["exp"]
    (made,) = live.objects(mesh, "Pod", "bearer")
    assert said["kubernetes.io"]["pod"] == {"name": "bearer", "uid": made.metadata.uid}
    (node,) = live.objects(mesh, "Node", made.spec.node_name)
    assert said["kubernetes.io"]["node"] == {"name": node.metadata.name, "uid": node.metadata.uid}
    assert mode == "644"


def test_the_signing_key_is_nobody_elses_and_in_no_log(mesh, tokens):
    folder = state.folder(mesh.name)
    assert (folder / "serviceaccount.key").stat().st_mode & 0o777 == 0o600
    assert mesh.exec("bearer", "ls", str(folder)).stdout == "", "a pod sees nothing of the state folder"
    text = mesh.exec("bearer", "cat", "/id/vault").stdout
    logs = "".join(path.read_text(errors="replace") for path in folder.rglob("*.log"))
    assert text.split(".")[2] not in logs
    assert "PRIVATE KEY" not in logs


def test_there_is_no_token_for_an_api_server_that_is_not_there(mesh, tokens):
    assert mesh.exec("bearer", "ls", "/var/run/secrets/kubernetes.io").returncode != 0
