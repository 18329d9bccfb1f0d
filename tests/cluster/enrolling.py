"""An API server's pods and tokens, and an authority before it: what attacks on enrolment are made with."""

import base64
import contextlib
import json
import pathlib
import time
import uuid

import grpc
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from retic import findings, objects, wiring
from retic import graph as graphs
from retic.identity import certificate, client, spiffe
from retic.kube import agents, bound, review, tokens
from retic.mesh import network, tables
from retic.sources import api
from retic.testing import upstream

AUDIENCE = "retic.dev"
__all__ = ["agents", "client"]


class Rig:
    """A cluster's API, the graph of its pods, and an authority on real ports of 127.0.0.1."""

    def __init__(self, cluster, folder, keys, signer=None):
        self.cluster, self.keys = cluster, keys
        self.db = wiring.mesh(network.Settings())
        self.reviews = review.Reviews(cluster, time.monotonic)
        self.tokens = tokens.Tokens(self.reviews, self.db, "cluster.local")
        self.bound = bound.Bound(wiring.Holders(self.db), self.db, "cluster.local")
        self.control = upstream.Control(folder / "ca", may_enroll=self.tokens, may_hold=self.bound, signer=signer)

    @property
    def refused(self):
        """The refusals that there were, by reason."""
        return {k.value: v for k, v in self.control.certificates.counts.refused.items() if v}

    async def namespace(self, name):
        await self._there("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name}})

    async def node(self, name):
        await self._there("/api/v1/nodes", {"kind": "Node", "metadata": {"name": name}})

    async def account(self, namespace, name):
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        await self._there(path, {"kind": "ServiceAccount", "metadata": {"name": name}})

    async def _there(self, path, body):
        try:
            await self.cluster.create(path, {"apiVersion": "v1", **body})
        except api.ApiError as error:
            if error.status != 409:
                raise

    async def pod(self, namespace, account, node, *, labels=None, annotations=None, known=True):
        """A new pod as the API server has it; in the graph as well when `known`."""
        await self.namespace(namespace)
        await self.node(node)
        await self.account(namespace, account)
        made = await self.cluster.create(
            f"/api/v1/namespaces/{namespace}/pods",
            {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": f"pod-{uuid.uuid4().hex[:8]}", "labels": labels or {}, "annotations": annotations or {},
                },
                "spec": {
                    "serviceAccountName": account, "nodeName": node, "terminationGracePeriodSeconds": 0,
                    "hostNetwork": account == "retic-node",
                    "containers": [{"name": "c", "image": "none", "ports": []}],
                },
            },
        )  # fmt: skip
        if known:
            self.learn(made)
        return made

    def agent(self, node, **more):
        return self.pod("retic-system", "retic-node", node, **more)

    def gateway(self, namespace, name, node="n1", **more):
        labels = {tables.GATEWAY_LABEL: name, "app.kubernetes.io/managed-by": "retic"}
        annotations = {tables.ROLE_ANNOTATION: "gateway"}
        return self.pod(namespace, f"{name}-retic", node, labels=labels, annotations=annotations, **more)

    def learn(self, pod):
        """The news of a pod."""
        ref = findings.Ref("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
        self.db.commit(tables.changes(ref, objects.decode({**pod, "apiVersion": "v1", "kind": "Pod"})))

    def forget(self, pod):
        """The news that a pod is gone."""
        self.db.commit([graphs.Delete(tables.PODS, tables.Key(pod["metadata"]["namespace"], pod["metadata"]["name"]))])

    async def delete(self, pod):
        await self.cluster.delete(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}")

    async def token(self, pod, *, audience=AUDIENCE):
        """A token as the kubelet projects it: for the audience, bound to the pod."""
        reference = {
            "apiVersion": "v1", "kind": "Pod",
            "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
        }  # fmt: skip
        return await self.token_of(
            pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"], audience=audience, bound=reference
        )

    async def token_of(self, namespace, account, *, audience=AUDIENCE, bound=None):
        spec = {"audiences": [audience] if audience else [], "expirationSeconds": 600}
        if bound:
            spec["boundObjectRef"] = bound
        answer = await self.cluster.create(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        return answer["status"]["token"]

    def forged(self, token, **changed):
        """The token with other claims, signed with the API server's own key, as if that had been stolen."""
        head, body, _ = token.split(".")
        claims = {**json.loads(_decode(body)), **changed}
        signed = f"{head}.{_encode(json.dumps(claims).encode())}"
        return f"{signed}.{_encode(_sign(self.keys / 'service-accounts.key', signed.encode()))}"


def altered(token, **changed):
    """The token with other claims and the signature that it had."""
    head, body, signature = token.split(".")
    return f"{head}.{_encode(json.dumps({**json.loads(_decode(body)), **changed}).encode())}.{signature}"


def claims(token):
    return json.loads(_decode(token.split(".")[1]))


def _decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _sign(file, data):
    key = serialization.load_pem_private_key(pathlib.Path(file).read_bytes(), None)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Caller:
    """An agent's side: one key and, once enrolled, its certificate."""

    def __init__(self, rig, client_id):
        self.rig, self.client_id = rig, client_id
        self.identity = spiffe.client("cluster.local", client_id)
        self.key, self.chain = certificate.new_key(), None

    async def enroll(self, token, request=None):
        control = self.rig.control
        async with _channel(control.enrol_port, control.authority.bundle()) as channel:
            asked = request or certificate.request(self.key, self.identity)
            answer = await channel.enroll(self.client_id, token, asked)
        self.chain = answer.certificate.encode()
        return answer

    async def sign(self, identity, request=None):
        control = self.rig.control
        key = certificate.key_pem(self.key)
        async with _channel(control.port, control.authority.bundle(), key, self.chain) as channel:
            asked = request or certificate.request(certificate.new_key(), spiffe.parse(identity))
            return await channel.sign(identity, asked)


@contextlib.asynccontextmanager
async def _channel(port, *options):
    made = client.Channel(f"127.0.0.1:{port}", *options)
    try:
        yield made
    finally:
        await made.close()


async def refused(awaitable, code, text):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    assert caught.value.code() is code, caught.value.details()
    assert text in caught.value.details()
