"""The sending side: which rule of a table takes a request, and what the rule does with it."""

import msgspec

from retic import findings
from retic.explain.request import changing, crossing, lasting, limits, matching, message
from retic.explain.request.answer import Place, Step
from retic.explain.request.world import World
from retic.mesh import limits as limiting
from retic.mesh import route, rules, services, tables, virtual_faults


class Way(msgspec.Struct, frozen=True):
    """A backend that may be drawn, its share in a hundred, and the request as it leaves for it."""

    port: services.PortKey
    share: float
    request: message.Message
    subset: str = ""


class Routed(msgspec.Struct, frozen=True):
    """`statuses` are what the proxy may answer itself, with `location` where it redirects; one of them, or of those
    that it answers on purpose (`faults`), always when there are no ways."""

    steps: tuple[Step, ...]
    route: Place | None = None
    ways: tuple[Way, ...] = ()
    statuses: tuple[int, ...] = ()
    location: str = ""
    faults: tuple[int, ...] = ()


class Listening(msgspec.Struct, frozen=True):
    """Where a request came in: its scheme, and the port that a redirect keeps, 0 where it goes without saying."""

    scheme: str = "http"
    port: int = 0


def routed(world: World, table: route.Table, request: message.Message, where: Listening) -> Routed:
    """By the first rule of the table that the request meets."""
    steps: list[Step] = []
    for rule in table.rules:
        missed = matching.missed(rule.match, request)
        if not missed:
            done = _taken(world, rule, request, where)
            return msgspec.structs.replace(done, steps=(*steps, *done.steps))
        text = f"rule {rule.number + 1} ({matching.words(rule.match)}): {missed}"
        steps.append(world.step("no match", text, rule.origin, _path(world, rule)))
    text = f"no rule for {', '.join(table.domains)} matches: the proxy answers 404"
    return Routed((*steps, Step("route", text)), statuses=(404,))


def _path(world: World, rule: route.Rule) -> str:
    if rule.field:
        return rule.field
    same = [one for one in world.db.ask(rules.of, rule.origin).rules if one.number == rule.number]
    number = next((i for i, one in enumerate(same) if one == rule), 0)
    return world.match_path((rule.origin, rule.number), number)


def _whole(rule: route.Rule) -> str:
    """Where the rule stands in its object."""
    return f"spec.http[{rule.number}]" if rule.field else f"spec.rules[{rule.number}]"


def _taken(world: World, rule: route.Rule, request: message.Message, where: Listening) -> Routed:
    text = f"rule {rule.number + 1} of {rule.origin} matches: {matching.words(rule.match)}"
    steps = [world.step("route", text, rule.origin, _path(world, rule))]
    if rule.origin.kind == "HTTPRoute":
        key = limiting.RuleKey(tables.Key(rule.origin.namespace, rule.origin.name), rule.number)
        steps += limits.told(world, world.db.ask(limiting.of_rule, key), request)
    place = world.place(rule.origin, _whole(rule))
    found = _sent(world, rule, request, where)
    # Envoy asks a policy only of what it would send on.
    if found.ways and rule.cors is not None and crossing.answered(rule.cors, request):
        text, field = "the proxy answers the preflight itself: 200", f"{_whole(rule)}.corsPolicy"
        steps.append(world.step("cors", text, rule.origin, field))
        return Routed(tuple(steps), place, statuses=(200, *found.statuses))
    done = _faults(world, rule)
    if done.ended:
        return Routed((*steps, *done.steps), place, faults=done.statuses)
    every = (*steps, *done.steps, *found.steps)
    return Routed(every, place, found.ways, found.statuses, found.location, done.statuses)


class _Faults(msgspec.Struct, frozen=True):
    """Faults on purpose, before a request is sent on; `ended`: it never is."""

    steps: tuple[Step, ...] = ()
    statuses: tuple[int, ...] = ()
    ended: bool = False


def _faults(world: World, rule: route.Rule) -> _Faults:
    if rule.fault is None:
        return _Faults()
    steps: list[Step] = []
    statuses: tuple[int, ...] = ()
    ended = False
    delay, abort = rule.fault.delay, rule.fault.abort
    if delay is not None:
        text = f"{delay.share:g} % of the requests are held back for {delay.seconds:g} s"
        steps.append(world.step("fault", text, rule.origin, f"{_whole(rule)}.fault.delay"))
    if abort is not None:
        code = f"gRPC status {abort.grpc}" if abort.grpc is not None else str(abort.status)
        text = f"{abort.share:g} % of the requests are answered by the proxy with {code}"
        steps.append(world.step("fault", text, rule.origin, f"{_whole(rule)}.fault.abort"))
        statuses, ended = (abort.status or 200,), abort.share >= 100
    return _Faults(tuple(steps), statuses, ended)


