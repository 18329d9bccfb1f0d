"""Taps and failed requests of a mesh on this machine: its agents' sockets, and no Envoy."""

import asyncio
import contextlib
import json

import msgspec
import pytest

from retic import wiring
from retic.answers import agents, responses, tap_headers, taps
from retic.control import model, service
from retic.explain.request import world
from retic.local import workloads
from retic.mesh import network, tables
from retic.sources import manifests, store, stream
from retic.telemetry import calls, words
from retic.testing import agent_ends, wait

MANIFEST = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: none, command: [sleep, "1"]}]}
"""
WEB = model.End("workload", "shop", "web")


class Proxies:
    """Stands for the discovery service: proxies hear of everything at once."""

    def __init__(self):
        self.asked = 0

    async def settled(self, seconds):
        self.asked += 1
        return True


class Mesh:
    def __init__(self, folder):
        file = folder / "shop.yaml"
        file.write_text(MANIFEST)
        given = workloads.identified(located.object for located in manifests.load([file]).objects)
        objects = {**given, **workloads.offline(given, nodes=("node-1",)).objects}
        self.db = wiring.mesh(network.Settings())
        self.kept = store.Store(self.db, tables.changes)
        self.kept.apply([stream.Change(ref.kind, ref.namespace, ref.name, value) for ref, value in objects.items()])
        (self.pod,) = [value.metadata.uid for ref, value in objects.items() if ref.kind == "Pod"]
        self.news = asyncio.Condition()
        self.proxies = Proxies()
        self.agents = agents.Sockets(folder)
        self.headers = tap_headers.Noted(self.db, self.proxies)
        self.taps = taps.Taps(self.agents, self.db, self.kept, self.headers, self.news)
        own = folder / "agents" / "node-1"
        own.mkdir(parents=True)
        (own / "agent.json").write_text(json.dumps({"id": "node/node-1"}))
        self.agent = agent_ends.Agent(own, [self.pod])

    def observed(self, namespace="shop"):
        found = self.db.get(tables.OBSERVED, tables.Key("", namespace))
        return found.headers if found else ()


@pytest.fixture
async def mesh(tmp_path):
    made = Mesh(tmp_path)
    async with made.agent:
        yield made


def tapped(mesh, **asked):
    return contextlib.aclosing(mesh.taps.tap(model.AskTap(source=WEB, **asked)))


async def following(stream):
    """The next that is no silence."""
    async with asyncio.timeout(20):
        return await anext(stream)


def ours(mesh, number, **more):
    return agent_ends.request(number, code=200, details="via_upstream", pod=mesh.pod, workload="shop/web", **more)


async def test_what_passes_is_told_and_reported_only_meanwhile(mesh):
    async with tapped(mesh, wanted=calls.Wanted(path="/a*")) as stream:
        assert await following(stream) == model.Tapped(pods=1)
        assert mesh.agent.switched == {mesh.pod}
        mesh.agent.take(ours(mesh, 1, path="/b"), ours(mesh, 2, path="/a?key=x"), side="outbound")
        found = await following(stream)
        assert (found.call.path, found.call.source) == ("/a?key=[redacted]", "shop/web")
    await wait.until_async(lambda: not mesh.agent.switched, "switched off")


async def test_an_agent_that_comes_later_is_counted_then(mesh):
    socket = mesh.agent.folder / "reports.sock"
    socket.unlink()
    async with tapped(mesh) as stream:
        assert await following(stream) == model.Tapped(pods=0)
        await mesh.agent.serve()
        assert await following(stream) == model.Tapped(pods=1)
        assert mesh.agent.switched == {mesh.pod}


async def test_headers_are_noted_for_those_who_look(mesh):
    shown = calls.Shown(headers=("x-version",))
    wanted = calls.Wanted(headers={"x-user": "a*"})
    async with tapped(mesh, shown=shown) as one, tapped(mesh, wanted=wanted) as other:
        await following(one)
        assert mesh.observed() == ("x-version",)
        await following(other)
        assert mesh.observed() == ("x-user", "x-version")
        assert mesh.proxies.asked == 2
        mesh.agent.take(
            ours(mesh, 1, headers="x-version:2\nx-user:anna"), ours(mesh, 2, headers="x-user:bert"), side="outbound"
        )
        assert (await following(one)).call.request_headers == {"x-version": "2"}
        assert (await following(other)).call.request_headers == {"x-user": "anna"}
        many = calls.Shown(headers=tuple(f"x-{number}" for number in range(words.MOST_HEADERS - 1)))
        with pytest.raises(service.Refused, match="32 headers together"):
            await following(mesh.taps.tap(model.AskTap(shown=many)))
    assert mesh.observed() == ()


async def test_what_cannot_be_looked_at(mesh):
    with pytest.raises(service.Refused, match="never report"):
        await following(mesh.taps.tap(model.AskTap(shown=calls.Shown(headers=("cookie",)))))
    with pytest.raises(service.Refused, match="no namespace shpo: there are default, kube-system, shop"):
        await following(mesh.taps.tap(model.AskTap(namespace="shpo")))
    with pytest.raises(service.Refused, match="no Service shop/wbe: there are web"):
        await following(mesh.taps.tap(model.AskTap(destination=model.End("service", "shop", "wbe"))))


async def test_failed_requests_of_all_agents_that_answer(mesh):
    mesh.agent.take(agent_ends.request(1, pod=mesh.pod, workload="shop/web"))
    away = mesh.agent.folder.parent / "gateway-shop-front"
    away.mkdir()
    (away / "agent.json").write_text(json.dumps({"id": "gateway/shop/front"}))
    asked = responses.Responses(mesh.agents, lambda: world.World(mesh.db, mesh.kept.objects, {}, running=True))
    wanted = agent_ends.answer_id(1)
    (seen,) = (await asked.find(wanted)).seen
    assert (seen.id, seen.proxy, seen.called.workload) == (wanted, "node-1", "shop/web")
    listed = await asked.failed(model.AskFailed(10))
    assert ([one.id for one in listed.seen], listed.unanswered) == ([wanted], ("gateway/shop/front",))
    with pytest.raises(responses.Unknown, match=r"No answer came from gateway/shop/front\. .* with --name"):
        await asked.find(agent_ends.answer_id(2))


async def test_an_agent_that_answers_nothing_of_use(mesh):
    assert msgspec.json.decode(await mesh.agents.ask("node-1", {"nothing": 1}))["error"]
    with pytest.raises(OSError, match="No such file"):
        await mesh.agents.ask("node-7", {"failed": 1})
