"""The HTTP filters' order, as one table with reasons, and the slots that policy fills later.

A slot is a filter whose configuration travels by itself (ECDS): changing it drains no connection. Slots
stand in every listener from its first day, because adding one later would change the listener.
"""

import enum
from collections.abc import Callable, Iterable

import msgspec
from envoy.config.core.v3 import address_pb2, config_source_pb2, extension_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import any_pb2, wrappers_pb2

from retic.envoy import (
    authorization,
    cors,
    counted,
    counters,
    deciding,
    external,
    faults,
    gate,
    limits,
    logs,
    names,
    observed,
    packing,
    rate_limits,
    sessions,
    several,
    tls,
    tokens,
    tracing,
)
from retic.mesh import authorizers, limit, peer, policy, probes, token


class Slot(enum.StrEnum):
    """The filters that are filled by ECDS. Every one is a security slot: unfilled, it refuses."""

    ASK = "ask"
    AUTHORIZATION = "authorization"
    TCP_MARK = "tcp-mark"
    TCP_ASK = "tcp-ask"
    TCP_AUDIT = "tcp-audit"
    TCP_DENY = "tcp-deny"
    TCP_ALLOW = "tcp-allow"
    TCP_GATE = "tcp-gate"
    PLAINTEXT = "plaintext"
    PLAINTEXT_ASK = "plaintext-ask"
    PLAINTEXT_HTTP = "plaintext-http"

    @property
    def http(self) -> bool:
        """Whether it stands among HTTP filters, where it decides on each request."""
        return self in (Slot.ASK, Slot.AUTHORIZATION, Slot.PLAINTEXT_ASK, Slot.PLAINTEXT_HTTP)


AT_GATEWAYS = (Slot.ASK, Slot.AUTHORIZATION)
ASKING = (Slot.ASK, Slot.PLAINTEXT_ASK, Slot.TCP_ASK)
"""The slots whose filters wait for somebody's answer."""
_TCP_RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"


def inbound(pod_uid: str) -> list[hcm_pb2.HttpFilter]:
    """What a request passes before it reaches the application."""
    return [
        # First: nothing behind it may see a request that is not allowed. What asks and waits has a slot of its own:
        # of several filters in one, those behind a filter that waits are passed over (`several`).
        _http_slot(Slot.ASK, pod_uid),
        # What is decided by rules may depend on what an authorizer has said.
        _http_slot(Slot.AUTHORIZATION, pod_uid),
        # Last by Envoy's own rule.
        _router(),
    ]


def plaintext(pod_uid: str) -> list[hcm_pb2.HttpFilter]:
    """What a request passes that came without the mesh's TLS."""
    return [
        # First, as above; its own, since what it decides by is not a caller's identity.
        _http_slot(Slot.PLAINTEXT_ASK, pod_uid),
        _http_slot(Slot.PLAINTEXT_HTTP, pod_uid),
        _router(),
    ]


def outbound() -> list[hcm_pb2.HttpFilter]:
    """What a request passes when it leaves a pod."""
    return [*_observing(), *_leaving()]


def _observing() -> list[hcm_pb2.HttpFilter]:
    # First: what is refused is reported too.
    return [logs.noting(), tracing.waiting()]


def _leaving() -> list[hcm_pb2.HttpFilter]:
    return [
        # First: a preflight is answered even where faults are tried.
        cors.resting(),
        # Before a cluster is loaded: who meets a fault may never need it.
        faults.resting(),
        # Behind whatever refuses: who is refused has no session.
        sessions.idle(),
        *sending(counted=True),
    ]


def sending(*, counted: bool = False) -> list[hcm_pb2.HttpFilter]:
    """The end of every chain that leads to another's cluster. `counted`: limits of routes may hold there."""
    return [
        # Before what limits routes: only a request that may be sent loads its cluster.
        _on_demand(),
        # Behind it: while its cluster is not there, Envoy asks about no request.
        *([rate_limits.standing()] if counted else []),
        _router(),
    ]


def gateway(slots: Iterable[str]) -> list[hcm_pb2.HttpFilter]:
    """What a request passes that enters a gateway; `slots` are the names of those that decide."""
    return [
        *_observing(),
        # Before all that leads on: who is refused loads no cluster.
        *map(_slot, slots),
        *_leaving(),
    ]


def _router() -> hcm_pb2.HttpFilter:
    router = router_pb2.Router(suppress_envoy_headers=True)
    return hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packing.pack(router))


