"""The receiving side: what the proxy of the pod that is called does with a request or a connection."""

import msgspec

from retic.explain.request import limits, message, policies, tests
from retic.explain.request.answer import Outcome, Step
from retic.explain.request.callers import Caller
from retic.explain.request.world import World, key_of, ref_of
from retic.mesh import declared, network, service, tables, workloads
from retic.mesh import limits as limiting
from retic.mesh import policies as applying


class Sent(msgspec.Struct, frozen=True):
    """What is sent. `request`: the head as it left the sender, None when nobody has looked into the connection.
    `raw`: the head as its client wrote it, for a receiver that looks although the sender did not."""

    request: message.Message | None
    raw: message.Message
    claims: dict[str, object] | None = None
    tcp: bool = False


class Arrival(msgspec.Struct, frozen=True):
    """How it ends at one pod, and the steps there."""

    outcome: Outcome
    steps: tuple[Step, ...]


def mode(world: World, pod: service.Workload, port: int) -> str:
    """What plaintext may do at a pod's port: nothing (STRICT) or everything (PERMISSIVE), as to a pod that leaves the
    mesh. The same at all ports of a pod."""
    del port
    if pod.role is not service.Role.WORKLOAD:
        return "PERMISSIVE"
    return world.db.ask(workloads.settings, tables.ONE).mode


def arrive(world: World, caller: Caller, address: str, port: int, sent: Sent) -> Arrival:
    """At `address`, port `port`."""
    pod = world.db.ask(workloads.at, address)
    if pod is None or not pod.secured:
        who = f"{address}:{port}" if pod is None else f"{ref_of(pod)} port {port}"
        ref = None if pod is None else ref_of(pod)
        name = "" if pod is None else f"{pod.namespace}/{pod.name}"
        text = f"{who} is not in the mesh: it is reached in plaintext, and no policy is asked"
        return Arrival(Outcome(True, None, pod=name), (world.step("inbound", text, ref),))
    return _at_pod(world, caller, pod, port, sent)


def _at_pod(world: World, caller: Caller, pod: service.Workload, port: int, sent: Sent) -> Arrival:
    name, allowed_mode = f"{pod.namespace}/{pod.name}", mode(world, pod, port)
    looked = port in world.db.ask(declared.http_ports, key_of(pod))
    ref = ref_of(pod)
    if not caller.meshed and allowed_mode == "STRICT":
        text = f"{ref} port {port}: mode STRICT, and the caller has no mTLS: the connection is closed"
        return Arrival(Outcome(False, None, pod=name), (world.step("inbound", text, ref),))
    by = "mTLS" if caller.meshed else "plaintext"
    if caller.meshed:
        request = sent.request or (sent.raw if looked else None)
    else:
        request = sent.raw if looked else None
    if looked and sent.tcp:
        text = f"{ref} port {port}: a Service declares it HTTP, and this is none: refused"
        return Arrival(Outcome(False, None, pod=name), (world.step("inbound", text, ref),))
    what = "a request" if request is not None else "a connection that nobody looks into"
    steps = [world.step("inbound", f"{ref} port {port}: mode {allowed_mode}, {what} over {by}", ref)]
    if request is not None:
        domain = world.db.ask(workloads.settings, tables.ONE).trust_domain
        receiver = network.identity(domain, pod.namespace, pod.account)
        request = message.arriving(request, caller.identity, receiver)
    call = tests.Call(caller.identity, caller.address, port, pod.address, request, claims=sent.claims)
    found = policies.verdict(world.db.ask(applying.applying, key_of(pod)), call)
    steps += told(world, found)
    if request is not None and found.allowed:
        steps += limits.told(world, world.db.ask(limiting.applying, key_of(pod)), request, port)
    judged = world.judged(found.by.policy, found.by.rule) if found.by else None
    status = None if found.allowed or request is None else 403
    seen = None
    if request is not None and found.allowed:
        headers = {name: value for name, value in request.headers.items() if name != message.MARK}
        seen = (request.target, request.authority, tuple(sorted(headers.items())))
    return Arrival(Outcome(found.allowed, status, pod=name, policy=judged, seen=seen), tuple(steps))


def told(world: World, found: policies.Verdict) -> list[Step]:
    """A step for each policy that applied, in the order in which they are asked."""
    answer = []
    for said in found.said:
        answer.append(world.step("policy", said.text, said.policy.origin, said.field))
    if not found.said:
        answer.append(Step("policy", "no policy applies: allowed"))
    elif found.by is None:
        answer.append(Step("policy", "no ALLOW policy is enforced, and nothing refuses: allowed"))
    elif not found.allowed and found.by.rule is None and found.by.policy.action == "ALLOW":
        answer.append(Step("policy", "there are ALLOW policies, and none matches: refused"))
    return answer
