"""Who may open a discovery stream, over real mutual TLS."""

import datetime
import ipaddress

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from retic import ads, graph, xds
from retic.testing import discovery
from retic.testing.wait import until_async

START = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)


def named(name):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


class Authority:
    """A root and what it signs."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.pem = self.sign("root", self.key, x509.BasicConstraints(ca=True, path_length=None))

    def sign(self, subject, key, *extensions):
        builder = x509.CertificateBuilder(
            named("root"), named(subject), key.public_key(), x509.random_serial_number(),
            START, START + datetime.timedelta(days=1),
        )  # fmt: skip
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def leaf(self, *names):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, self.sign("leaf", key, x509.SubjectAlternativeName(names))


@pytest.fixture
async def mutual():
    """The server over TLS, and a function that connects with a certificate of these URIs."""
    authority = Authority()
    store = graph.Graph()
    store.commit([graph.Set(discovery.RESOURCES, discovery.Key(xds.CLUSTER, "a"), b"1")])
    server = ads.Server(store, discovery.resource, discovery.names, discovery.scope)
    rpc = grpc.aio.server()
    rpc.add_generic_rpc_handlers(server.handlers())
    own = authority.leaf(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    credentials = grpc.ssl_server_credentials([own], authority.pem, require_client_auth=True)
    port = rpc.add_secure_port("127.0.0.1:0", credentials)
    await rpc.start()
    clients = []

    async def connect(*uris, says="node/node-1"):
        names = [x509.UniformResourceIdentifier(uri) for uri in uris] or [x509.DNSName("nobody")]
        client_credentials = grpc.ssl_channel_credentials(authority.pem, *authority.leaf(*names))
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", client_credentials)
        client = discovery.Client(channel, says)
        clients.append((client, channel))
        await client.connect()
        await client.subscribe(xds.CLUSTER, "a")
        return client

    yield connect
    for client, channel in clients:
        await client.disconnect()
        await channel.close()
    await rpc.stop(None)


@pytest.mark.parametrize("name", ["node/node-1", "gateway/shop/web"])
async def test_a_client_is_who_its_certificate_says(mutual, name):
    client = await mutual(f"spiffe://cluster.local/retic/{name}", says=name)
    await until_async(lambda: client.names(xds.CLUSTER) == {"a"}, "the cluster")


@pytest.mark.parametrize(
    ("uris", "code"),
    [
        (("spiffe://cluster.local/retic/node/node-2",), grpc.StatusCode.PERMISSION_DENIED),
        (("spiffe://other.domain/retic/node/node-1",), grpc.StatusCode.UNAUTHENTICATED),
        (("spiffe://cluster.local/ns/shop/sa/web",), grpc.StatusCode.UNAUTHENTICATED),
        (("spiffe://cluster.local/retic/control",), grpc.StatusCode.UNAUTHENTICATED),
        ((), grpc.StatusCode.UNAUTHENTICATED),
        (
            ("spiffe://cluster.local/retic/node/node-1", "spiffe://cluster.local/retic/node/node-2"),
            grpc.StatusCode.UNAUTHENTICATED,
        ),
    ],
)
async def test_others_are_refused(mutual, uris, code):
    client = await mutual(*uris)
    assert (await client.failure())[0] is code
    assert client.log == []