def _on_demand() -> hcm_pb2.HttpFilter:
    odcds = on_demand_pb2.OnDemandCds(source=tls.ads(), timeout=limits.seconds(limits.ON_DEMAND_SECONDS))
    config = on_demand_pb2.OnDemand(odcds=odcds)
    return hcm_pb2.HttpFilter(name="envoy.filters.http.on_demand", typed_config=packing.pack(config))


def _http_slot(slot: Slot, pod_uid: str) -> hcm_pb2.HttpFilter:
    return _slot(names.filter_slot(slot, pod_uid))


def _slot(name: str) -> hcm_pb2.HttpFilter:
    return hcm_pb2.HttpFilter(
        name=name, config_discovery=_discovery(several.TYPES, packing.pack(deny_http()))
    )


def network_slot(slot: Slot, pod_uid: str) -> listener_components_pb2.Filter:
    """A slot among a chain's network filters."""
    if slot is Slot.TCP_GATE:
        discovery = _discovery((gate.TYPE,), gate.closed())
    else:
        types = external.TCP_TYPES if slot is Slot.TCP_ASK else (_TCP_RBAC,)
        discovery = _discovery(types, packing.pack(deny_network(slot)))
    return listener_components_pb2.Filter(name=names.filter_slot(slot, pod_uid), config_discovery=discovery)


def _discovery(types: Iterable[str], default: any_pb2.Any) -> config_source_pb2.ExtensionConfigSource:
    # Unanswered, a slot would hold back every listener for 15 s: it starts with its default instead.
    return config_source_pb2.ExtensionConfigSource(
        config_source=tls.ads(),
        default_config=default,
        apply_default_config_without_warming=True,
        type_urls=types,
    )


def deny_http() -> http_rbac_pb2.RBAC:
    """Refuses every request."""
    return http_rbac_pb2.RBAC(rules=rbac_pb2.RBAC(action=rbac_pb2.RBAC.ALLOW))


def deny_network(slot: Slot) -> network_rbac_pb2.RBAC:
    """Refuses every connection."""
    return network_rbac_pb2.RBAC(stat_prefix=f"{slot}.", rules=rbac_pb2.RBAC(action=rbac_pb2.RBAC.ALLOW))


def requests(
    slot: str,
    whose: str,
    policies: Iterable[policy.Policy],
    counting: Iterable[extension_pb2.TypedExtensionConfig] = (),
) -> extension_pb2.TypedExtensionConfig:
    """For Slot.AUTHORIZATION of a pod or a gateway: what requests pass. `whose` begins the counters of dry runs."""
    # Limits last: a request that is refused counts for none, and the last may wait.
    return deciding.by_stages(slot, (), authorization.stages(policies, http=True), whose, tuple(counting))


def asked_requests(
    slot: str, who: external.Asker, questions: authorizers.Questions, issuers: tuple[token.Issuer, ...] = (), *,
    routed: bool = False, told: observed.Observed = observed.NOTHING,
) -> extension_pb2.TypedExtensionConfig:
    """For Slot.ASK of a pod or a gateway: whose tokens are taken, which requests are asked about, and whom. `routed`:
    whether routes are chosen by what a request says."""
    # Tokens first: policies of every action read what was found in them. Who waits for an answer stands last.
    asking = [*tokens.filters(issuers, routed=routed), *external.of_requests(who, questions)]
    return several.filled(slot, [*observed.in_slot(told), *asking])


def asked_plaintext(
    pod_uid: str,
    what: "Plaintext",
    who: external.Asker,
    questions: authorizers.Questions,
    issuers: tuple[token.Issuer, ...] = (),
    told: observed.Observed = observed.NOTHING,
) -> extension_pb2.TypedExtensionConfig:
    """For Slot.PLAINTEXT_ASK: nobody is asked about probes, nor where nothing else may come."""
    name = names.filter_slot(Slot.PLAINTEXT_ASK, pod_uid)
    if _nowhere(what.taken, _taken):
        return several.filled(name, observed.in_slot(told))
    asking = [*tokens.filters(issuers, routed=False), *external.of_requests(who, questions, _exempt(what))]
    return several.filled(name, [*observed.in_slot(told), *asking])


_OF_TCP = {
    Slot.TCP_AUDIT: policy.Action.AUDIT, Slot.TCP_DENY: policy.Action.DENY, Slot.TCP_ALLOW: policy.Action.ALLOW,
}  # fmt: skip


