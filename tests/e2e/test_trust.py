"""Keys and certificates: renewed without closing a connection, shown to nobody, given to nobody else."""

import base64
import json
import os
import pathlib
import subprocess
import sys

import pytest
import rough_load as load

from retic.cli import running
from retic.control import model
from retic.local import state
from retic.testing import outsider, wait

HELD = pathlib.Path(__file__).with_name("held.py")
CALLER = "spiffe://cluster.local/ns/default/sa/caller"
DEFAULT = "spiffe://cluster.local/ns/default/sa/default"


@pytest.fixture(scope="module")
def folder(rough):
    return state.folder(rough.name)


def ends(mesh, node, name):
    secrets = load.ask(mesh, model.AskProxy(proxy=node, section="secrets"))
    return next(s["not_after"] for s in secrets if s["name"] == name)


def peer_certificate(node, address, forged):
    """SHA-256 of the certificate that a pod's proxy shows on a new connection."""
    code = (
        "import socket, ssl, sys, hashlib, json\n"
        "made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
        "made.check_hostname, made.verify_mode = False, ssl.CERT_NONE\n"
        "made.set_alpn_protocols(['retic-http']); made.load_cert_chain(sys.argv[2], sys.argv[1])\n"
        "with made.wrap_socket(socket.create_connection((sys.argv[3], 8080), 5)) as s:\n"
        "    print(json.dumps(hashlib.sha256(s.getpeercert(True)).hexdigest()))\n"
    )
    return node.python(code, *forged, address)


def ask_past_the_kept(ask, known):
    """What so many requests at once saw that they needed a connection more than the proxies had kept."""
    for count in (12, 48, 192):
        answer = ask(count)
        if set(answer["fresh"]) - set(known):
            break
    return answer


