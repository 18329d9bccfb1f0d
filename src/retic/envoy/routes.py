"""Route configurations: of a namespace's outgoing requests, of a gateway's port, of one of its TLS listeners.

Outgoing requests are matched by the address they were sent to, in a header of the proxy's own: whatever a
client writes in Host changes nothing. Only Services with routes have virtual hosts; every other address
falls to the default one and its on-demand cluster.
"""

from collections.abc import Iterable

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import failures, limits, logs, managers, matches, names, observed, replies, retrying, rules
from retic.mesh import network, route

_BODY_BYTES = 4096  # RouteConfiguration, max_direct_response_body_size_bytes
_MISDIRECTED = 421  # RFC 9110, section 15.5.20

def outbound(
    client: str, tables: Iterable[route.Table], settings: network.Settings,
    told: observed.Observed = observed.NOTHING,
) -> route_pb2.RouteConfiguration:
    """What all pods of namespace `client` share."""
    tables = list(tables)
    hosts = [_host(table, client, f"{table.domains[0]}") for table in tables]
    hosts.append(
        route_components_pb2.VirtualHost(
            name="default", domains=["*"], routes=_default(settings), retry_policy=retrying.own()
        )
    )
    return route_pb2.RouteConfiguration(
        name=names.routes(client),
        vhost_header=managers.DESTINATION_HEADER,
        validate_clusters=wrappers_pb2.BoolValue(value=False),
        virtual_hosts=hosts,
        max_direct_response_body_size_bytes=_longest(tables),
        request_headers_to_remove=managers.INTERNAL_HEADERS,
        request_headers_to_add=[logs.to_next()],
        response_headers_to_remove=[failures.HEADER],
        typed_per_filter_config=observed.by_routes(told),
    )


def gateway(
    name: str, client: str, tables: Iterable[route.Table], port: int, elsewhere: Iterable[str] = (),
    told: observed.Observed = observed.NOTHING,
) -> route_pb2.RouteConfiguration:
    """Hosts of a gateway in namespace `client`; `port` 0 when its scheme implies it.

    Requests for the hosts `elsewhere` are answered 421: the client shall open another connection for them.
    """
    tables = list(tables)
    virtual = [_host(table, client, table.domains[0], port) for table in tables]
    if others := tuple(elsewhere):
        misdirected = route_components_pb2.Route(name="misdirected")
        misdirected.match.prefix = "/"
        misdirected.direct_response.status = _MISDIRECTED
        replies.refusal(misdirected)
        # No host can have this name: it has a space.
        virtual.append(
            route_components_pb2.VirtualHost(name="other listeners", domains=others, routes=[misdirected])
        )
    return route_pb2.RouteConfiguration(
        name=name,
        validate_clusters=wrappers_pb2.BoolValue(value=False),
        virtual_hosts=virtual,
        max_direct_response_body_size_bytes=_longest(tables),
        ignore_port_in_host_matching=True,
        request_headers_to_remove=[logs.MARK],
        request_headers_to_add=[logs.to_next()],
        response_headers_to_remove=[failures.HEADER],
        typed_per_filter_config=observed.by_routes(told),
    )


def _host(table: route.Table, client: str, name: str, port: int = 0) -> route_components_pb2.VirtualHost:
    entries = [entry for rule in table.rules for entry in rules.entries(rule, client, port)]
    return route_components_pb2.VirtualHost(
        name=name, domains=table.domains, routes=entries, retry_policy=retrying.own()
    )


def _longest(tables: Iterable[route.Table]) -> wrappers_pb2.UInt32Value | None:
    """The room for answers of the proxy's own, where Envoy's 4 kB are not enough."""
    bodies = [len(rule.answer.body) for table in tables for rule in table.rules if rule.answer is not None]
    longest = max(bodies, default=0)
    return wrappers_pb2.UInt32Value(value=longest) if longest > _BODY_BYTES else None


def _default(settings: network.Settings) -> list[route_components_pb2.Route]:
    """Virtual addresses go to a cluster named by address and port, all others to one named by address."""
    answer = []
    for cidr in network.aggregate(settings.service_networks):
        for octets in network.octet_prefixes(cidr):
            # A whole address ends where its port begins: 10.0.0.1 is not 10.0.0.10.
            prefix = octets if octets.endswith(".") else f"{octets}:"
            match = route_components_pb2.RouteMatch(prefix="/")
            match.headers.append(
                route_components_pb2.HeaderMatcher(
                    name=managers.DESTINATION_HEADER, string_match=string_pb2.StringMatcher(prefix=prefix)
                )
            )
            answer.extend(_to_header(match, managers.VIRTUAL_HEADER))
    for each in _to_header(route_components_pb2.RouteMatch(prefix="/"), managers.ADDRESS_HEADER):
        each.route.retry_policy.CopyFrom(retrying.own_of_address())
        answer.append(each)
    return answer


def _to_header(match: route_components_pb2.RouteMatch, header: str) -> list[route_components_pb2.Route]:
    plain = route_components_pb2.Route(match=match)
    plain.route.cluster_header = header
    plain.route.timeout.CopyFrom(limits.seconds(0))
    return [plain, matches.for_connect(plain)]
