"""The sending side: which rule of a table takes a request, and what the rule does with it."""

import msgspec

from retic import findings
from retic.explain.request import changing, lasting, matching, message
from retic.explain.request.answer import Place, Step
from retic.explain.request.world import World
from retic.mesh import route, rules, services


class Way(msgspec.Struct, frozen=True):
    """A backend that may be drawn, its share in a hundred, and the request as it leaves for it."""

    port: services.PortKey
    share: float
    request: message.Message
    subset: str = ""


class Routed(msgspec.Struct, frozen=True):
    """`status` is what the proxy answers itself: always when there are no ways, else for the share `lost`."""

    steps: tuple[Step, ...]
    route: Place | None = None
    ways: tuple[Way, ...] = ()
    status: int | None = None
    lost: float = 0.0
    location: str = ""


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
    return Routed((*steps, Step("route", text)), status=404)


def _path(world: World, rule: route.Rule) -> str:
    same = [one for one in world.db.ask(rules.of, rule.origin).rules if one.number == rule.number]
    number = next((i for i, one in enumerate(same) if one == rule), 0)
    return world.match_path((rule.origin, rule.number), number)


def _taken(world: World, rule: route.Rule, request: message.Message, where: Listening) -> Routed:
    text = f"rule {rule.number + 1} of {rule.origin} matches: {matching.words(rule.match)}"
    steps = [world.step("route", text, rule.origin, _path(world, rule))]
    place = world.place(rule.origin, f"spec.rules[{rule.number}]")
    if rule.broken:
        steps.append(_why(world, rule, "the rule has a part that cannot be carried out: the proxy answers 500"))
        return Routed(tuple(steps), place, status=500)
    if rule.redirect is not None:
        to = changing.location(request, rule, rule.redirect, where.scheme, where.port)
        steps.append(Step("redirect", f"the proxy answers {rule.redirect.status}, Location: {to}"))
        return Routed(tuple(steps), place, status=rule.redirect.status, location=to)
    good = [one for one in rule.backends if one.port]
    if not good:
        steps.append(_why(world, rule, "the rule has no backend that could be used: the proxy answers 500"))
        return Routed(tuple(steps), place, status=500)
    total = sum(one.weight for one in rule.backends)
    lost = 100 * (total - sum(one.weight for one in good)) / total
    steps += _details(rule, lost, request.method)
    ways = tuple(_way(rule, one, request, total) for one in good)
    return Routed(tuple(steps), place, ways, 500 if lost else None, lost)


def _why(world: World, rule: route.Rule, otherwise: str) -> Step:
    """With the fault of the rule that keeps it from working, if there is one."""
    here = f"spec.rules[{rule.number}]"
    found = [one for one in world.db.ask(rules.of, rule.origin).faults if one.path.startswith(here)]
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
            what = "the prefix" if rule.rewrite.path.prefix else "the path"
            answer.append(Step("rewrite", f"{what} becomes {rule.rewrite.path.value}"))
        if rule.rewrite.host:
            answer.append(Step("rewrite", f"the host becomes {rule.rewrite.host}"))
    answer.append(lasting.limits(rule.timeout, rule.retries, method))
    if rule.session is not None:
        answer.append(lasting.session(rule.session))
    if lost:
        text = f"{lost:g} % of the requests are answered 500: backends that cannot be used have that share"
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
