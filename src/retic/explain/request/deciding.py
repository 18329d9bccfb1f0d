"""From a question to its answer: who sends, where to, by which rule, to which endpoints, and who lets it in."""

import re
from collections.abc import Iterable

import msgspec

from retic.explain.request import arriving, balancing, callers, entering, lasting, message, routed, targets
from retic.explain.request.answer import Answer, Asked, Backend, Decision, Outcome, Place, Step, Unclear
from retic.explain.request.world import World, ref_of
from retic.mesh import destinations, network, routing, service, services, tables, workloads

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(r"[!-\"$-~]+")  # printable, no space, no fragment


class _Walk:
    """What has been found out so far."""

    def __init__(self, world: World, asked: Asked) -> None:
        self.world = world
        self.asked = asked
        self.steps: list[Step] = []
        self.outcomes: list[Outcome] = []
        self.backends: list[Backend] = []
        self.route: Place | None = None

    def end(self, *outcomes: Outcome) -> None:
        """One or more ways that the request may end."""
        self.outcomes += outcomes


def decide(world: World, asked: Asked) -> Decision:
    """What becomes of the request. Raises Unclear for a question that names nothing, or no request."""
    _well_formed(asked)
    walk = _Walk(world, asked)
    caller = callers.find(world, asked)
    walk.steps.append(world.step("from", caller.words, caller.ref))
    parsed = targets.find(world, asked, caller.namespace or asked.namespace)
    path = asked.path
    if parsed.path not in ("", "/"):
        if path not in ("/", parsed.path):
            raise Unclear(f"--to has the path {parsed.path} and the command {path}: give one of them")
        path = parsed.path
    written = message.written(asked.method, path, parsed.authority, asked.headers)
    if isinstance(parsed.target, targets.ToHost):
        if asked.tcp:
            raise Unclear("a gateway takes requests only, and --tcp asks for a connection that carries none")
        _through_gateway(walk, parsed.target, written, caller.address)
    elif not asked.source:
        raise Unclear("say who sends it, with --from deploy/NAME; somebody outside can only call a gateway: --to http://HOST/")
    else:
        _inside(walk, caller, parsed.target, written)
    return _conclude(walk)


def _well_formed(asked: Asked) -> None:
    if not _TOKEN.fullmatch(asked.method) or asked.method == "CONNECT":
        raise Unclear(f"{asked.method!r} is no method that can be explained: write one such as GET")
    if not _PATH.fullmatch(asked.path) or (not asked.path.startswith("/") and asked.path != "*"):
        raise Unclear(f"{asked.path!r} is no path: it begins with /, and spaces and # are written %20 and %23")
    for name, value in asked.headers:
        if not _TOKEN.fullmatch(name) or any(c in value for c in "\r\n\0"):
            raise Unclear(f"{name!r} is no header: write -H 'NAME: VALUE'")
    if asked.address and network.ipv4(asked.address) is None:
        raise Unclear(f"--address {asked.address} is no IPv4 address")


def _through_gateway(walk: _Walk, to: targets.ToHost, written: message.Message, address: str) -> None:
    entered = entering.enter(walk.world, walk.asked, to, written, address)
    walk.steps += entered.steps
    if entered.outcome is not None:
        walk.end(entered.outcome)
        return
    if entered.table is None:
        walk.end(Outcome(True, entered.status))
        return
    implied = to.port == {"http": 80, "https": 443}[to.scheme]
    where = routed.Listening(to.scheme, 0 if implied else to.port)
    found = routed.routed(walk.world, entered.table, entered.request, where)
    caller = callers.gateway(walk.world, walk.asked, entered.key)
    _follow(walk, caller, found, written)


def _inside(walk: _Walk, caller: callers.Caller, to: targets.Target, written: message.Message) -> None:
    match to:
        case targets.ToService(port=port, exists=exists):
            _to_service(walk, caller, port, written, exists=exists)
        case targets.ToHeadless(port=port, addresses=addresses):
            text = f"{targets.ref(port)} is headless: its name gives the addresses of its pods"
            walk.steps.append(walk.world.step("to", text, targets.ref(port)))
            _to_addresses(walk, caller, addresses, port.port, written, targets.ref(port).name)
        case targets.ToAddress(address=address, port=number):
            _to_address(walk, caller, address, number, written)


