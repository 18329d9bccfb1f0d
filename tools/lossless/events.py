"""What happens to a mesh. Each event is a function that lets it happen once and returns when it is over.

It is given the mesh, its servers, and whether the loads still run, and returns whether it happened before they ended.
"""

import time
from collections.abc import Callable

import msgspec
from tools.lossless import looks, shop

from retic.control import model
from retic.testing import running, wait

FEW, MANY = 2, 5
_SOON = 60  # seconds within which each step is over
_LONG = 150  # idle connections between proxies, and certificates that live for two minutes, need that
_LEFT = 20  # seconds: twice what an agent that is killed again and again is away; certificates of 30 s have it for ten
_EXCHANGED = "has connections still"  # what an agent says while an older Envoy drains


Running = Callable[[], bool]
Happening = Callable[[running.Mesh, shop.Shop, Running], bool]


class Event(msgspec.Struct, frozen=True):
    """`happen` is called again and again; `lifetime` is that of the mesh's certificates in seconds."""

    name: str
    about: str
    happen: Happening
    lifetime: int = 86400


def nothing(mesh: running.Mesh, servers: shop.Shop, loaded: Running) -> bool:
    """A second passes."""
    time.sleep(1)
    return loaded()


def scaled(mesh: running.Mesh, servers: shop.Shop, loaded: Running) -> bool:
    """From few servers to many, and back."""
    for replicas in (MANY, FEW):
        servers.scale(replicas)
        wait.until(lambda: _ready(mesh) == (replicas, replicas), f"{replicas} servers", _SOON, every=0.2)  # noqa: B023
    return loaded()


def rolled(mesh: running.Mesh, servers: shop.Shop, loaded: Running) -> bool:
    """Each server replaced by one of another revision."""
    servers.scale(shop.REPLICAS)
    wait.until(lambda: _ready(mesh) == (shop.REPLICAS, shop.REPLICAS), f"{shop.REPLICAS} servers", _SOON, every=0.2)
    before = set(_servers(mesh))
    servers.roll()

    def over() -> bool:
        now = set(_servers(mesh))
        return bool(now) and not now & before and _ready(mesh) == (shop.REPLICAS, shop.REPLICAS)

    wait.until(over, "servers of another revision only", _SOON, every=0.2)
    return loaded()


def replaced(mesh: running.Mesh, servers: shop.Shop, loaded: Running) -> bool:
    """Each node's Envoy replaced by another."""
    for node in looks.NODES:

        def done(node: str = node) -> bool:
            answer = looks.agent(mesh, node, replace=True)
            if answer == {"ok": True}:
                return True
            assert _EXCHANGED in str(answer.get("error")), answer
            return False

        # Idle connections between proxies keep the one before until they end, and there are two at most.
        wait.until(lambda: done() or not loaded(), f"another Envoy on {node}", _LONG, every=0.5)
    return loaded()


def control_killed(mesh: running.Mesh, servers: shop.Shop, loaded: Running) -> bool:
    """The control plane killed, and another change made that its successor has to send."""
    looks.killed(mesh, "control", "control")
    for replicas in (shop.REPLICAS + 1, shop.REPLICAS):
        servers.scale(replicas)
        wait.until(lambda: _ready(mesh) == (replicas, replicas), f"{replicas} servers", _SOON, every=0.2)  # noqa: B023
    return loaded()


def agents_killed(mesh: running.Mesh, servers: shop.Shop, loaded: Running) -> bool:
    """Each node's agent killed; its Envoy goes on. While an agent is away nobody renews its node's certificates: they
    have to outlast that."""
    for node in looks.NODES:
        wait.until(
            lambda: looks.is_renewed(mesh, node, _LEFT) or not loaded(),  # noqa: B023
            f"certificates of {node} that last", _SOON, every=0.2,
        )  # fmt: skip
        if loaded():
            looks.killed(mesh, "agent", node)
    return loaded()


def renewed(mesh: running.Mesh, servers: shop.Shop, loaded: Running) -> bool:
    """Certificates renewed on both nodes, at half of their lives."""
    before = {node: looks.first_end(mesh, node) for node in looks.NODES}
    for node in looks.NODES:
        wait.until(
            lambda: looks.first_end(mesh, node) > before[node] or not loaded(),  # noqa: B023
            f"other certificates on {node}", _LONG, every=0.5,
        )  # fmt: skip
    return loaded()


def rotated(mesh: running.Mesh, servers: shop.Shop, loaded: Running) -> bool:
    """The root replaced by another, and the old one trusted no more."""
    before = _root(mesh)
    looks.ask(mesh, model.AskRotate())
    wait.until(
        lambda: (now := _root(mesh))["phase"] == before["phase"] and not now["ordered"] and now != before,
        "another root alone", 120, every=0.2,
    )  # fmt: skip
    return loaded()


EVENTS = {
    one.name: one
    for one in (
        Event("nothing", "nothing happens", nothing),
        Event("scale", f"{FEW} servers become {MANY}, and {FEW} again", scaled),
        Event("roll", "a new version of the servers is rolled out", rolled),
        Event("envoy", "each node's Envoy is replaced by another", replaced),
        Event("control", "the control plane is killed, and servers come and go", control_killed),
        Event("agent", "each node's agent is killed", agents_killed),
        Event("renew", "certificates are renewed every minute", renewed, lifetime=120),
        Event("root", "the root is rotated", rotated),
    )
}


def _root(mesh: running.Mesh) -> dict[str, object]:
    found: dict[str, object] = looks.ask(mesh, model.AskRoot())
    return found


def _servers(mesh: running.Mesh) -> dict[str, bool]:
    return {name: ready for name, ready in looks.pods(mesh).items() if name.startswith("shop-")}


def _ready(mesh: running.Mesh) -> tuple[int, int]:
    """How many servers are ready, and how many there are."""
    found = _servers(mesh)
    return sum(found.values()), len(found)
