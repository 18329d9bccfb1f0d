"""`top`, `tap` and `explain response` for a mesh on a cluster: an API server with agents that answer, and no Envoy."""

import asyncio
import contextlib
import json
import os
import signal
import sys

import pytest
import yaml
from tests.control import far_mesh

from retic.install import names
from retic.testing import agent_ends, api_server, wait

NEEDED = "you may not run commands there: it takes the right to get and create pods/exec in namespace"
PIPE = asyncio.subprocess.PIPE


@pytest.fixture
async def mesh(tmp_path):
    async with far_mesh.serving(tmp_path) as made:
        yield made


@pytest.fixture
def begin(mesh, tmp_path):
    """Starts a command."""
    file = tmp_path / "kubeconfig"

    async def started(*words, out=PIPE):
        config = {
            "clusters": [{"name": "c", "cluster": {"server": mesh[0].url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x",
        }  # fmt: skip
        file.write_text(yaml.safe_dump(config))
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "retic.cli", *words, "--kubeconfig", str(file), stdin=asyncio.subprocess.DEVNULL,
            stdout=out, stderr=PIPE,
            env={**os.environ, "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1", "COLUMNS": "250", "TERM": "xterm"},
        )  # fmt: skip

    return started


@pytest.fixture
def retic(begin):
    """Runs a command to its end: its exit code and what it printed."""

    async def run(*words):
        process = await begin(*words)
        out, said = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, out.decode(), said.decode()

    return run


def blind(commands):
    """Nobody may run commands from now on."""
    commands.folders.clear()


async def growing(agent):
    number = 0
    while True:
        number += 10
        agent.page = agent_ends.PAGE % number
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def traffic(agent):
    task = asyncio.create_task(growing(agent))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_top(mesh, retic):
    _, commands, agents = mesh
    async with traffic(agents["retic-node-b"]):
        code, out, said = await retic("top", "--window", "1", "-o", "json")
        assert (code, said) == (0, "")
        (row,) = json.loads(out)["rows"]
        assert (row["source"], row["destination"], row["service"]) == ("shop/web", "shop/cart", "shop/cart")
        assert row["rps"] > 10
        assert row["success"] == 1.0
        assert row["identity"] == "spiffe://cluster.local/ns/shop/sa/web"
        del commands.folders["shop/front-1"]
        code, out, said = await retic("top", "--window", "1", "-n", "shop")
        assert (code, said) == (0, f"not asked: gateway/shop/front: {NEEDED} shop\n")
        assert "shop/cart" in out
        code, out, said = await retic("top", "--window", "1", "-n", names.NAMESPACE, "-o", "json")
        assert (code, json.loads(out)) == (0, {"rows": []})
    await wait.until_async(lambda: not commands.running, "nothing runs on")
    assert commands.begun == 3 + 2 + 2, "one command for each agent that may be asked"


async def test_top_on_a_terminal_until_it_is_interrupted(mesh, begin):
    _, commands, agents = mesh
    terminal, end = os.openpty()
    shown = bytearray()
    asyncio.get_running_loop().add_reader(terminal, lambda: shown.extend(os.read(terminal, 1 << 16)))
    try:
        async with traffic(agents["retic-node-b"]):
            process = await begin("top", "-n", "shop", out=end)
            await wait.until_async(lambda: shown.count(b"spiffe://cluster.local/ns/shop/sa/web") > 1, "two looks", 30)
            assert commands.begun == 3
            process.send_signal(signal.SIGINT)
            said = await asyncio.wait_for(process.stderr.read(), 20)
            assert (await process.wait(), said) == (0, b"")
    finally:
        asyncio.get_running_loop().remove_reader(terminal)
        os.close(terminal)
        os.close(end)
    await wait.until_async(lambda: not commands.running, "nothing runs on")


async def test_top_of_what_is_not_there(mesh, retic):
    _, commands, _ = mesh
    code, out, said = await retic("top", "-n", "shpo")
    assert (code, out, said) == (1, "", "retic: no namespace shpo: there are retic-system, shop\n")
    blind(commands)
    code, out, said = await retic("top")
    assert (code, out) == (1, "")
    assert said == (
        f"retic: no proxy can be asked: node-1, node-2: {NEEDED} retic-system; gateway/shop/front: {NEEDED} shop\n"
    )


async def test_nothing_is_installed(mesh, retic):
    server, _, _ = mesh
    del server.answers[far_mesh.CONFIG]
    for words, number in ((("top",), 1), (("tap",), 1), (("explain", "response", "--last", "1"), 2)):
        code, out, said = await retic(*words)
        assert (code, out) == (number, "")
        assert "Retic is not installed on this cluster" in said


@contextlib.asynccontextmanager
async def tapping(begin, *words):
    """A tap that looks, and what it says."""
    process = await begin("tap", *words)
    said = []

    async def hear():
        while line := await process.stderr.readline():
            said.append(line.decode().rstrip())

    hearing = asyncio.create_task(hear())
    try:
        await wait.until_async(lambda: any("looking at" in line for line in said), "looking", seconds=30)
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await hearing


async def told(process):
    return json.loads(await asyncio.wait_for(process.stdout.readline(), 20))


async def test_tap(mesh, begin):
    _, commands, agents = mesh
    web, cart = agents["retic-node-a"], agents["retic-node-b"]
    async with tapping(begin, "-n", "shop", "--from", "pod/web", "-o", "json", "--path", "/i*") as (process, said):
        assert said == ["looking at 1 proxied pods and gateways"]
        assert (web.switched, cart.switched) == ({far_mesh.WEB}, set())
        ours = {"code": 200, "details": "via_upstream", "pod": far_mesh.WEB, "workload": "shop/web"}
        web.take(
            agent_ends.request(1, path="/items?token=s3cr3t", **ours), agent_ends.request(2, path="/other", **ours),
            agent_ends.request(3, path="/items/2", **ours), side="outbound",
        )  # fmt: skip
        first = await told(process)
        assert (first["source"], first["path"], first["code"]) == ("shop/web", "/items?token=[redacted]", 200)
        assert (await told(process))["path"] == "/items/2"
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    await wait.until_async(lambda: not web.switched and not commands.running, "switched off")


async def test_a_tap_that_is_killed_leaves_nothing_on(mesh, begin):
    _, commands, agents = mesh
    async with tapping(begin, "-n", "shop") as (process, said):
        assert said == ["looking at 3 proxied pods and gateways"]
        assert all(agent.switched for agent in agents.values())
        process.kill()
    await wait.until_async(lambda: not any(agent.switched for agent in agents.values()), "switched off")
    await wait.until_async(lambda: not commands.running, "nothing runs on")


async def test_a_pod_that_comes_later_is_looked_at(mesh, begin):
    server, _, agents = mesh
    async with tapping(begin, "-n", "shop", "--to", "svc/cart") as (_, said):
        assert agents["retic-node-a"].switched == set()
        captured = [{"type": names.CAPTURED, "status": "True"}]
        far_mesh.pod(
            server, "cart-2", "shop", node="node-1", address="10.42.0.20", uid="uid-2", labels={"app": "cart"},
            conditions=captured,
        )  # fmt: skip
        await wait.until_async(lambda: agents["retic-node-a"].switched == {"uid-2"}, "looked at")
        await wait.until_async(lambda: said[-1] == "looking at 2 proxied pods and gateways", "said")


async def test_a_tap_outlasts_a_connection(mesh, begin):
    server, _, agents = mesh
    async with tapping(begin, "-n", "shop", "--to", "pod/cart", "-o", "json") as (process, _):
        server.cut()
        cart = agents["retic-node-b"]
        await wait.until_async(lambda: not cart.switched, "broken")
        await wait.until_async(lambda: cart.switched, "looked at again", seconds=20)
        cart.take(agent_ends.request(1, pod=far_mesh.CART, workload="shop/cart"))
        assert (await told(process))["code"] == 403


async def test_a_tap_ends(mesh, retic):
    code, out, said = await retic("tap", "--for", "0.5")
    assert (code, out) == (0, "")
    assert said.splitlines()[-1].startswith("no request passed within 0.5 s (--for)")


@pytest.mark.parametrize(("words", "number", "text"), [
    (("--from", "deploy/wbe", "-n", "shop"), 1, "no pod of workload shop/wbe is there now: there are cart, web"),
    (("--to", "svc/crat", "-n", "shop"), 1, "no Service shop/crat: there are cart"),
    (("--from", "web", "-n", "shpo"), 1, "no namespace shpo"),
    (("--from", "svc/cart", "-n", "shop"), 2, "a Service calls nobody"),
    (("-n", "shop", "--show-header", "x-user"), 1, "do not report the header x-user of requests"),
    (("-n", "shop", "-H", "content-type: *"), 1, "do not report the header content-type of requests"),
    (("--show-header", "cookie"), 2, "never report"),
])  # fmt: skip
async def test_what_a_tap_cannot_show(mesh, retic, words, number, text):
    code, out, said = await retic("tap", *words)
    assert (code, out, text in said) == (number, "", True), said


async def test_headers_that_are_reported_anyway(mesh, begin):
    server, _, agents = mesh
    spec = {"accessLogging": [{"filter": {"expression": "false && request.headers['x-user'] != ''"}}]}
    server.put("/apis/telemetry.istio.io/v1/telemetries", "logs", "shop", spec=spec)
    shown = ("--show-header", "x-user", "--show-header", "location")
    async with tapping(begin, "-n", "shop", "--to", "pod/cart", "-o", "json", *shown) as (process, _):
        made = agent_ends.request(1, pod=far_mesh.CART, workload="shop/cart", headers="x-user:anna\nx-other:b")
        made.response.response_headers["location"] = "/there"
        agents["retic-node-b"].take(made)
        found = await told(process)
        assert found["request_headers"] == {"x-user": "anna"}
        assert found["response_headers"] == {"location": "/there"}


async def test_a_tap_without_rights(mesh, retic):
    server, commands, _ = mesh
    blind(commands)
    code, out, said = await retic("tap", "-n", "shop")
    assert (code, out) == (1, "")
    assert said.startswith("retic: no proxy can be asked: ")
    for text in (f"node-1, node-2: {NEEDED} retic-system", f"gateway/shop/front: {NEEDED} shop"):
        assert text in said
    path = "/api/v1/pods"
    server.answers[path] = [api_server.Answer(403, api_server.status(403, "Forbidden", "no"))]
    code, out, said = await retic("tap", "-n", "shop")
    assert code == 1
    assert "not everything is shown: you may not list pods in all namespaces (so only namespace shop" in said


async def test_explain_response(mesh, retic):
    _, commands, agents = mesh
    refused = agent_ends.request(1, pod=far_mesh.CART, workload="shop/cart", peer="- shop/web;shop/cart HTTP/1.1")
    agents["retic-node-b"].take(refused)
    wanted = agent_ends.answer_id(1)
    code, out, said = await retic("explain", "response", wanted, "-o", "json")
    assert (code, said) == (0, "")
    (seen,) = json.loads(out)["seen"]
    assert (seen["code"], seen["proxy"], seen["called"]["pod"]) == ("RT1403", "node-2", "shop/cart")
    assert (seen["caller"]["workload"], seen["status"]) == ("shop/web", 403)
    code, out, said = await retic("explain", "response", wanted)
    assert (code, said) == (0, "")
    assert "RT1403: a policy refused it, status 403" in out
    code, out, said = await retic("explain", "response", "--last", "5", "-o", "json")
    assert [one["id"] for one in json.loads(out)["seen"]] == [wanted]
    assert json.loads(out)["unanswered"] == []
    code, out, said = await retic("explain", "response", "--last", "5", "-n", "shop", "--from", "pod/cart")
    assert (code, out, said) == (0, "", "nothing has failed\n")
    await wait.until_async(lambda: not commands.running, "nothing runs on")


async def test_responses_that_nobody_knows(mesh, retic):
    _, commands, _ = mesh
    unknown = agent_ends.answer_id(9)
    code, out, said = await retic("explain", "response", unknown)
    assert (code, out) == (2, "")
    assert f"no proxy of this mesh has an entry with the id {unknown}" in said
    assert "choose that one with --context" in said
    code, out, said = await retic("explain", "response", "abc")
    assert (code, out) == (2, "")
    assert "is no id of an answer" in said
    code, out, said = await retic("explain", "response", "--last", "1", "--from", "pod/nobody", "-n", "shop")
    assert (code, out) == (2, "")
    assert "there is no Pod shop/nobody" in said
    del commands.folders["shop/front-1"]
    code, out, said = await retic("explain", "response", unknown)
    assert "No answer came from gateway/shop/front." in said
    assert f"not asked: gateway/shop/front: {NEEDED} shop" in said
    code, out, said = await retic("explain", "response", "--last", "1", "-o", "json")
    assert json.loads(out) == {"seen": [], "unanswered": ["gateway/shop/front"]}
    blind(commands)
    code, out, said = await retic("explain", "response", "--last", "1")
    assert (code, out) == (2, "")
    assert f"no proxy can be asked: node-1, node-2: {NEEDED} retic-system" in said
