"""What was called and how it stands now: the Service's endpoints, their readiness, the address that failed and how."""

import enum

from retic import findings
from retic.envoy import names
from retic.explain.request.answer import Step
from retic.explain.request.world import World, ref_of
from retic.mesh import network, service, services, tables, workloads
from retic.telemetry import causes, entries

Entry = entries.Entry
_MOST = 8


class How(enum.StrEnum):
    """In which way a connection failed, in words that follow its address."""

    REFUSED = "refused the connection: nothing listens at that port"
    SILENT = "did not answer in time: nobody has the address, or something drops the packets"
    TLS = "and the caller's proxy could not agree on TLS"
    CLOSED = "closed the connection before it had answered"
    RESET = "reset the stream before it had answered"
    IN_ANSWER = "ended the connection in the midst of its answer"


def how(entry: Entry) -> How | None:
    """By Envoy's own words (upstream transport failure reason and response code details)."""
    if entry.refused:
        return None
    words = f"{entry.transport_failure} {entry.details}".lower()
    if "UF" in entry.flags:
        if "tls" in words or "ssl" in words or "certificate" in words:
            return How.TLS
        if "refused" in words:
            return How.REFUSED
        return How.SILENT if "timeout" in words or "timed_out" in words or "timed out" in words else None
    if "after_response_started" in words:
        return How.IN_ANSWER
    if "UC" in entry.flags:
        return How.CLOSED
    return How.RESET if {"UR", "LR"} & set(entry.flags) else None


def port(world: World, entry: Entry) -> services.PortKey | None:
    """The Service's port that was called, None for what is no Service's."""
    name = names.parse(entry.cluster)
    if name is not None and name.kind in (names.Kind.SERVICE, names.Kind.GRPC):
        return services.PortKey(name.parts[1], name.parts[2], int(name.parts[3]))
    where = name.parts[1] if name is not None and name.kind is names.Kind.VIRTUAL else entry.local
    found = world.db.ask(services.behind, where)
    if found is None and entry.service:
        namespace, _, called = entry.service.partition("/")
        known = world.db.ask(services.resolved, tables.Key(namespace, called))
        if known is not None and len(known.ports) == 1:
            return services.PortKey(namespace, called, known.ports[0].number)
    return found


def connection(entry: Entry) -> list[Step]:
    """Which address failed, and how."""
    way = how(entry)
    answer = []
    if entry.attempts > 1:
        answer.append(Step("attempts", f"{entry.attempts}, the last of which is told here"))
    if way is not None and entry.upstream:
        own = f" ({entry.transport_failure})" if entry.transport_failure and way is not How.REFUSED else ""
        answer.append(Step("address", f"{entry.upstream} {way}{own}"))
    elif entry.transport_failure:
        answer.append(Step("address", f"{entry.upstream or 'no address'}: {entry.transport_failure}"))
    return answer


def endpoints(world: World, entry: Entry, key: services.PortKey | None) -> list[Step]:
    """How the Service stands at this moment."""
    if key is None:
        return _nothing(world, entry)
    ref = findings.Ref("Service", key.namespace, key.name)
    every = world.db.ask(services.endpoints, key)
    if not every:
        return [world.step("endpoints", f"{ref} port {key.port} has none now", ref, "spec.selector")]
    ready = sum(each.state is service.State.READY for each in every)
    shown = [f"{each.address}:{each.port} {_whose(world, each)}" for each in every[:_MOST]]
    more = f", and {len(every) - _MOST} more" if len(every) > _MOST else ""
    text = f"{ref} port {key.port}: {ready} of {len(every)} ready now: {', '.join(shown)}{more}"
    return [world.step("endpoints", text, ref)]


_STATES = {
    service.State.READY: "ready", service.State.SERVING: "ending, still serving", service.State.AWAY: "not ready",
}  # fmt: skip


def _whose(world: World, each: service.Endpoint) -> str:
    pod = world.db.ask(workloads.at, each.address)
    whose = f"{ref_of(pod)}, " if pod is not None else "no pod, "
    tls = "" if each.secured else ", without the mesh's TLS"
    return f"({whose}{_STATES[each.state]}{tls})"


def _nothing(world: World, entry: Entry) -> list[Step]:
    """No Service has the address and port that were called."""
    if entry.code in (404, 500) or causes.of(entry) != causes.Code.NO_ENDPOINT:
        return []
    address, _, number = entry.local.rpartition(":")
    for key in sorted(world.db.find(tables.SERVICES_BY_ADDRESS, address)):
        ref = findings.Ref("Service", key.namespace, key.name)
        found = world.db.ask(services.resolved, key)
        there = ", ".join(str(each.number) for each in found.ports) if found else ""
        return [world.step("endpoints", f"{ref} has no TCP port {number}: it has {there or 'none'}", ref, "spec.ports")]
    return [Step("endpoints", f"nobody has the address {entry.local} now")]


def application(world: World, entry: Entry) -> list[Step]:
    """At the called pod: what its application did."""
    pod = world.db.ask(workloads.by_uid, entry.pod)
    who = str(ref_of(pod)) if pod is not None else "a pod that is gone"
    ref = ref_of(pod) if pod is not None else None
    way = how(entry)
    if way is None:
        return [world.step("inbound", f"at the proxy of {who}, {entry.local}", ref)]
    return [world.step("inbound", f"the application of {who} at {entry.upstream or entry.local} {way}", ref)]


def change(world: World, entry: Entry, key: services.PortKey | None) -> str:
    """What to change, where the state of things says more than the code does; "" where it does not."""
    code, way = causes.of(entry), how(entry)
    if code == causes.Code.NO_ENDPOINT and entry.source:
        if key is None:
            return "call an address and port that a Service or a pod has"
        every = world.db.ask(services.endpoints, key)
        if not every:
            return "let the Service's selector select pods, or start some (retic analyze, retic ps)"
        if not service.usable(every):
            return "let a pod of the Service become ready: its readiness probe fails, or it is starting"
        return "nothing now: endpoints have become ready since"
    if code == causes.Code.NO_CONNECTION and way is How.REFUSED:
        return "let the application listen at that port on all addresses, or correct the Service's targetPort"
    if code == causes.Code.NO_CONNECTION and way is How.TLS:
        return (
            "see that the agents of both nodes run and have certificates (retic proxy NODE secrets), and that the "
            "trust domain of the one that was called is accepted"
        )
    return ""


def identity(world: World, pod: service.Workload) -> str:
    """A pod's SPIFFE ID."""
    domain = world.db.ask(workloads.settings, tables.ONE).trust_domain
    return network.identity(domain, pod.namespace, pod.account)