def connections(
    slot: Slot, pod_uid: str, policies: Iterable[policy.Policy]
) -> extension_pb2.TypedExtensionConfig:
    """For the slots of TCP: one action each, and the gate."""
    if slot is Slot.TCP_GATE:
        chosen = gate.config(authorization.stages(policies, http=False))
        return extension_pb2.TypedExtensionConfig(name=names.filter_slot(slot, pod_uid), typed_config=chosen)
    made = network_rbac_pb2.RBAC(stat_prefix=f"{slot}.")
    for stage in authorization.stages(policies, http=False):
        if stage.action is _OF_TCP[slot]:
            deciding.take(made, stage)
            _count_connections(made, stage, pod_uid)
    return packing.typed(names.filter_slot(slot, pod_uid), made)


def _count_connections(made: network_rbac_pb2.RBAC, stage: authorization.Stage, pod_uid: str) -> None:
    """Of connections no rule is counted by itself, and what is only logged not at all: it counts as refused."""
    if stage.dry is not None:
        made.shadow_rules_stat_prefix = counters.dry(pod_uid, stage, single=True)
    elif stage.action is policy.Action.AUDIT and stage.enforced is not None:
        made.shadow_rules.CopyFrom(stage.enforced)
        made.shadow_rules_stat_prefix = counters.audited(stage)
    if stage.action is policy.Action.AUDIT:
        made.shadow_rules.action = rbac_pb2.RBAC.DENY


def asked_connections(
    slot: Slot, pod_uid: str, who: external.Asker, questions: authorizers.Questions
) -> extension_pb2.TypedExtensionConfig:
    """For the two slots of TCP that are for CUSTOM policies: the one marks, the other asks."""
    name = names.filter_slot(slot, pod_uid)
    made = network_rbac_pb2.RBAC(stat_prefix=f"{slot}.")
    if slot is Slot.TCP_MARK:
        external.of_connections(who, questions, made)
        return packing.typed(name, made)
    asking = external.asking_connections(who, questions)
    return packing.typed(name, made if asking is None else asking)


class Plaintext(msgspec.Struct, frozen=True):
    """What plaintext may do at a pod: everything at ports that take it, else what a kubelet at one of `sources` (IPv4
    addresses) does for the probes and hooks in the pod's spec."""

    taken: peer.Taken
    sources: tuple[str, ...] = ()
    probed: probes.Probes = probes.Probes()


def plaintext_requests(
    pod_uid: str, what: Plaintext, policies: Iterable[policy.Policy] = (), limited: Iterable[limit.Limit] = ()
) -> extension_pb2.TypedExtensionConfig:
    """For Slot.PLAINTEXT_HTTP. Of a probe: that port, GET, and that request target to the letter; or gRPC's health
    check. Where everything is allowed, what would be refused otherwise is counted, and policies decide of what is no
    probe."""
    name = names.filter_slot(Slot.PLAINTEXT_HTTP, pod_uid)
    mode = http_rbac_pb2.RBAC()
    _by_mode(mode, pod_uid, what, _from(what.sources, _probes(what)))
    if _nowhere(what.taken, _taken):
        return packing.typed(name, mode)
    stages = authorization.stages(policies, http=True, exempt=_exempt(what))
    counting = rate_limits.of_requests(limited, rate_limits.Where.UNKNOWN, pod_uid, _uncounted(what))
    return deciding.by_stages(name, (packing.typed("mode", mode),), stages, pod_uid, tuple(counting))


def _uncounted(what: Plaintext) -> counted.Exempt:
    gets = [(get.port, "GET", get.target) for get in what.probed.gets]
    return counted.Exempt(what.sources, (*gets, *((port, "POST", _HEALTH) for port in what.probed.grpc)))


def _exempt(what: Plaintext) -> authorization.Exempt:
    return authorization.Exempt(tuple(_probes(what)), tuple(_sources(what.sources)))


def _probes(what: Plaintext) -> list[rbac_pb2.Permission]:
    return [_get(get) for get in what.probed.gets] + [_health(port) for port in what.probed.grpc]


def plaintext_connections(pod_uid: str, what: Plaintext) -> extension_pb2.TypedExtensionConfig:
    """For Slot.PLAINTEXT: none of them is a probe that is looked into. Counted as requests are."""
    made = network_rbac_pb2.RBAC(stat_prefix=f"{Slot.PLAINTEXT}.")
    probed = _from(what.sources, [_port(port) for port in what.probed.ports])
    _by_mode(made, pod_uid, what, _from((), []), probed)
    return packing.typed(names.filter_slot(Slot.PLAINTEXT, pod_uid), made)


