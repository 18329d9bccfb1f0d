"""Which policy or route decided about a request that failed, by what its proxy noted."""

import re

import msgspec

from retic import findings
from retic.explain.request import answer, deciding
from retic.explain.request.answer import Judged, Step
from retic.explain.request.world import World, key_of
from retic.mesh import peers, policies, policy, rules, service, tables, workloads
from retic.telemetry import causes, entries, words

Entry = entries.Entry
_MATCHED = re.compile(r"rbac_access_denied_matched_policy\[(.*)\]$")


class Decided(msgspec.Struct, frozen=True):
    """What is known; `change` "" where there is nothing of its own to say."""

    steps: tuple[Step, ...] = ()
    policy: Judged | None = None
    change: str = ""


def decided(world: World, entry: Entry, code: str) -> Decided:
    """About an entry of that code."""
    if matched := _MATCHED.search(entry.details):
        return _refused(world, entry, matched[1])
    if code in (causes.Code.UNKNOWN_CALLER, causes.Code.AUTHORIZER):
        return _asked(world, entry, code)
    if code == causes.Code.REFUSED:
        return _nothing_matched(world, entry)
    if code == causes.Code.NO_ROUTE:
        return Decided(_steps(_now(world, entry), ("to", "no match", "route")))
    return _routed(world, entry) if entry.route else Decided()


def _routed(world: World, entry: Entry) -> Decided:
    kind, _, rest = entry.route.partition("/")
    namespace, _, rest = rest.partition("/")
    name, _, number = rest.rpartition("/")
    if not number.isdecimal():
        return Decided()
    ref, here = findings.Ref(kind, namespace, name), f"spec.rules[{number}]"
    steps = [world.step("route", f"rule {int(number) + 1} of {ref}", ref, here)]
    faults = [
        each for each in world.db.ask(rules.of, ref).faults
        if each.path.startswith(here) and entry.details == "direct_response"
    ]  # fmt: skip
    steps += [world.step("finding", f"{each.code}: {each.message}", ref, each.path) for each in faults]
    return Decided(tuple(steps), change=faults[0].fix if faults else "")


def _refused(world: World, entry: Entry, matched: str) -> Decided:
    # Envoy writes spaces as underscores, and no name of an object has one.
    called = matched.replace("_", " ").removesuffix(words.NO_PROBE)
    namespace, _, rest = called.partition("/")
    name, slash, number = rest.rpartition("/")
    if slash and number.isdecimal():
        ref = findings.Ref("AuthorizationPolicy", namespace, name)
        return _by_rule(world, ref, int(number))
    if called.startswith(words.UNREADABLE):
        what = called.removeprefix(words.UNREADABLE)
        text = f"a policy compares the {what}, and this one can be read in two ways: refused"
        plain = f"let the client write the {what} in its plain form (docs/authorization.md)"
        return Decided((Step("policy", text), *_steps(_now(world, entry), ("policy",))), change=plain)
    return _nothing_matched(world, entry)


def _by_rule(world: World, ref: findings.Ref, number: int) -> Decided:
    found = world.db.ask(policies.of, tables.Key(ref.namespace, ref.name))
    action = found.value.action if found is not None else policy.Action.DENY
    at = world.place(ref, f"spec.rules[{number}]")
    gone = "" if found is not None else " (it is gone now)"
    step = Step("policy", f"{action} rule {number + 1} of {ref} matched: refused{gone}", at.object, at.file, at.line)
    return Decided(
        (step,), Judged(at.object, action.value, at.file, at.line),
        f"narrow rule {number + 1} of {ref}, if this caller shall be let in",
    )  # fmt: skip


