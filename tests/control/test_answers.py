"""What is asked about resources, answered from a store of objects as the laptop's cluster would send them."""

import asyncio

import pytest

from retic import answers, wiring
from retic.control import config
from retic.envoy import names
from retic.explain import why
from retic.local import workloads
from retic.mesh import network, tables
from retic.sources import manifests, store, stream

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
---
apiVersion: v1
kind: Namespace
metadata: {name: empty}
"""


@pytest.fixture
def asked(tmp_path):
    """Answers over the manifest and what controllers make of it, and the objects."""
    file = tmp_path / "shop.yaml"
    file.write_text(MANIFEST)
    loaded = manifests.load([file])
    given = workloads.identified(located.object for located in loaded.objects)
    objects = {**given, **workloads.offline(given, nodes=("node-1",)).objects}
    places = {located.ref: located.position for located in loaded.objects}
    db = wiring.mesh(network.Settings())
    kept = store.Store(db, tables.changes)
    kept.apply([
        stream.Change(ref.kind, ref.namespace, ref.name, value, places.get(ref)) for ref, value in objects.items()
    ])
    refusals = answers.Refusals(lambda: None)
    made = answers.Answers(config.Config(folder=tmp_path), db, kept, None, refusals, asyncio.Condition())
    return made, objects


async def test_what_the_mesh_made_leads_to_what_it_was_made_of(asked):
    made, objects = asked
    (pod,) = [value for ref, value in objects.items() if ref.kind == "Pod"]
    found = await made.why(names.inbound(pod.metadata.uid))
    by_name = {source.object: source for source in found.sources}
    source = by_name[f"Pod shop/{pod.metadata.name}"]
    assert (source.file.rpartition("/")[2], source.line, source.made_of) == ("shop.yaml", 6, "Deployment shop/web")
    found = await made.why(names.endpoints("shop", "web", 80))
    slices = [source for source in found.sources if source.object.startswith("EndpointSlice ")]
    assert [(source.line, source.made_of) for source in slices] == [(1, "Service shop/web")]


@pytest.mark.parametrize("name", [
    names.routes("nope"), names.virtual("nope", "10.96.0.1:80"), names.service("nope", "shop", "web", 80),
])
async def test_a_namespace_that_nobody_made_is_said(asked, name):
    with pytest.raises(why.Unknown, match=r"^there is no namespace nope: no object is in it; there are default, "
                                          r"empty, .*shop"):
        await asked[0].why(name)


@pytest.mark.parametrize("namespace", ["shop", "empty", "default"])
async def test_a_namespace_without_pods_and_routes_is_one(asked, namespace):
    assert (await asked[0].why(names.routes(namespace))).exists