def test_certificates_are_renewed_and_no_connection_is_closed(rough, folder, tmp_path):
    ps = rough.ps()
    node = outsider.place(ps, "agent", "node-2")
    address = next(p["ip"] for p in ps["pods"] if p["name"].startswith("one"))
    forged = outsider.Forger(tmp_path, folder / "ca").pair(CALLER)
    line = [sys.executable, "-m", "retic.cli", "exec", "-i", "--name", rough.name, "caller", "--"]
    with subprocess.Popen(
        [*line, sys.executable, str(HELD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as held:

        def ask(count):
            held.stdin.write(f"{count}\n")
            held.stdin.flush()
            answer = held.stdout.readline()
            assert answer, "a connection was closed"
            return json.loads(answer)

        try:
            before = ask(2)
            shown = peer_certificate(node, address, forged)
            old = [ends(rough, "node-1", CALLER), ends(rough, "node-2", f"server:{DEFAULT}")]

            def renewed():
                now = [ends(rough, "node-1", CALLER), ends(rough, "node-2", f"server:{DEFAULT}")]
                return all(a > b for a, b in zip(now, old, strict=True))

            wait.until(renewed, "both ends have new certificates", 30, every=0.2)
            after = ask_past_the_kept(ask, before["fresh"])
        finally:
            held.stdin.close()
            held.wait(10)
    assert after["tcp"] == before["tcp"], "the same connection from end to end"
    assert set(before["fresh"]) <= set(after["fresh"]), "connections between the proxies are kept, and used"
    assert set(after["fresh"]) - set(before["fresh"]), "new ones show the new certificate"
    assert peer_certificate(node, address, forged) != shown


CONTROL = """
import asyncio, json, sys
import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from retic.identity import certificate, client, spiffe
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
async def one(root, key, chain, port, kind, node="", url="", names=(), identity="", token=""):
    read = lambda file: open(file, "rb").read() if file else None
    channel = client.Channel(f"172.31.255.1:{port}", read(root), read(key), read(chain))
    try:
        if kind == "sign":
            wanted = certificate.request(certificate.new_key(), spiffe.parse(identity))
            return "signed " + (await channel.sign(identity, wanted)).certificate[:5]
        if kind == "enroll":
            wanted = certificate.request(certificate.new_key(), spiffe.client("cluster.local", node))
            return "signed " + (await channel.enroll(node, token, wanted)).certificate[:5]
        call = channel.channel.stream_stream(METHOD, discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            discovery_pb2.DeltaDiscoveryResponse.FromString)(timeout=8)
        try:
            await call.write(discovery_pb2.DeltaDiscoveryRequest(node=base_pb2.Node(id=node), type_url=url,
                resource_names_subscribe=list(names)))
            answer = await call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            answer = grpc.aio.EOF
        if answer == grpc.aio.EOF:
            return (await call.code()).name
        return {"has": [r.name for r in answer.resources], "not": list(answer.removed_resources)}
    except grpc.aio.AioRpcError as error:
        return error.code().name
    finally:
        await channel.close()
async def main():
    tries = json.loads(sys.argv[1])
    answers = await asyncio.gather(*(one(**options) for options in tries.values()))
    print(json.dumps(dict(zip(tries, answers))))
asyncio.run(main())
"""
_TYPES = "type.googleapis.com/envoy."
LISTENER = _TYPES + "config.listener.v3.Listener"
SECRET = _TYPES + "extensions.transport_sockets.tls.v3.Secret"


def test_the_control_plane_tells_everybody_their_own_only(rough, folder, tmp_path):
    ps = rough.ps()
    here = outsider.place(ps, "agent", "node-1")
    forger = outsider.Forger(tmp_path, folder / "ca")
    root = str(folder / "ca" / "root.pem")
    good = forger.pair("spiffe://cluster.local/retic/node/node-1")
    gateway = forger.pair("spiffe://cluster.local/retic/gateway/default/door")
    account = forger.pair(CALLER)
    bad = outsider.Forger(tmp_path, tmp_path / "own").pair("spiffe://cluster.local/retic/node/node-1")
    other = outsider.Forger(tmp_path, folder / "ca", "evil.example").pair("spiffe://evil.example/retic/node/node-1")
    listeners = {
        node: [r["name"] for r in load.ask(rough, model.AskProxy(proxy=node, section="listeners"))]
        for node in ("node-1", "node-2")
    }

    def ask(pair, kind="discovery", port=15010, **more):
        key, chain = pair or (None, None)
        return {"root": root, "key": key, "chain": chain, "kind": kind, "port": port, **more}

    mine = {"node": "node/node-1", "url": LISTENER, "names": listeners["node-1"][:1]}
    theirs = {**mine, "names": listeners["node-2"][:1]}
    door = {"url": SECRET, "names": ["tls/default/door"]}
    tries = {
        "own": ask(good, **mine),
        "own secret": ask(gateway, node="gateway/default/door", **door),
        "no certificate": ask(None, **mine),
        "another root": ask(bad, **mine),
        "another trust domain": ask(other, **mine),
        "a workload": ask(account, **mine),
        "as another node": ask(good, **{**theirs, "node": "node/node-2"}),
        "another node's": ask(good, **theirs),
        "a gateway's secret": ask(good, node="node/node-1", **door),
        "sign own": ask(good, "sign", identity=CALLER),
        "sign what another node runs": ask(good, "sign", identity=DEFAULT),
        "sign as another node": ask(good, "sign", identity="spiffe://cluster.local/retic/node/node-2"),
        "sign as the control plane": ask(good, "sign", identity="spiffe://cluster.local/retic/control"),
        "sign without a certificate": ask(None, "sign", identity=CALLER),
        "sign where none is asked for": ask(None, "sign", 15011, identity=CALLER),
        "discovery where none is asked for": ask(None, "discovery", 15011, **mine),
        "enrol with a wrong token": ask(None, "enroll", 15011, node="node/node-1", token="0" * 64),
        "enrol with another's token": ask(
            None, "enroll", 15011, node="node/node-2", token=(folder / "agents/node-1/token").read_text()
        ),
    }
    answers = here.python(CONTROL, json.dumps(tries))
    assert answers.pop("own") == {"has": mine["names"], "not": []}
    assert answers.pop("own secret") == {"has": door["names"], "not": []}
    assert answers.pop("sign own") == "signed -----"
    assert answers.pop("another node's") == {"has": [], "not": theirs["names"]}
    assert answers.pop("a gateway's secret") == {"has": [], "not": door["names"]}
    # INTERNAL: gRPC's word for a stream that the other end closed while something was written to it.
    refused = {"INTERNAL", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE", "UNIMPLEMENTED", "INVALID_ARGUMENT"}
    assert {name: answer for name, answer in answers.items() if answer not in refused} == {}


def test_no_private_key_is_shown(rough, folder):
    texts = {"ps": json.dumps(rough.ps())}
    for proxy in ("node-1", "node-2", "gateway/default/door"):
        for section in model.SECTIONS:
            texts[f"{proxy} {section}"] = json.dumps(load.ask(rough, model.AskProxy(proxy=proxy, section=section)))
    texts["table"] = rough.command("proxy", "node-1", "secrets").stdout
    texts["objects"] = rough.command("why", "gateway/default/door/18474").stdout
    texts |= {str(file): file.read_text(errors="replace") for file in (folder / "logs").iterdir()}
    texts |= {
        f"/proc/{p['pid']}/cmdline": pathlib.Path(f"/proc/{p['pid']}/cmdline").read_text()
        for p in rough.ps()["processes"]
    }
    assert "not_after" in texts["node-1 secrets"], "there is something to be shown"
    needles = {"PRIVATE KEY", base64.b64encode(b"-----BEGIN PRIVATE")[:20].decode()}
    secret = json.loads((rough.folder / "secret.yaml").read_text())["stringData"]["tls.key"]
    root = base64.b64decode(json.loads((folder / "ca/secret.json").read_text())["data"]["tls.key"]).decode()
    keys = [secret, root, *(file.read_text() for file in folder.glob("agents/*/cache/*/*.pem"))]
    for key in keys:
        needles.add(key.splitlines()[1])
        needles.add(base64.b64encode(key.encode())[40:100].decode())
    needles |= {(folder / "token.key").read_bytes().hex(), (folder / "agents/node-1/token").read_text()}
    assert len(needles) > 10
    assert [(name, needle) for name, text in texts.items() for needle in needles if needle in text] == []


# What containers read must be open to whatever user they run as, below a folder that is closed to others.
OPEN = ("sandboxes", "pods", "netns")


def test_nobody_else_may_look_into_the_state_folder(rough, folder):
    assert folder.stat().st_mode & 0o777 == 0o700
    wrong = {
        str(path): oct(path.lstat().st_mode)
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] not in OPEN and not path.is_symlink() and path.lstat().st_mode & 0o077
    }
    assert wrong == {}
    sockets = list(folder.rglob("*.sock"))
    assert len(sockets) >= 2 + 3 * 3
    if os.geteuid() == 0:
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(folder / running.CONTROL)!r})"
        done = subprocess.run(["python3", "-c", code], capture_output=True, text=True, user=65534, check=False)
        assert "PermissionError" in done.stderr