def _to_service(
    walk: _Walk, caller: callers.Caller, port: services.PortKey, written: message.Message, *, exists: bool
) -> None:
    world, ref = walk.world, targets.ref(port)
    if not exists:
        text = f"{ref} has no TCP port {port.port}: the proxy answers 503"
        walk.steps.append(world.step("to", text, ref, "spec.ports"))
        walk.end(Outcome(True, 503 if caller.meshed else None))
        return
    found = world.db.ask(services.port, port)
    kind = found.protocol if found is not None else service.Protocol.AUTO
    opaque = kind is service.Protocol.OPAQUE or walk.asked.tcp
    said = "TCP that nobody looks into" if opaque else "HTTP, as the request is"
    walk.steps.append(world.step("to", f"{ref} port {port.port}: {said}", ref, "spec.ports"))
    if opaque or not caller.meshed:
        walk.backends.append(Backend(f"{port.namespace}/{port.name}", port.port, 100))
        _to_endpoints(walk, caller, port, arriving.Sent(None, written, walk.asked.claims, walk.asked.tcp))
        return
    request = written if caller.gateway else message.leaving(msgspec.structs.replace(written, source=caller.uid))
    table = None if caller.gateway else world.db.ask(routing.table, routing.ClientPort(caller.namespace, port))
    if table is None:
        walk.steps.append(Step("route", "no route is attached: to the Service itself"))
        walk.steps.append(lasting.limits(None, None, request.method))
        walk.backends.append(Backend(f"{port.namespace}/{port.name}", port.port, 100))
        _to_endpoints(walk, caller, port, arriving.Sent(request, written, walk.asked.claims, walk.asked.tcp))
        return
    # Who forwards a request says by which scheme it came; a redirect keeps that one.
    where = routed.Listening(request.headers[message.SCHEME].lower())
    request = message.addressed(request, caller.namespace, table.domains[0].partition(":")[0], port.port)
    _follow(walk, caller, routed.routed(world, table, request, where), written)


def _follow(walk: _Walk, caller: callers.Caller, found: routed.Routed, written: message.Message) -> None:
    walk.steps += found.steps
    walk.route = found.route
    walk.end(*(Outcome(True, status) for status in found.faults))
    walk.end(*(Outcome(True, status, location=found.location) for status in found.statuses))
    shares: dict[tuple[services.PortKey, str], float] = {}
    for way in found.ways:
        shares[way.port, way.subset] = shares.get((way.port, way.subset), 0) + way.share
    walk.backends += [
        Backend(f"{port.namespace}/{port.name}", port.port, _plain(share), subset)
        for (port, subset), share in shares.items()
    ]
    for way in found.ways:
        ref = routed.origin(way.port)
        part = f", subset {way.subset}" if way.subset else ""
        text = f"{_plain(way.share):g} % to {ref} port {way.port.port}{part}"
        walk.steps.append(walk.world.step("backend", text, ref))
        sent = arriving.Sent(way.request, written, walk.asked.claims, walk.asked.tcp)
        _to_endpoints(walk, caller, way.port, sent, way.subset)


def _plain(share: float) -> float:
    return int(share) if share == int(share) else round(share, 4)


def _to_endpoints(
    walk: _Walk, caller: callers.Caller, port: services.PortKey, sent: arriving.Sent, subset: str = ""
) -> None:
    world, ref = walk.world, targets.ref(port)
    name = f"{port.namespace}/{port.name}"
    view = destinations.View(caller.namespace, port, subset)
    if caller.meshed:
        walk.steps += balancing.steps(world, view, is_http=sent.request is not None)
    if subset and world.db.ask(destinations.policy, view) is None:
        walk.end(Outcome(True, 503, service=name))
        return
    own = world.db.ask(destinations.is_own, view)
    every = balancing.members(world, view) if own else _reached(walk, caller, port)
    usable = service.usable(every) if world.running else every
    if not usable:
        why = "no endpoint" if not every else f"{len(every)} endpoints and none that is ready"
        answered = sent.request is not None
        text = f"{ref} has {why}: {'the proxy answers 503' if answered else 'the connection is closed'}"
        walk.steps.append(world.step("endpoints", text, ref))
        walk.end(Outcome(True, 503 if answered else None, service=name))
        return
    ready = "ready" if world.running else "readiness unknown"
    shown = ", ".join(f"{e.address}:{e.port}" for e in usable[:5]) + (" ..." if len(usable) > 5 else "")
    walk.steps.append(world.step("endpoints", f"{len(usable)} ({ready}): {shown}", ref))
    arrivals = [arriving.arrive(world, caller, e.address, e.port, sent) for e in usable]
    _arrived(walk, arrivals, name)


