"""The relay between a real Envoy and the product's own discovery service."""

import json

import node_resources as resources
import pytest
from node_rig import end, make_settings, running
from xds.type.v3 import typed_struct_pb2

from retic import ads, graph
from retic.node import admin, opaque, told
from retic.testing import discovery, upstream, wait


class Mesh:
    """A graph written by the test, served by `retic.ads` behind the authority's TLS."""

    def __init__(self, folder):
        self.graph = graph.Graph()
        self.events = []
        self.control = upstream.Control(folder / "ca")
        self.restart()

    def restart(self):
        """Another server on the same graph, as after a crash."""
        self.ads = ads.Server(
            self.graph, discovery.resource, discovery.names, discovery.scope, self.events.append,
            companions=discovery.companions,
        )  # fmt: skip
        self.control.discovery = self.ads.handlers()

    def put(self, type_url, name, message):
        key = discovery.Key(type_url, name)
        self.graph.commit([graph.Set(discovery.RESOURCES, key, message.SerializeToString())])

    def remove(self, type_url, name):
        self.graph.commit([graph.Delete(discovery.RESOURCES, discovery.Key(type_url, name))])


@pytest.fixture
async def mesh(tmp_path):
    made = Mesh(tmp_path)
    await made.control.start()
    yield made
    await made.control.stop()


async def shown(settings, path, key, field="name"):
    try:
        dump = json.loads(await admin.get(settings.folder / "admin.sock", path))
    except admin.AdminError:
        return set()
    return {one[field] for one in dump.get(key, [])}


async def listeners(settings):
    return await shown(settings, "/listeners?format=json", "listener_statuses")


async def clusters(settings):
    return await shown(settings, "/clusters?format=json", "cluster_statuses") - {"agent"}


async def settled(mesh):
    await wait.until_async(lambda: "node/node-1" in mesh.ads.converged(), "the agent's stream")
    assert await mesh.ads.settled(10)
    return mesh.ads.converged()["node/node-1"]


async def test_convergence_is_envoys_own(mesh, tmp_path, netns):
    """What the server counts as acknowledged Envoy has; what Envoy refused the server knows by name."""
    settings = make_settings(mesh.control, tmp_path)
    mesh.put(resources.CLUSTER, "one", resources.cluster("one"))
    mesh.put(resources.LISTENER, "good", resources.listener("good", netns, 15090))
    mesh.put(resources.LISTENER, "bad", resources.listener("bad", "/proc", 15091))
    async with running(settings):
        async def both():
            return await listeners(settings) == {"good"} and await clusters(settings) == {"one"}

        await wait.until_async(both, "the good listener and the cluster")
        progress = await settled(mesh)
        assert "bad" in str(progress.refused)
        assert "good" not in str(progress.refused)


async def test_a_restart_of_everything_resends_nothing_and_removes_what_went(mesh, tmp_path, netns):
    settings = make_settings(mesh.control, tmp_path)
    for name in (opaque.NAME, told.NAME):
        mesh.put(opaque.TYPE_URL, name, typed_struct_pb2.TypedStruct())
    for name in ("one", "two", "three"):
        mesh.put(resources.CLUSTER, name, resources.cluster(name))
    for number, name in enumerate(("keep", "drop")):
        mesh.put(resources.LISTENER, name, resources.listener(name, netns, 15090 + number))
    async with running(settings) as agent:
        async def there():
            return await listeners(settings) == {"keep", "drop"}

        await wait.until_async(there, "the listeners")
        await settled(mesh)
        await mesh.control.stop()
        pid = agent.envoy.pid
        end(pid)
        await wait.until_async(lambda: agent.envoy.pid != pid, "another Envoy")
        await wait.until_async(there, "the listeners from disk")
        mesh.remove(resources.LISTENER, "drop")
        mesh.put(resources.LISTENER, "new", resources.listener("new", netns, 15095))
        mesh.restart()
        await mesh.control.start()

        async def changed():
            return await listeners(settings) == {"keep", "new"}

        await wait.until_async(changed, "the listeners as they are now")
        progress = await settled(mesh)
        assert progress.sent == 2, "one added, one removed; nothing else"
        assert await clusters(settings) == {"one", "two", "three"}
