"""Whether a TCP connection reaches its application at all, decided before anything is said on it.

Envoy's RBAC for connections judges the first bytes that a caller sends. By then a server that speaks first has greeted
somebody who may not call it. So where a connection is passed on to is chosen by the same rules, written as an
expression of CEL over the same RBAC messages: to the address that it was made to, or to one that no connection can be
made to. It is evaluated when the caller's handshake is over, where its identity is known, and in plaintext when the
connection is there. (The cluster itself cannot be chosen so late: the TCP proxy has looked for it by then.)
"""

import ipaddress
import json
from collections.abc import Iterable, Sequence

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import any_pb2

from retic.envoy import authorization, packing
from retic.mesh import network
from retic.mesh.policy import Action
from retic.telemetry import words

TYPE = "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config"
_MESSAGE = "filters.network.set_filter_state.v3.Config"
REFUSED = words.NOWHERE
MOST_LETTERS = 90_000  # Envoy parses expressions of 100,000

_KEY = "envoy.network.transport_socket.original_dst_address"
_CALLER = "connection.uri_san_peer_certificate"
_NOBODY = "''"


def config(stages: Sequence[authorization.Stage]) -> any_pb2.Any:
    """The filter that chooses. Rules too many for one expression let connections pass: RBAC still ends them at the
    caller's first bytes."""
    given = [(each.action, each.enforced) for each in stages if each.enforced is not None]
    judged = [(action, rules) for action, rules in given if action in (Action.DENY, Action.ALLOW)]
    plain, secured = _held(judged, _NOBODY), _held(judged, _CALLER)
    held = secured if secured == plain else f"(connection.mtls ? {secured} : {plain})"
    if held == "true" or len(held) > MOST_LETTERS:
        return packing.by_name(_MESSAGE)
    return _filter(f"%CEL({held} ? destination.address : '{REFUSED}')%")


def closed() -> any_pb2.Any:
    """Refuses every connection."""
    return _filter(REFUSED)


def _filter(address: str) -> any_pb2.Any:
    # First what stays where the expression fails: an attribute that is not there is an error, and sets nothing.
    values = [
        {"object_key": _KEY, "format_string": {"text_format_source": {"inline_string": each}}}
        for each in dict.fromkeys((REFUSED, address))
    ]
    return packing.by_name(_MESSAGE, {"on_downstream_tls_handshake": values})


def _held(judged: Iterable[tuple[Action, rbac_pb2.RBAC]], caller: str) -> str:
    terms = []
    for action, rules in judged:
        held = _any(_policy(rules.policies[name], caller) for name in sorted(rules.policies))
        terms.append(f"!({held})" if action is Action.DENY else held)
    return _all(terms)


def _policy(of: rbac_pb2.Policy, caller: str) -> str:
    called = _any(_permission(each) for each in of.permissions)
    return _all([called, _any(_principal(each, caller) for each in of.principals)])


def _permission(rule: rbac_pb2.Permission) -> str:
    match rule.WhichOneof("rule"):
        case "any":
            return "true"
        case "and_rules":
            return _all(_permission(each) for each in rule.and_rules.rules)
        case "or_rules":
            return _any(_permission(each) for each in rule.or_rules.rules)
        case "not_rule":
            return f"!({_permission(rule.not_rule)})"
        case "destination_port":
            return f"destination.port == {rule.destination_port}"
        case "destination_ip":
            return _inside("destination.address", rule.destination_ip)
        case "requested_server_name":
            return f"({_matches('connection.requested_server_name', rule.requested_server_name)})"
    raise ValueError(f"no connection is judged by {rule.WhichOneof('rule')}")


def _principal(who: rbac_pb2.Principal, caller: str) -> str:
    match who.WhichOneof("identifier"):
        case "any":
            return "true"
        case "and_ids":
            return _all(_principal(each, caller) for each in who.and_ids.ids)
        case "or_ids":
            return _any(_principal(each, caller) for each in who.or_ids.ids)
        case "not_id":
            return f"!({_principal(who.not_id, caller)})"
        case "authenticated":
            # In plaintext nobody is anybody.
            return "false" if caller == _NOBODY else f"({_matches(caller, who.authenticated.principal_name)})"
        case "direct_remote_ip":
            return _inside("source.address", who.direct_remote_ip)
    raise ValueError(f"nobody on a connection is known by {who.WhichOneof('identifier')}")


def _inside(address: str, cidr: address_pb2.CidrRange) -> str:
    """Of the addresses of pods, which are IPv4."""
    found = ipaddress.ip_network(f"{cidr.address_prefix}/{cidr.prefix_len.value}", strict=False)
    if found.version != 4:
        return "false"
    if found.prefixlen == 0:
        return "true"
    end = ":" if found.prefixlen > 24 else ""  # then the prefixes are whole addresses, and a port follows
    prefixes = network.octet_prefixes(str(found))
    return "(" + _any(f"{address}.startsWith({_quoted(prefix + end)})" for prefix in prefixes) + ")"


def _matches(subject: str, said: string_pb2.StringMatcher) -> str:
    match said.WhichOneof("match_pattern"):
        case "exact":
            return f"{subject} == {_quoted(said.exact)}"
        case "prefix":
            return f"{subject}.startsWith({_quoted(said.prefix)})"
        case "suffix":
            return f"{subject}.endsWith({_quoted(said.suffix)})"
        case "safe_regex":
            return f"{subject}.matches({_quoted(f'^(?:{said.safe_regex.regex})$')})"
    raise ValueError(f"no text is compared by {said.WhichOneof('match_pattern')}")


def _quoted(text: str) -> str:
    """A string of CEL in which no % or ) ends the command around it."""
    return json.dumps(text).replace("%", "\\u0025").replace(")", "\\u0029")


def _any(terms: Iterable[str]) -> str:
    given = list(dict.fromkeys(terms))
    if "true" in given:
        return "true"
    left = [term for term in given if term != "false"]
    return f"({' || '.join(left)})" if left else "false"


def _all(terms: Iterable[str]) -> str:
    given = list(dict.fromkeys(terms))
    if "false" in given:
        return "false"
    left = [term for term in given if term != "true"]
    return f"({' && '.join(left)})" if left else "true"
