"""Attacks on identity and on the mesh's own ports, from a node that was taken over and from ordinary pods."""

import json

import pytest
from tests.cluster import strict_objects as objects
from tests.cluster import test_life as life
from tests.cluster.installed import IMAGE

from retic.install import names
from retic.testing import wait

FORGED = "URI=spiffe://cluster.local/ns/default/sa/admin"

# What somebody does who is root in an agent's container: its key, its token, its own code.
AGENT = r"""
import asyncio, json, os, pathlib, sys
import grpc
from retic.identity import certificate, client, spiffe
from retic.node import listed
asked = json.loads(sys.argv[1])
host = os.environ['RETIC_CONTROLLER_SERVICE_HOST']
roots = pathlib.Path('/etc/retic/root/root.pem').read_bytes()
token = pathlib.Path('/var/run/secrets/retic.dev/token').read_text()
mine = f"node/{os.environ['NODE_NAME']}"
held = next(p for p in pathlib.Path('/run/retic/cache/own').iterdir() if p.is_file()).read_bytes()
begin = held.index(b'-----BEGIN CERTIFICATE-----')
key, chain = (held[:begin], held[begin:]) if begin else (held, held)
async def said(call):
    try:
        await call
        return 'signed'
    except grpc.aio.AioRpcError as error:
        return error.code().name
async def stream(channel, name):
    from envoy.service.discovery.v3 import discovery_pb2
    method = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources'
    call = channel.stream_stream(method, discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                                 discovery_pb2.DeltaDiscoveryResponse.FromString)(timeout=30)
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=listed.TYPE_URL, resource_names_subscribe=['pods'])
    request.node.id = name
    try:
        await call.write(request)
        answer = await call.read()
        if answer is grpc.aio.EOF:
            return str(await call.code())
        return [p.namespace + '/' + p.name for p in listed.decode(answer.resources[0].resource.value).pods.values()]
    except grpc.aio.AioRpcError as error:
        return error.code().name
async def main():
    found = {}
    for text in asked['sign']:
        channel = client.Channel(f'{host}:15010', roots, key, chain)
        other = spiffe.parse(text)
        found[text] = await said(channel.sign(text, certificate.request(certificate.new_key(), other)))
        await channel.close()
    for name in asked['enroll']:
        channel = client.Channel(f'{host}:15011', roots)
        one = spiffe.client('cluster.local', name)
        found[f'enroll {name}'] = await said(
            channel.enroll(name, token, certificate.request(certificate.new_key(), one)))
        await channel.close()
    for name in asked['stream']:
        channel = client.Channel(f'{host}:15010', roots, key, chain)
        found[f'stream {name}'] = await stream(channel.channel, name)
        await channel.close()
    print(json.dumps(found))
asyncio.run(main())
"""

# What a pod does that is nobody's agent: its tokens against both ports, connections without a certificate, floods.
STRANGER = r"""
import asyncio, json, pathlib, socket, ssl, sys, time
import grpc
from retic.identity import certificate, client, spiffe
host, roots, node = sys.argv[1], sys.argv[2].encode(), sys.argv[3]
tokens = {'its own': '/var/run/secrets/kubernetes.io/serviceaccount/token', 'of the audience': '/tokens/token'}
async def enroll(name, token):
    channel = client.Channel(f'{host}:15011', roots)
    one = spiffe.client('cluster.local', name)
    try:
        await channel.enroll(name, token, certificate.request(certificate.new_key(), one))
        return 'signed'
    except grpc.aio.AioRpcError as error:
        return error.code().name
    finally:
        await channel.close()
async def sign():
    channel = client.Channel(f'{host}:15010', roots)
    text = 'spiffe://cluster.local/ns/default/sa/default'
    try:
        await channel.sign(text, certificate.request(certificate.new_key(), spiffe.parse(text)))
        return 'signed'
    except grpc.aio.AioRpcError as error:
        return error.code().name
    finally:
        await channel.close()
async def flood(port):
    held = []
    for _ in range(400):
        try:
            one = socket.create_connection((host, port), 2); one.sendall(b'\x16\x03\x01' + b'x' * 50); held.append(one)
        except OSError:
            pass
    return held
async def main():
    found = {}
    for what, path in tokens.items():
        for name in (f'node/{node}', 'gateway/default/front'):
            found[f'{what} as {name}'] = await enroll(name, pathlib.Path(path).read_text())
    found['no certificate'] = await sign()
    held = [*await flood(15010), *await flood(15011), *await flood(15012)]
    found['garbage'] = await enroll(f'node/{node}', 'x' * 100)
    for one in held:
        one.close()
    print(json.dumps(found))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def mesh(installed, nodes):
    """A pod with its own account on each node."""
    with installed.namespace() as kube:
        for account in ("here", "there"):
            kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
        kube.apply(
            life.service("echo", {"app": "echo"}),
            life.echo("echo", nodes[0], serviceAccountName="here"),
            objects.sleeper("caller", IMAGE, nodes[1], serviceAccountName="there"),
        )
        kube.ready("echo", "caller")
        life.captured(kube, "echo", "caller")
        yield kube


def agent(system, node):
    found = system.get("pods", "-l", "app.kubernetes.io/component=node")["items"]
    return next(pod["metadata"]["name"] for pod in found if pod["spec"]["nodeName"] == node)


def test_a_node_that_was_taken_over_speaks_for_its_own_pods_only(installed, mesh, nodes):
    system, workload = installed.kubectl(), f"spiffe://cluster.local/ns/{mesh.namespace}/sa"
    asked = {
        "sign": [
            f"{workload}/here", f"{workload}/there", f"{workload}/default",
            "spiffe://cluster.local/ns/retic-system/sa/retic-controller",
            "spiffe://cluster.local/ns/kube-system/sa/coredns",
            f"spiffe://cluster.local/retic/node/{nodes[1]}", "spiffe://cluster.local/retic/control",
        ],
        "enroll": [f"node/{nodes[1]}", "gateway/default/front"],
        "stream": [f"node/{nodes[0]}", f"node/{nodes[1]}", "gateway/default/front"],
    }  # fmt: skip
    seen = json.loads(system.run("exec", agent(system, nodes[0]), "--", "python", "-c", AGENT, json.dumps(asked)))
    own = seen.pop(f"stream node/{nodes[0]}")
    assert f"{mesh.namespace}/echo" in own, own
    assert f"{mesh.namespace}/caller" not in own
    assert seen.pop(f"{workload}/here") == "signed"
    for name in asked["stream"][1:]:
        other = seen.pop(f"stream {name}")
        assert not isinstance(other, list) or f"{mesh.namespace}/caller" not in other, (name, other)
    assert set(seen.values()) <= {"PERMISSION_DENIED", "INVALID_ARGUMENT", "UNAUTHENTICATED"}, seen


def test_tokens_of_ordinary_pods_and_floods_get_nothing(installed, mesh, nodes):
    pod = objects.sleeper("stranger", IMAGE, nodes[1])
    pod["spec"]["volumes"] = [{"name": "token", "projected": {"sources": [
        {"serviceAccountToken": {"audience": "retic.dev", "expirationSeconds": 600, "path": "token"}}
    ]}}]  # fmt: skip
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "token", "mountPath": "/tokens"}]
    system = installed.kubectl()
    host = system.get("service", names.CONTROLLER)["spec"]["clusterIP"]
    roots = system.get("configmap", names.ROOT)["data"][names.ROOT_KEY]
    before = restarts(system)
    with installed.namespace({}) as kube:
        kube.apply(pod)
        kube.ready("stranger")
        seen = json.loads(kube.run("exec", "stranger", "--", "python", "-c", STRANGER, host, roots, nodes[1]))
    refused = {"PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert set(seen.values()) <= refused, seen
    system.run("wait", "--for=condition=Ready", "pod", "-l", "app.kubernetes.io/component=controller", "--timeout=110s")
    assert restarts(system) == before


def restarts(system):
    pods = system.get("pods", "-l", f"{names.PART_OF}=retic")["items"]
    return {pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods}


def test_the_sockets_of_a_node_are_shut_to_its_pods(installed, nodes):
    pod = objects.sleeper("mounts", IMAGE, nodes[0])
    pod["spec"]["volumes"] = [{"name": "run", "hostPath": {"path": "/run/retic"}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "run", "mountPath": "/host"}]
    code = """