def _nothing_matched(world: World, entry: Entry) -> Decided:
    """By no rule: ALLOW policies of which none matches, or plaintext where none is taken."""
    pod = world.db.ask(workloads.by_uid, entry.pod) if entry.pod else None
    if pod is not None and entry.side == "plaintext" and not _takes_plaintext(world, pod, entry):
        text = f"port {entry.local.rpartition(':')[2]} takes only the mesh's TLS (mode STRICT), and this came without"
        return Decided(
            (Step("policy", text),), None,
            "call from a pod in the mesh, or set the mode of the port to PERMISSIVE (docs/peer-authentication.md)",
        )  # fmt: skip
    now = _now(world, entry)
    judged: Judged | None
    if now is not None and not now.allowed and now.policy is not None:
        shown, judged = _steps(now, ("policy",)), now.policy
    else:
        # Its headers may have decided, which are not known any more.
        found = [one for one in _policies(world, entry, pod) if one.action is policy.Action.ALLOW and not one.dry_run]
        shown = tuple(world.step("policy", f"no rule of {one.origin} matched", one.origin) for one in found)
        judged = world.judged(found[0], None) if found else None
    change = "let a rule of an ALLOW policy match the caller, by its identity, method and path"
    if judged is not None and judged.action == policy.Action.DENY:
        change = f"narrow the rules of {judged.object}, if this caller shall be let in"
    return Decided(shown or (Step("policy", "no rule of an ALLOW policy matched"),), judged, change)


def _takes_plaintext(world: World, pod: service.Workload, entry: Entry) -> bool:
    number = entry.local.rpartition(":")[2]
    return world.db.ask(peers.taken, key_of(pod)).at(int(number) if number.isdecimal() else 0).plaintext


def _policies(world: World, entry: Entry, pod: service.Workload | None) -> tuple[policy.Policy, ...]:
    if entry.side == "gateway":
        namespace, _, name = entry.workload.partition("/")
        return world.db.ask(policies.at_gateway, tables.Key(namespace, name))
    return world.db.ask(policies.applying, key_of(pod)) if pod is not None else ()


def _asked(world: World, entry: Entry, code: str) -> Decided:
    """Who is asked about tokens, and which policies have an authorizer asked."""
    pod = world.db.ask(workloads.by_uid, entry.pod) if entry.pod else None
    if code == causes.Code.AUTHORIZER:
        found = [one for one in _policies(world, entry, pod) if one.action is policy.Action.CUSTOM]
        failed = "error" in entry.details
        said = "could not be asked" if failed else "said no"
        steps = [
            world.step("policy", f"{one.origin} has {one.provider or 'its provider'} asked, which {said}", one.origin)
            for one in found
        ]
        change = "see that the authorizer runs, and answers in time at the address of its provider" if failed else ""
        return Decided(tuple(steps), world.judged(found[0], None) if len(found) == 1 else None, change)
    about = entry.details.removeprefix("jwt_authn_access_denied").strip("{}").replace("_", " ")
    steps = [Step("token", about)] if about else []
    namespace = pod.namespace if pod is not None else entry.workload.partition("/")[0]
    system = world.db.ask(workloads.settings, tables.ONE).system_namespace
    for ref in sorted(world.objects):
        if ref.kind == "RequestAuthentication" and ref.namespace in (namespace, system):
            steps.append(world.step("token", f"{ref} names issuers", ref, "spec.jwtRules"))
    return Decided(tuple(steps))


def _now(world: World, entry: Entry) -> answer.Answer | None:
    """What the same request would meet now; its headers are not known any more. None where nobody can tell."""
    asked = _question(world, entry)
    if asked is None:
        return None
    try:
        return deciding.decide(world, asked).answer
    except answer.Unclear:
        return None


def _steps(now: answer.Answer | None, wanted: tuple[str, ...]) -> tuple[Step, ...]:
    return tuple(each for each in now.steps if each.what in wanted) if now is not None else ()


def _question(world: World, entry: Entry) -> answer.Asked | None:
    path = entry.path or "/"
    if entry.side == "gateway":
        host = entry.authority.rpartition(":")[0] if ":" in entry.authority else entry.authority
        number = entry.local.rpartition(":")[2]
        return answer.Asked("", f"http://{host}:{number}/", method=entry.method, path=path)
    if entry.side == "outbound":
        pod = world.db.ask(workloads.by_uid, entry.pod)
        return _from(pod, entry.local, entry, path) if pod is not None else None
    pod = world.db.ask(workloads.at, entry.remote.rpartition(":")[0])
    return _from(pod, entry.local, entry, path) if pod is not None else None


def _from(pod: service.Workload, target: str, entry: Entry, path: str) -> answer.Asked:
    headers = (("host", entry.authority),) if entry.authority else ()
    return answer.Asked(
        f"pod/{pod.name}", target, pod.namespace, entry.method or "GET", path, headers, tcp=not entry.http
    )
