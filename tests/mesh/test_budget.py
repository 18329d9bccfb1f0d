"""What one pod that turns ready may cost, at any number of services: counted, never timed."""

import msgspec
import pytest
from mesh_budget import LABELLED, SETTINGS, changes, mesh, pod, service, slice_of

from retic import xds
from retic.envoy import names, resources
from retic.objects import meta

NODE = xds.Client("node/node-1")


def watch_all(db, services):
    sent = []

    def told(watch):
        sent.append(watch.latest.name)

    watches = []
    for i in range(services):
        wanted = [
            (names.CLUSTER, names.virtual("shop", f"10.96.{i // 250}.{i % 250 + 1}:80")),
            (names.ENDPOINTS, names.endpoints("shop", f"s{i}", 80)),
        ]
        for type_url, name in wanted:
            watches.append(db.watch(resources.resource, resources.scope(type_url, name, NODE), ready=told))
    for uid in ("uid-0-0", "uid-0-1"):
        name = names.inbound(uid)
        key = resources.scope(names.LISTENER, name, NODE)
        watches.append(db.watch(resources.resource, key, ready=told))
    key = resources.scope(names.OPAQUE, names.PODS, NODE)
    watches.append(db.watch(resources.resource, key, ready=told))
    watches.append(
        db.watch(resources.resource, resources.scope(names.ROUTES, names.routes("shop"), NODE), ready=told)
    )
    for watch in watches:
        assert watch.latest is not None
    return watches, sent


@pytest.mark.parametrize("services", [1, 10, 400])
@pytest.mark.parametrize("settings", [SETTINGS, LABELLED], ids=["all", "labelled"])
def test_a_pod_turning_ready_runs_three_bodies_and_sends_one_resource(services, settings):
    db = mesh(services, settings)
    watches, sent = watch_all(db, services)
    sent.clear()
    before = db.counters
    rows = changes(slice_of(0, ready=True))
    ready = pod(0, 1)
    said = (meta.Condition("Ready", "True"),)
    condition = msgspec.structs.replace(ready.status, phase="Running", conditions=said)
    rows += changes(msgspec.structs.replace(ready, status=condition))
    db.commit(rows)
    spent = db.counters - before
    assert spent.run <= 3
    assert sent == [names.endpoints("shop", "s0", 80)]
    for watch in watches:
        watch.close()


def test_a_new_service_changes_no_route_configuration_and_no_listener():
    db = mesh(3)
    watches, sent = watch_all(db, 3)
    sent.clear()
    db.commit(changes(service(7)) + changes(slice_of(7, ready=True)))
    assert sent == []
    for watch in watches:
        watch.close()


def test_a_name_asked_for_before_its_service_exists_is_news_when_it_does():
    db = mesh(1)
    key = resources.scope(names.CLUSTER, names.virtual("shop", "10.96.0.8:80"), NODE)
    watch = db.watch(resources.resource, key)
    nothing = watch.latest
    assert nothing is not None, "an unknown address is a cluster without endpoints, not a removal"
    db.commit(changes(service(7)))
    assert watch.latest != nothing
    watch.close()