import os, socket, json
found = {}
for name in ('cni.sock', 'agent.sock', 'a/admin.sock', 'a/xds.sock', 'b/admin.sock', 'pods.json', 'cache'):
    try:
        if name.endswith('.sock'):
            socket.socket(socket.AF_UNIX).connect(f'/host/{name}')
        else:
            os.listdir('/host/cache') if name == 'cache' else open(f'/host/{name}').read()
        found[name] = 'open'
    except PermissionError:
        found[name] = 'shut'
    except OSError as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""
    with installed.namespace({"pod-security.kubernetes.io/enforce": "privileged"}) as kube:
        kube.apply(pod)
        kube.ready("mounts")
        seen = json.loads(kube.python("mounts", code))
    assert set(seen.values()) == {"shut"}, seen


def test_network_policies_are_there(installed):
    found = installed.kubectl().get("networkpolicies")["items"]
    by_name = {one["metadata"]["name"]: one["spec"] for one in found}
    assert by_name["retic-default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert len(by_name) == 2


def test_headers_that_say_who_somebody_is_are_not_taken_from_plaintext(installed, mesh, nodes):
    """In PERMISSIVE, at ports that a Service declares HTTP: from outside the mesh, and from a pod in it."""
    text = objects.http("/", more=f"x-forwarded-client-cert: {FORGED}\r\nX_Forwarded_Client_Cert: {FORGED}\r\n")
    address = mesh.get("pod", "echo")["status"]["podIP"]
    service = mesh.get("service", "echo")["spec"]["clusterIP"]
    tries = {"pod": (address, 8080, text, None), "service": (service, 80, text, None)}
    with installed.namespace({"pod-security.kubernetes.io/enforce": "privileged"}) as kube:
        kube.apply(
            objects.sleeper("host", IMAGE, nodes[0], hostNetwork=True), objects.sleeper("other", IMAGE, nodes[1])
        )
        kube.ready("host", "other")
        seen = {name: objects.call(kube, name, tries, 20) for name in ("host", "other")}
    seen["in the mesh"] = objects.call(mesh, "caller", tries, 20)
    for name, answers in seen.items():
        for answer in answers.values():
            assert answer.startswith("HTTP/1.1 200"), (name, answer)
            assert "sa/admin" not in answer, (name, answer)
    assert all("/sa/there" in answer for answer in seen["in the mesh"].values())


def test_check_lists_what_strict_would_refuse_before_it_does(installed, mesh):
    def listed():
        found = next(one["message"] for one in life.checks(installed) if one["check"] == "strict")
        return f"{mesh.namespace}/echo: " in found and found

    wait.until(listed, "the plaintext of the test before is listed", 90, every=2)
    done = installed.attempt("upgrade", "--set=mode=STRICT", "--dry-run")
    assert done.returncode == 0
    assert f"STRICT will refuse what came in plaintext to {mesh.namespace}/echo: " in done.stdout + done.stderr