def _by_mode(
    made: http_rbac_pb2.RBAC | network_rbac_pb2.RBAC,
    pod_uid: str,
    what: Plaintext,
    closed: rbac_pb2.RBAC,
    counted: rbac_pb2.RBAC | None = None,
) -> None:
    """`closed` is what passes at a port that takes no plaintext; `counted` what STRICT is said to let pass, the same
    when left out. Where callers are told to use plaintext nothing is counted: in STRICT they would not."""
    if not _everywhere(what.taken, _taken):
        made.rules.CopyFrom(_or_where(what.taken, _taken, closed))
    if not _nowhere(what.taken, _noted):
        made.shadow_rules.CopyFrom(_or_where(what.taken, _not_noted, counted or closed))
        made.shadow_rules_stat_prefix = _counted(pod_uid)


def _taken(terms: peer.Terms) -> bool:
    return terms.plaintext


def _noted(terms: peer.Terms) -> bool:
    return terms.plaintext and terms.secured


def _not_noted(terms: peer.Terms) -> bool:
    return not _noted(terms)


def _everywhere(taken: peer.Taken, holds: Callable[[peer.Terms], bool]) -> bool:
    return holds(taken.whole) and all(holds(each.terms) for each in taken.ports)


def _nowhere(taken: peer.Taken, holds: Callable[[peer.Terms], bool]) -> bool:
    return not holds(taken.whole) and not any(holds(each.terms) for each in taken.ports)


def _or_where(
    taken: peer.Taken, holds: Callable[[peer.Terms], bool], rules: rbac_pb2.RBAC
) -> rbac_pb2.RBAC:
    """What the rules allow, and everything at the ports where `holds`."""
    ports = [_port(each.port) for each in taken.ports if holds(each.terms) is not holds(taken.whole)]
    if not ports and not holds(taken.whole):
        return rules
    there = rbac_pb2.Permission(or_rules=rbac_pb2.Permission.Set(rules=ports))
    if holds(taken.whole):
        there = rbac_pb2.Permission(not_rule=there) if ports else rbac_pb2.Permission(any=True)
    answer = rbac_pb2.RBAC()
    answer.CopyFrom(rules)
    answer.policies["ports"].CopyFrom(
        rbac_pb2.Policy(permissions=[there], principals=[rbac_pb2.Principal(any=True)])
    )
    return answer


def _counted(pod_uid: str) -> str:
    """The beginning of the counters of what STRICT would refuse; ends with a dot as Envoy wants."""
    return f"strict.{pod_uid}."


def _from(sources: Iterable[str], allowed: list[rbac_pb2.Permission]) -> rbac_pb2.RBAC:
    answer = rbac_pb2.RBAC(action=rbac_pb2.RBAC.ALLOW)
    who = _sources(sources)
    if who and allowed:
        answer.policies["probes"].CopyFrom(rbac_pb2.Policy(permissions=allowed, principals=who))
    return answer


def _sources(sources: Iterable[str]) -> list[rbac_pb2.Principal]:
    return [rbac_pb2.Principal(direct_remote_ip=_one(address)) for address in sources]


def _one(address: str) -> address_pb2.CidrRange:
    return address_pb2.CidrRange(address_prefix=address, prefix_len=wrappers_pb2.UInt32Value(value=32))


# A probe that says one of these is none. An upgrade would make of the request a connection of which nobody sees what
# it carries; by the others some frameworks take another path or method than the request line's.
_NOT_SAID = (
    "upgrade", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override",
)  # fmt: skip


def _get(get: probes.Get) -> rbac_pb2.Permission:
    return _all(_port(get.port), _header(":method", "GET"), _header(":path", get.target), *map(_without, _NOT_SAID))


def _without(name: str) -> rbac_pb2.Permission:
    said = route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return rbac_pb2.Permission(not_rule=rbac_pb2.Permission(header=said))


_HEALTH = "/grpc.health.v1.Health/Check"


def _health(port: int) -> rbac_pb2.Permission:
    return _all(_port(port), _header(":method", "POST"), _header(":path", _HEALTH))


def _all(*rules: rbac_pb2.Permission) -> rbac_pb2.Permission:
    return rbac_pb2.Permission(and_rules=rbac_pb2.Permission.Set(rules=rules))


def _port(number: int) -> rbac_pb2.Permission:
    return rbac_pb2.Permission(destination_port=number)


def _header(name: str, value: str) -> rbac_pb2.Permission:
    exact = string_pb2.StringMatcher(exact=value)
    return rbac_pb2.Permission(header=route_components_pb2.HeaderMatcher(name=name, string_match=exact))
