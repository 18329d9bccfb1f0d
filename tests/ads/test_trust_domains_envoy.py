"""Which servers a proxy believes, as trust domains and roots come and go: a real Envoy, with secrets as of agents."""

import asyncio
import contextlib
import pathlib

import ads_envoy as proxy
import pytest
import test_capture_envoy as capture
from envoy.service.discovery.v3 import discovery_pb2

from retic import xds
from retic.identity import current
from retic.mesh import network
from retic.node import keys, secrets, trust
from retic.testing import authorities, clock
from retic.testing.wait import until_async

OURS, OLD, PARTNER = "shop.example", "old.example", "partner.example"
OWN, FOREIGN, UNKNOWN = (authorities.root(name) for name in ("own", "foreign", "unknown"))


def web(domain):
    return f"spiffe://{domain}/ns/default/sa/web"


@pytest.fixture
def told(tmp_path):
    (tmp_path / "root.pem").write_bytes(OWN.pem)
    return trust.Trust(tmp_path / "root.pem", tmp_path / "bundle.pem")


def root_secret(told, tmp_path):
    async def nobody(_identity, _request):
        raise OSError

    answering = secrets.Secrets(keys.Keys(tmp_path / "keys", nobody, time=clock.Fake()), None, told, OURS)
    return discovery_pb2.Resource.FromString(answering.answer(secrets.ROOT).resource).resource.value


def caller(tmp_path):
    paths = OWN.leaf(f"spiffe://{OURS}/ns/default/sa/c").files(tmp_path)
    return capture.secrets(pathlib.Path(paths[1]), paths)["none"]


def cluster(aliases):
    settings = network.Settings(trust_domain=OURS, trust_domain_aliases=aliases)
    return capture.cluster("c", network.identities(settings, "default", "web"))


async def test_servers_may_have_the_own_trust_domain_and_its_aliases(house, tmp_path, told):
    servers = {
        "ours": OWN.leaf(web(OURS)),
        "an alias": OWN.leaf(web(OLD)),
        "an alias from nobody known": UNKNOWN.leaf(web(OLD)),
        "ours from nobody known": UNKNOWN.leaf(web(OURS)),
        "ours from the partner": FOREIGN.leaf(web(OURS)),
        "the partner's": FOREIGN.leaf(web(PARTNER)),
        "the partner's from us": OWN.leaf(web(PARTNER)),
        "another account's": OWN.leaf(f"spiffe://{OURS}/ns/default/sa/other"),
        "one in upper case": OWN.leaf(web(OURS.upper())),
        "ended": OWN.leaf(web(OURS), begin=-7200, end=-3600),
    }
    front = tmp_path / "front.sock"
    house.put(xds.SECRET, root=root_secret(told, tmp_path), none=caller(tmp_path))
    house.put(xds.CLUSTER, c=cluster(()))
    house.put(xds.ROUTES, r=proxy.routes("r", ("*", {"route": {"cluster": "c", "timeout": "0s"}})))
    house.put(xds.LISTENER, front=proxy.listener("front", front, "r"))
    envoy = proxy.Proxy(tmp_path, tmp_path / "ads.sock", "DELTA_GRPC")
    async with contextlib.AsyncExitStack() as stack:
        await envoy.start()
        stack.push_async_callback(envoy.stop)
        await stack.enter_async_context(asyncio.timeout(60))
        started = {name: capture.Server(held.files(tmp_path)) for name, held in servers.items()}
        for server in started.values():
            server.start()
            stack.callback(server.close)

        async def believed():
            found = set()
            for name, server in started.items():
                house.put(xds.ENDPOINTS, web=capture.endpoint(server.port, secured=True))
                assert await house.server.settled(10)
                if await envoy.get("/", front) == "mTLS":
                    found.add(name)
            return found

        await until_async(front.exists, "the listener is there", seconds=20)
        assert await believed() == {"ours"}
        domains = (current.Domain(OLD), current.Domain(PARTNER, FOREIGN.pem.decode()))
        told.learn(OWN.pem, 1, domains)
        house.put(xds.SECRET, root=root_secret(told, tmp_path))
        house.put(xds.CLUSTER, c=cluster((OLD,)))
        assert await believed() == {"ours", "an alias"}, "a partner is for callers only"
        told.learn(OWN.pem, 2, ())
        house.put(xds.SECRET, root=root_secret(told, tmp_path))
        assert await believed() == {"ours"}, "the secret alone decides, too"