def _sent(world: World, rule: route.Rule, request: message.Message, where: Listening) -> Routed:
    if rule.broken:
        text = f"the rule has a part that cannot be carried out: the proxy answers {rule.unable}"
        return Routed((_why(world, rule, text),), statuses=(rule.unable,))
    if rule.redirect is not None:
        to = changing.location(request, rule, rule.redirect, where.scheme, where.port)
        step = Step("redirect", f"the proxy answers {rule.redirect.status}, Location: {to}")
        return Routed((step,), statuses=(rule.redirect.status,), location=to)
    if rule.answer is not None:
        step = Step("answer", f"the proxy answers {rule.answer.status} with {len(rule.answer.body)} bytes")
        return Routed((step,), statuses=(rule.answer.status,))
    good = [one for one in rule.backends if one.port]
    if not good:
        text = f"the rule has no backend that could be used: the proxy answers {rule.unable}"
        return Routed((_why(world, rule, text),), statuses=(rule.unable,))
    total = sum(one.weight for one in rule.backends)
    lost = 100 * (total - sum(one.weight for one in good)) / total
    ways = tuple(_way(rule, one, request, total) for one in good)
    return Routed(tuple(_details(rule, lost, request.method)), None, ways, (rule.unable,) if lost else ())


def _why(world: World, rule: route.Rule, otherwise: str) -> Step:
    """With the fault of the rule that keeps it from working, if there is one."""
    here = _whole(rule)
    every = (
        world.db.ask(virtual_faults.of, tables.Key(rule.origin.namespace, rule.origin.name))
        if rule.field else world.db.ask(rules.of, rule.origin).faults
    )  # fmt: skip
    found = [one for one in every if one.path.startswith(here)]
    if not found:
        return world.step("answer", otherwise, rule.origin, here)
    return world.step("answer", f"{otherwise} ({found[0].code}: {found[0].message})", rule.origin, found[0].path)


def _way(rule: route.Rule, backend: route.Backend, request: message.Message, total: int) -> Way:
    # The backend's own changes come first in Envoy, then the rule's.
    sent = changing.rewritten(message.edited(request, backend.request), rule)
    port = services.PortKey(backend.namespace, backend.name, backend.port)
    return Way(port, 100 * backend.weight / total, sent, backend.subset)


def _details(rule: route.Rule, lost: float, method: str) -> list[Step]:
    answer = [*_edits("request headers", rule.request), *_edits("response headers", rule.response)]
    for backend in rule.backends:
        answer += _edits(f"request headers for {backend.namespace}/{backend.name}", backend.request)
        answer += _edits(f"response headers from {backend.namespace}/{backend.name}", backend.response)
    if rule.rewrite is not None:
        if rule.rewrite.path is not None:
            change = rule.rewrite.path
            what = f"what {change.pattern} matches" if change.pattern else "the prefix" if change.prefix else "the path"
            answer.append(Step("rewrite", f"{what} becomes {rule.rewrite.path.value}"))
        if rule.rewrite.host:
            answer.append(Step("rewrite", f"the host becomes {rule.rewrite.host}"))
    answer.append(lasting.limits(rule.timeout, rule.retries, method))
    if rule.session is not None:
        answer.append(lasting.session(rule.session))
    for mirror, share in rule.mirrors:
        answer.append(Step("mirror", f"{share:g} % go to {mirror.namespace}/{mirror.name} port {mirror.port} too"))
    if lost:
        text = f"{lost:g} % of the requests are answered {rule.unable}: backends that cannot be used have that share"
        answer.append(Step("answer", text))
    return answer


def _edits(what: str, edit: route.Edit) -> list[Step]:
    parts = [f"remove {name}" for name in edit.remove]
    parts += [f"set {name}: {value}" for name, value in edit.set]
    parts += [f"add {name}: {value}" for name, value in edit.add]
    return [Step("headers", f"{what}: {'; '.join(parts)}")] if parts else []


def origin(port: services.PortKey) -> findings.Ref:
    """The Service."""
    return findings.Ref("Service", port.namespace, port.name)
