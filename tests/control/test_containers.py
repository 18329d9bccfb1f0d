"""Agents on a cluster, asked by a command in their containers: by pods/exec of an API server, with the real command."""

import asyncio
import contextlib

import far_mesh
import msgspec
import pytest

from retic.answers import containers
from retic.install import names
from retic.testing import agent_ends, api_server, wait

NEEDED = "you may not run commands there: it takes the right to get and create pods/exec in namespace"


@pytest.fixture
async def mesh(tmp_path):
    async with far_mesh.serving(tmp_path) as made:
        yield made


@pytest.fixture
async def asked(mesh):
    """The agents, and what was said of those that cannot be asked."""
    server, _, _ = mesh
    said = []
    async with server.api() as api:
        made = containers.Containers(api, lambda: ["gateway/shop/front"], lambda *words: said.append(words))
        async with contextlib.aclosing(made):
            yield made, said


async def test_proxies_by_their_names(mesh, asked):
    server, commands, agents = mesh
    made, said = asked
    assert list(await made.names()) == ["node-1", "node-2", "gateway/shop/front"]
    far_mesh.gateway(server, "front", "front-2")
    commands.folders["shop/front-2"] = agents["front-1"].folder
    made.pause = 0.0
    assert list(await made.names())[2:] == ["gateway/shop/front (front-1)", "gateway/shop/front (front-2)"]
    assert await made.ask("gateway/shop/front (front-2)", {"failed": 0}) == b'{"entries":[]}\n'
    assert said == []


async def test_one_command_answers_all_questions(mesh, asked):
    _, commands, agents = mesh
    made, said = asked
    agents["retic-node-b"].take(agent_ends.request(1))
    await made.names()
    for _ in range(3):
        found = msgspec.json.decode(await made.ask("node-2", {"find": agent_ends.answer_id(1)}))
        assert [entry["code"] for entry in found["entries"]] == [403]
    assert commands.begun == len(commands.running) == 1
    await made.aclose()
    await wait.until_async(lambda: not commands.running, "the command has ended")
    assert said == []


async def test_numbers_of_those_that_answer(mesh, asked):
    _, _, agents = mesh
    made, said = asked
    for number, agent in enumerate(agents.values()):
        agent.page = agent_ends.PAGE % number * 3000
    (agents["front-1"].folder / "admin.sock").unlink()
    found = {one.proxy: one.text for one in await made.numbers()}
    assert found == {"node-1": agents["retic-node-a"].page, "node-2": agents["retic-node-b"].page}
    assert [name for name, _ in said] == ["gateway/shop/front"]
    assert "Envoy's admin page does not answer" in said[0][1]
    agents["retic-node-a"].page += "more 1\n"
    assert "more 1" in next(one.text for one in await made.numbers() if one.proxy == "node-1")
    assert len(said) == 1, "a reason is said once"
    assert made.answered


async def test_what_may_not_be_asked_and_what_cannot(mesh, asked):
    _, commands, _ = mesh
    made, said = asked
    system = f"{names.NAMESPACE}/retic-node"
    del commands.folders[f"{system}-a"]
    commands.old.add(f"{system}-b")
    del commands.folders["shop/front-1"]
    assert await made.numbers() == []
    assert not made.answered
    assert dict(said) == {
        "node-1": f"{NEEDED} retic-system",
        "node-2": "its image has another version of Retic than this command: see retic version",
        "gateway/shop/front": f"{NEEDED} shop",
    }


async def test_pods_that_may_not_be_listed(mesh, asked):
    server, _, _ = mesh
    made, said = asked
    path = f"/api/v1/namespaces/{names.NAMESPACE}/pods"
    body = api_server.status(403, "Forbidden", 'User "u" cannot list resource "pods"')
    server.answers[path] = [api_server.Answer(403, body)]
    assert list(await made.names()) == ["gateway/shop/front"]
    assert [name for name, _ in said] == ["the nodes"]
    assert 'cannot list resource "pods"' in said[0][1]


async def test_it_is_followed_until_whoever_asks_leaves(mesh, asked):
    _, commands, agents = mesh
    made, _ = asked
    agent = agents["retic-node-b"]
    async with contextlib.aclosing(made.follow("node-2", {"follow": {"pods": [far_mesh.CART]}})) as lines:
        assert await anext(lines) == b'{"following":true}\n'
        assert agent.switched == {far_mesh.CART}
        agent.take(agent_ends.request(1, code=200, details="via_upstream", pod=far_mesh.CART))
        assert msgspec.json.decode(await anext(lines))["entry"]["code"] == 200
    await wait.until_async(lambda: not agent.switched and not commands.running, "switched off")


async def test_a_connection_that_breaks_ends_what_was_reported(mesh, asked):
    server, commands, agents = mesh
    made, said = asked
    agent = agents["retic-node-b"]
    async with contextlib.aclosing(made.follow("node-2", {"follow": {"pods": None}})) as lines:
        assert await anext(lines) == b'{"following":true}\n'
        server.cut()
        with pytest.raises(containers.AwayError, match="broke"):
            await anext(lines)
    await wait.until_async(lambda: not agent.switched and not commands.running, "switched off")
    assert await made.ask("node-2", {"failed": 0}) == b'{"entries":[]}\n'
    assert [name for name, _ in said] == ["node-2"]


async def test_signs_of_life_keep_a_command(mesh, asked, monkeypatch):
    monkeypatch.setattr(containers, "BEAT", 0.02)
    made, _ = asked
    _, commands, _ = mesh
    await made.names()
    await made.ask("node-1", {"failed": 0})
    await wait.until_async(lambda: commands.beats > 3, "signs of life")
    assert await made.ask("node-1", {"failed": 0}) == b'{"entries":[]}\n'


@pytest.mark.parametrize("answer", [
    b"{}", b'{"numbers": 7}', b'{"numbers": "%"}', b'{"numbers": "AAAA"}', b'{"numbers": "eJw="}', b"nothing",
])  # fmt: skip
def test_numbers_that_are_none(answer):
    with pytest.raises(ValueError, match=r"\w"):
        containers._unpacked(answer)


async def test_many_at_once_are_not_mixed_up(mesh, asked):
    made, _ = asked
    _, commands, agents = mesh
    for number, name in enumerate(("retic-node-a", "retic-node-b")):
        agents[name].take(agent_ends.request(number))
    known = await made.names()

    async def codes(agent, number):
        return len(msgspec.json.decode(await made.ask(agent, {"find": agent_ends.answer_id(number)}))["entries"])

    for _ in range(10):
        found = await asyncio.gather(*(codes(agent, number) for agent in known for number in (0, 1)))
        assert found == [1, 0, 0, 1, 0, 0]
    assert commands.begun == len(known)
