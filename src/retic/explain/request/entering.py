"""A request to a host of a gateway: which Gateway and listener take it, and which table of rules."""

import msgspec

from retic import findings
from retic.explain.request import limits, message, normal, policies, tests
from retic.explain.request.answer import Asked, Outcome, Step, Unclear
from retic.explain.request.arriving import told
from retic.explain.request.callers import address_of
from retic.explain.request.targets import ToHost
from retic.explain.request.world import World
from retic.mesh import gateways, hosts, route, tables
from retic.mesh import limits as limiting
from retic.mesh import policies as applying


class Entered(msgspec.Struct, frozen=True):
    """A gateway that lets the request in. `table` None: it has no rules for the host, and answers `status`."""

    key: tables.Key
    steps: tuple[Step, ...]
    request: message.Message
    table: route.Table | None = None
    status: int | None = None
    outcome: Outcome | None = None


def enter(world: World, asked: Asked, to: ToHost, written: message.Message, address: str) -> Entered:
    """What the gateway does with the request before a rule takes it. Raises Unclear when no Gateway is meant."""
    key, served = _gateway(world, asked, to)
    ref = findings.Ref("Gateway", key.namespace, key.name)
    request = message.entering(written, address, to.scheme)
    words = f"{ref} serves port {to.port}"
    mine: gateways.Listener | None = None
    if to.scheme == "https":
        names = [one.hostname for one in served]
        owner = hosts.owner(to.host, names)
        mine = next((one for one in served if one.hostname == owner), None)
        if mine is None:
            text = f"{words}, but none of its listeners for {to.host}: the connection is closed"
            return Entered(key, (world.step("gateway", text, ref),), request, outcome=Outcome(False, None))
        words += f", listener {mine.name}"
    steps = [world.step("gateway", words, ref)]
    target = normal.path(request.target)
    if target is None:
        steps.append(Step("gateway", "the path cannot be read: the proxy answers 400"))
        return Entered(key, tuple(steps), request, status=400)
    if target != request.target:
        steps.append(Step("gateway", f"the path is read as {target}"))
        request = msgspec.structs.replace(request, target=target)
    name = to.host if to.scheme == "https" else ""
    call = tests.Call("", address, to.port, address_of(world, key), request, name, asked.claims)
    found = policies.verdict(world.db.ask(applying.at_gateway, key), call)
    if found.said:
        steps += told(world, found)
    if not found.allowed:
        judged = world.judged(found.by.policy, found.by.rule) if found.by else None
        outcome = Outcome(False, 403, policy=judged)
        return Entered(key, tuple(steps), request, outcome=outcome)
    steps += limits.told(world, world.db.ask(limiting.at_gateway, key), request)
    return _host(world, key, to.port, mine, Entered(key, tuple(steps), request))


def _gateway(world: World, asked: Asked, to: ToHost) -> tuple[tables.Key, list[gateways.Listener]]:
    """The one Gateway that serves the port; of several the one whose listener's or route's host fits best."""
    found = []
    for ref in sorted(world.objects):
        key = tables.Key(ref.namespace, ref.name)
        if ref.kind != "Gateway":
            continue
        served = [x for x in world.db.ask(gateways.resolved, key).listeners if x.port == to.port]
        if served and served[0].https == (to.scheme == "https"):
            found.append((_fit(world, key, to), key, served))
    if not found:
        raise Unclear(f"no Gateway has a listener for {to.scheme} on port {to.port}{_ports(world)}")
    best = min(fit for fit, _, _ in found)
    chosen = [(key, served) for fit, key, served in found if fit == best]
    own = [one for one in chosen if one[0].namespace == asked.namespace]
    if len(chosen) > 1 and len(own) != 1:
        names = ", ".join(f"{key.namespace}/{key.name}" for key, _ in chosen)
        raise Unclear(f"{to.host} port {to.port} may be that of several Gateways ({names}): choose with -n NAMESPACE")
    return (own or chosen)[0]


def _fit(world: World, key: tables.Key, to: ToHost) -> tuple[bool, bool, int]:
    port = gateways.PortKey(key.namespace, key.name, to.port)
    names = ["" if d == "*" else d for t in world.db.ask(gateways.tables_of, port) for d in t.domains]
    best = hosts.owner(to.host, names)
    return (True, True, 1) if best is None else hosts.specificity(best)


def _ports(world: World) -> str:
    served = {
        f"{'https' if x.https else 'http'} {x.port}"
        for ref in world.objects
        if ref.kind == "Gateway"
        for x in world.db.ask(gateways.resolved, tables.Key(ref.namespace, ref.name)).listeners
    }
    return f"; there are {', '.join(sorted(served))}" if served else ": there is none of class retic"


def _host(world: World, key: tables.Key, port: int, mine: gateways.Listener | None, so_far: Entered) -> Entered:
    """The table of the most specific host; 404 without one, 421 for a host of another TLS listener."""
    where = gateways.PortKey(key.namespace, key.name, port)
    host = so_far.request.authority.lower().rpartition(":")
    name = host[0] if host[1] and host[2].isdigit() else so_far.request.authority.lower()
    found = world.db.ask(gateways.tables_of, where)
    elsewhere: tuple[str, ...] = ()
    if mine is not None:
        alone = world.db.ask(gateways.isolated, gateways.ListenerKey(where, mine.name))
        found, elsewhere = (alone.tables, alone.elsewhere) if alone is not None else ((), ())
    known = {"" if d == "*" else d: t for t in found for d in t.domains}
    best = hosts.owner(name, [*known, *("" if e == "*" else e for e in elsewhere)])
    if best is not None and best in known:
        return msgspec.structs.replace(so_far, table=known[best])
    status = 404 if best is None else 421
    why = "it has no route for that host" if best is None else "the host is another listener's"
    step = Step("route", f"{why}: the proxy answers {status}")
    return msgspec.structs.replace(so_far, status=status, steps=(*so_far.steps, step))
