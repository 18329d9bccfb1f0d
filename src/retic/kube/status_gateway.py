"""The status of a Gateway and of its listeners. Pure.

Meaning comes from `retic.mesh`: faults by code and field, and how routes stand. Here it gets the specification's
words (GatewayConditionReason, ListenerConditionReason).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from retic import findings, graph
from retic.kube import conditions, live, requests
from retic.mesh import fields, gateways, tables, verdicts, workloads
from retic.objects import gateway

Json = dict[str, Any]
Condition = conditions.Condition

OWN = ("Accepted", "Programmed", conditions.LIVE)
LISTENER_OWN = ("Accepted", "Conflicted", "Programmed", "ResolvedRefs")


class Addresses(msgspec.Struct, frozen=True):
    """Where the Gateway's Service is reached now. `refused`: why the Service could not be made as asked."""

    values: tuple[tuple[str, str], ...] = ()
    refused: str = ""


class Listener(msgspec.Struct, frozen=True):
    """What is to stand in `status.listeners` for one listener."""

    name: str
    kinds: tuple[str, ...]
    attached: int
    conditions: tuple[Condition, ...]


class Gateway(msgspec.Struct, frozen=True):
    """What is to stand in a Gateway's status."""

    conditions: tuple[Condition, ...]
    listeners: tuple[Listener, ...]
    addresses: tuple[tuple[str, str], ...]


def wanted(
    db: graph.Graph,
    key: tables.Key,
    asked: requests.Asked | requests.Problem,
    addresses: Addresses,
    progress: live.Live | None,
) -> Gateway | None:
    """The status of a Gateway of ours; None for somebody else's. `progress` None: not known yet."""
    value = db.get(tables.GATEWAYS, key)
    if value is None or not db.ask(gateways.ours, value.spec.gateway_class_name):
        return None
    judged = [_judge(db, key, value, i) for i in range(len(value.spec.listeners))]
    accepted = _accepted(value, asked, judged)
    serving = Condition("Programmed", False, "Invalid", "the Gateway is not accepted")
    if accepted.holds and not isinstance(asked, requests.Problem):
        serving = _programmed(asked, addresses, progress, pods=bool(db.ask(workloads.accounts_of_gateway, key)))
    own = [accepted, serving]
    if accepted.holds:
        own.append(live.condition(progress))
    shown = addresses.values
    if isinstance(asked, requests.Asked) and asked.addresses:
        shown = tuple(pair for pair in shown if pair[1] in asked.addresses)
    listeners = tuple(each.done(serving) for each in judged)
    return Gateway(tuple(own), listeners, shown if accepted.holds else ())


class _Judged(msgspec.Struct, frozen=True):
    """A listener before it is known whether the proxy has it."""

    state: verdicts.Listener
    accepted: Condition
    conflicted: Condition
    resolved: Condition
    served: bool

    def done(self, gateway_serving: Condition) -> Listener:
        programmed = Condition("Programmed", False, "Invalid", "the listener is not served")
        if self.served:
            programmed = msgspec.structs.replace(
                gateway_serving,
                reason=gateway_serving.reason if gateway_serving.holds else "Pending",
            )
            if not gateway_serving.holds and gateway_serving.reason == "Invalid":
                programmed = gateway_serving
        found = (self.accepted, self.conflicted, self.resolved, programmed)
        return Listener(self.state.name, self.state.kinds, self.state.attached, found)


def _judge(db: graph.Graph, key: tables.Key, value: gateway.Gateway, number: int) -> _Judged:
    listener = value.spec.listeners[number]
    faults = [f for f in db.ask(gateways.resolved, key).faults if _within(f.path, f"spec.listeners[{number}]")]
    accepted = Condition("Accepted", True, "Accepted", "the listener can be served")
    conflicted = Condition("Conflicted", False, "NoConflicts", "no other listener is in its way")
    for fault in faults:
        if fault.code == "RT0304":
            reason = "ProtocolConflict" if fault.path.endswith(".protocol") else "HostnameConflict"
            conflicted = Condition("Conflicted", True, reason, fault.message)
            accepted = Condition("Accepted", False, reason, fault.message)
        elif fault.code == "RT0303":
            reason = "UnsupportedProtocol" if fault.path.endswith(".protocol") else "UnsupportedValue"
            accepted = Condition("Accepted", False, reason, f"{fault.message}: {fault.fix}")
    checked = fields.client_certificates(value.spec, number)
    if accepted.holds and checked is not None and not checked.optional:
        text = f"{checked.path}: Retic does not check client certificates yet, so the listener is not served"
        accepted = Condition("Accepted", False, "UnsupportedValue", text)
    state = db.ask(verdicts.listeners, key)[number]
    served = any(x.name == listener.name for x in db.ask(gateways.resolved, key).listeners)
    return _Judged(state, accepted, conflicted, _resolved(faults, state), served)


