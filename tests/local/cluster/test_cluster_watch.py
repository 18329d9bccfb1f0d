"""cluster.sock over a real socket: the list, the changes, a slow reader, and the questions."""

import asyncio
import json

import pytest

from retic import findings, objects
from retic.local.cluster import published, server, started
from retic.local.workloads import pods
from retic.sources import codec, model


def config_map(name, value):
    raw = {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"v": value}}
    made = objects.decode(raw)
    return pods.ref(made), made


@pytest.fixture
async def served(tmp_path):
    told = published.Published()

    async def settle(seconds):
        return {"ready": seconds > 1, "reasons": []}

    made = server.Server(told, lambda: {"pods": []}, settle, lambda *which: {"which": which})
    await made.start(tmp_path / "cluster.sock")
    yield told, tmp_path / "cluster.sock"
    await made.close()


async def ask(path, request):
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(json.dumps(request).encode() + b"\n")
    return reader, writer


async def event(reader):
    async with asyncio.timeout(5):
        return codec.decode(await reader.readline())


async def test_a_watcher_gets_the_list_then_only_what_changes(served):
    told, path = served
    one, two = config_map("one", "1"), config_map("two", "1")
    place = model.Position("m.yaml", 3, {"data.v": 5})
    told.update(dict([one, two]), {one[0]: place}, ())
    reader, writer = await ask(path, {"watch": True})
    seen = [await event(reader) for _ in range(4)]
    assert [item.type for item in seen] == ["FINDINGS", "ADDED", "ADDED", "SYNCED"]
    assert [(item.object, item.position) for item in seen[1:3]] == [(one[1], place), (two[1], None)]
    changed = config_map("two", "2")
    told.update(dict([one, changed]), {one[0]: place}, ())
    found = await event(reader)
    assert (found.type, found.object) == ("MODIFIED", changed[1])
    told.update(dict([changed]), {}, ())
    found = await event(reader)
    assert (found.type, found.object) == ("DELETED", one[1])
    writer.close()


async def test_a_watcher_who_comes_before_the_manifests_are_read_gets_the_whole_list(served):
    told, path = served
    reader, writer = await ask(path, {"watch": True})
    other, ending = await ask(path, {"get": "status"})  # by its answer, the watch has been asked too
    assert await other.readline()
    told.update(dict([config_map("one", "1")]), {}, ())
    assert [(await event(reader)).type for _ in range(3)] == ["FINDINGS", "ADDED", "SYNCED"]
    writer.close()
    ending.close()


async def test_findings_replace_the_whole_list(served):
    told, path = served
    told.update({}, {}, ())
    reader, writer = await ask(path, {"watch": True})
    assert [(await event(reader)).type for _ in range(2)] == ["FINDINGS", "SYNCED"]
    found = findings.Finding("RT0001", findings.Severity.ERROR, "", "a.yaml", 1, "m", "f", "u")
    told.update({}, {}, (found,))
    assert (await event(reader)).found == (found,)
    told.update({}, {}, ())
    assert (await event(reader)).found == ()
    writer.close()


async def test_status_and_settle_are_one_line_and_nonsense_is_refused(served):
    _, path = served
    for request, wanted in (
        ({"get": "status"}, {"pods": []}),
        ({"get": "inside", "namespace": "a", "pod": "b", "container": "c"}, {"which": ["a", "b", "c"]}),
        ({"settle": 2}, {"ready": True, "reasons": []}),
        ({"settle": 0.5}, {"ready": False, "reasons": []}),
    ):
        reader, writer = await ask(path, request)
        assert json.loads(await reader.readline()) == wanted
        writer.close()
    reader, writer = await ask(path, ["what"])
    assert "error" in json.loads(await reader.readline())
    writer.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_command_that_does_not_start_is_a_fault_of_what_was_written():
    from retic.local import workloads

    spec = {"containers": [{"name": "c", "command": ["/none"]}]}
    status = {
        "phase": "Failed",
        "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 128, "reason": "StartError"}}}],
    }
    raw = {"kind": "Pod", "metadata": {"name": "p", "namespace": "d", "uid": "1"}, "spec": spec, "status": status}
    pod = objects.decode(raw)
    world = workloads.World(objects={pods.ref(pod): pod})
    (fault,) = started.faults(world, world.objects.get)
    assert (fault.code, str(fault.object), fault.path) == ("RT0502", "Pod d/p", "spec.containers[0].command")
    assert started.reasons(world, world.objects.get)