def _reached(walk: _Walk, caller: callers.Caller, port: services.PortKey) -> tuple[service.Endpoint, ...]:
    """The endpoints that the caller may get. A gateway is on no node, and an account's pods may be on any."""
    db, ref = walk.world.db, targets.ref(port)
    every = db.ask(services.endpoints, port)
    wish = db.ask(services.balancing, port.service)
    pod = db.ask(workloads.at, caller.address) if caller.address and not caller.gateway else None
    if pod is None:
        wish = service.Balancing(sticky=wish.sticky)
    if text := lasting.led(wish):
        walk.steps.append(walk.world.step("led to", text, ref))
    return service.within(every, wish.reach, pod.node) if pod is not None else every


def _arrived(walk: _Walk, arrivals: Iterable[arriving.Arrival], name: str) -> None:
    """Pods at which it ends in the same way are told of once."""
    told: dict[tuple[object, ...], int] = {}
    for each in arrivals:
        walk.end(msgspec.structs.replace(each.outcome, service=name))
        key = (each.outcome.allowed, each.outcome.status, each.outcome.policy, each.steps[1:])
        told[key] = told.get(key, 0) + 1
        if told[key] == 1:
            walk.steps += each.steps
    for same in told.values():
        if same > 1:
            walk.steps.append(Step("inbound", f"and so at {same - 1} more of its pods"))


def _to_addresses(
    walk: _Walk, caller: callers.Caller, addresses: tuple[str, ...], port: int, written: message.Message, name: str
) -> None:
    if not addresses:
        walk.steps.append(Step("endpoints", f"{name} has no pods: its name has no address, so nothing is sent"))
        walk.end(Outcome(True, None))
        return
    sent = _sent(walk, caller, f"{addresses[0]}:{port}", written)
    _arrived(walk, [arriving.arrive(walk.world, caller, each, port, sent) for each in addresses], "")


def _to_address(walk: _Walk, caller: callers.Caller, address: str, port: int, written: message.Message) -> None:
    world = walk.world
    settings = world.db.ask(workloads.settings, tables.ONE)
    pod = world.db.ask(workloads.at, address)
    if pod is not None:
        walk.steps.append(world.step("to", f"the address of {ref_of(pod)}: no route applies", ref_of(pod)))
    elif network.inside(address, (*settings.pod_networks, *settings.service_networks)) and caller.meshed:
        walk.steps.append(Step("to", f"nobody has the address {address}: the proxy answers 503"))
        walk.end(Outcome(True, 503))
        return
    else:
        walk.steps.append(Step("to", f"{address} is outside the mesh: the connection is passed on as it is"))
        walk.end(Outcome(True, None))
        return
    sent = _sent(walk, caller, f"{address}:{port}", written)
    _arrived(walk, [arriving.arrive(world, caller, address, port, sent)], "")


def _sent(walk: _Walk, caller: callers.Caller, destination: str, written: message.Message) -> arriving.Sent:
    """To a pod's own address: looked into, unless a headless Service declares the port TCP."""
    db = walk.world.db
    opaque = any(destination in db.ask(services.opaque_destinations, key) for key in db.find(services.OPAQUE, True))
    request = None if opaque or walk.asked.tcp or not caller.meshed else message.leaving(written)
    return arriving.Sent(request, written, walk.asked.claims, walk.asked.tcp)


def _conclude(walk: _Walk) -> Decision:
    """One answer for all ways: refused when one of them is; the proxy's own answer when one of them has it."""
    refused = next((one for one in walk.outcomes if not one.allowed), None)
    own = [one.status for one in walk.outcomes if one.status is not None]
    status = refused.status if refused is not None else min(own) if len(own) == len(walk.outcomes) else None
    judged = refused or next((one for one in walk.outcomes if one.policy is not None), None)
    walk.steps.append(Step("verdict", _verdict(walk, allowed=refused is None, status=status)))
    answer = Answer(
        refused is None, status, tuple(walk.backends), walk.route, judged.policy if judged else None, tuple(walk.steps)
    )
    return Decision(answer, tuple(dict.fromkeys(walk.outcomes)))


def _verdict(walk: _Walk, *, allowed: bool, status: int | None) -> str:
    ways = {(one.allowed, one.status) for one in walk.outcomes}
    word = "allowed" if allowed else "refused"
    own = f", the proxy answers {status}" if status is not None else ""
    if len(ways) > 1:
        return f"{word}{own}: not everywhere, it depends on the backend or endpoint that is drawn"
    return f"{word}{own}"