def _within(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith((prefix + ".", prefix + "["))


def _resolved(faults: Sequence[findings.Fault], state: verdicts.Listener) -> Condition:
    for fault in faults:
        if fault.code in ("RT0302", "RT0204"):
            reason = "InvalidCertificateRef" if fault.code == "RT0302" else "RefNotPermitted"
            return Condition("ResolvedRefs", False, reason, f"{fault.message}: {fault.fix}")
    if state.unknown:
        text = f"allowedRoutes.kinds: no {', '.join(state.unknown)} can attach; use {' or '.join(verdicts.KINDS)}"
        return Condition("ResolvedRefs", False, "InvalidRouteKinds", text)
    return Condition("ResolvedRefs", True, "ResolvedRefs", "all references are resolved")


def _accepted(
    value: gateway.Gateway, asked: requests.Asked | requests.Problem, judged: list[_Judged]
) -> Condition:
    if isinstance(asked, requests.Problem):
        return Condition("Accepted", False, asked.reason, asked.message)
    bad = [each for each in judged if not each.accepted.holds]
    if not bad:
        return Condition("Accepted", True, "Accepted", "the Gateway is served by Retic")
    names = ", ".join(each.state.name for each in bad)
    good = ", ".join(each.state.name for each in judged if each.accepted.holds) or "none"
    text = f"not valid: {names}; accepted: {good}"
    return Condition("Accepted", len(bad) < len(judged), "ListenersNotValid", text)


def _programmed(
    asked: requests.Asked, addresses: Addresses, progress: live.Live | None, *, pods: bool
) -> Condition:
    if addresses.refused:
        reason = "AddressNotUsable" if asked.addresses else "NoResources"
        return Condition("Programmed", False, reason, addresses.refused)
    have = {value for _, value in addresses.values}
    missing = [address for address in asked.addresses if address not in have]
    if asked.unusable or (missing and have):
        text = f"this address cannot be had: {', '.join(asked.unusable or missing)}"
        return Condition("Programmed", False, "AddressNotUsable", text)
    if not have:
        return Condition("Programmed", False, "AddressNotAssigned", "its Service has no address yet")
    if progress is None:
        text = "its proxy has not been heard of yet"
        return Condition("Programmed", False, "Pending", text, guessed=True)
    if progress.refused:
        text = f"its proxy refused {', '.join(sorted(set(progress.refused))[:3])}"
        return Condition("Programmed", False, "Invalid", text)
    if not pods or not progress.total:  # without a pod's account there is no listener that could be acknowledged
        return Condition("Programmed", False, "Pending", "no proxy of it is connected")
    if not progress.live:
        return Condition("Programmed", False, "Pending", "its proxy has not acknowledged it yet")
    return Condition("Programmed", True, "Programmed", "its proxy has acknowledged it")


def merged(present: Mapping[str, Any], made: Gateway, *, generation: int, now: str) -> Json:
    """The whole status: listeners in the order of the spec, and none that is gone."""
    before = {str(each.get("name")): each for each in present.get("listeners") or ()}
    listeners = []
    for each in made.listeners:
        old = before.get(each.name, {})
        found = conditions.merged(
            old.get("conditions") or (), each.conditions, generation=generation, now=now, own=LISTENER_OWN
        )
        kinds = [{"group": gateway.GROUP, "kind": kind} for kind in each.kinds]
        listeners.append(
            {**old, "name": each.name, "supportedKinds": kinds, "attachedRoutes": each.attached, "conditions": found}
        )
    own = conditions.merged(
        present.get("conditions") or (), made.conditions, generation=generation, now=now, own=OWN
    )
    addresses = [{"type": kind, "value": value} for kind, value in made.addresses]
    return {**present, "addresses": addresses, "conditions": own, "listeners": listeners}
