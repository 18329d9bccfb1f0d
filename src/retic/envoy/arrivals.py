"""By what a listener chooses the chain of a connection.

A table (xds.type.matcher.v3.Matcher) and not a match in each chain: a listener whose table changes keeps its
chains, and so its connections, and several ways can lead to one chain. What no way leads to is closed at once.
"""

from collections.abc import Iterable

import msgspec
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2 as inputs
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message
from xds.core.v3 import cidr_pb2, extension_pb2
from xds.type.matcher.v3 import ip_pb2, matcher_pb2

from retic.envoy import packing, tls
from retic.mesh import peer

# A pod's chains for connections that arrive.
HTTP, TCP = "http", "tcp"
PLAINTEXT_HTTP, PLAINTEXT_TCP = "plaintext-http", "plaintext-tcp"
PROBES_TLS = "probes-tls"
# A pod's chains for connections that leave; HTTP is one of them.
TO_SERVICE, TO_POD = "tcp-service", "tcp-pod"

_HTTP_FOUND = ("http/1.0", "http/1.1", "h2c")
_NOBODY = "0.0.0.0/32"

Way = matcher_pb2.Matcher.OnMatch


class Probes(msgspec.Struct, frozen=True):
    """What may be a probe where plaintext is refused: what comes from `sources` (addresses) for `http` or, with TLS,
    for `https` (ports)."""

    sources: tuple[str, ...] = ()
    http: tuple[int, ...] = ()
    https: tuple[int, ...] = ()

    def at(self, port: int) -> "Probes":
        """Those at one port."""
        return Probes(self.sources, _only(self.http, port), _only(self.https, port))


def inbound(http_ports: Iterable[int], taken: peer.Taken, probes: Probes) -> matcher_pb2.Matcher:
    """Port by port where they differ in what they take: our own mTLS by its ALPN, and as HTTP whatever is made to one
    of `http_ports`; then the rest."""
    declared = tuple(http_ports)
    whole = _taken(declared, taken.whole, probes)
    if not taken.ports:
        return whole
    ways = {
        str(each.port): Way(matcher=_taken(_only(declared, each.port), each.terms, probes.at(each.port)))
        for each in taken.ports
    }
    answer = _tree("destination_port", inputs.DestinationPortInput(), ways)
    answer.on_no_match.CopyFrom(Way(matcher=whole))
    return answer


def _only(ports: tuple[int, ...], port: int) -> tuple[int, ...]:
    return (port,) if port in ports else ()


def _taken(declared: tuple[int, ...], terms: peer.Terms, probes: Probes) -> matcher_pb2.Matcher:
    other = _open(declared) if terms.plaintext else _probed(probes)
    if not terms.mtls:
        # Our own TLS is ended nowhere here: to such a port it is an application's, as any other TLS.
        return other.matcher if other is not None else matcher_pb2.Matcher()
    ours = _tree(
        "application_protocol",
        inputs.ApplicationProtocolInput(),
        # The input gives all protocols that the client offered, each in quotes, joined by commas.
        {
            f"'{tls.ALPN_HTTP}'": _chain(HTTP),
            f"'{tls.ALPN_TCP}'": _by_port_or(dict.fromkeys(declared, HTTP), _chain(TCP)),
        },
    )
    if other is not None:
        ours.on_no_match.CopyFrom(other)
    return ours


def _open(http_ports: tuple[int, ...]) -> Way:
    """An application's own TLS passes as it is; HTTP in plaintext is parsed, so that nobody forges a header."""
    plain = _by_port_or(dict.fromkeys(http_ports, PLAINTEXT_HTTP), _chain(PLAINTEXT_TCP))
    return _by_transport({"tls": _chain(PLAINTEXT_TCP), "raw_buffer": plain})


def _probed(plaintext: Probes) -> Way | None:
    """What may be a probe. That it is one, and not something else, is seen to in its chain."""
    ways = {}
    if plaintext.https:
        ways["tls"] = Way(matcher=_by_port(dict.fromkeys(plaintext.https, PROBES_TLS)))
    if plaintext.http:
        ways["raw_buffer"] = Way(matcher=_by_port(dict.fromkeys(plaintext.http, PLAINTEXT_HTTP)))
    if not ways or not plaintext.sources:
        return None
    found = _by_address(inputs.SourceIPInput(), "source_ip", {plaintext.sources: _by_transport(ways)})
    return Way(matcher=found)


def outbound(pods: tuple[str, ...], services: tuple[str, ...], *, look: bool) -> matcher_pb2.Matcher:
    """By the network (CIDRs) that a connection was made to; with `look`, HTTP that was found goes to its own chain."""
    ways = {}
    for cidrs, chain in ((services, TO_SERVICE), (pods, TO_POD)):
        way = _chain(chain)
        if look:
            found = {f"'{protocol}'": _chain(HTTP) for protocol in _HTTP_FOUND}
            by_protocol = _tree("application_protocol", inputs.ApplicationProtocolInput(), found)
            by_protocol.on_no_match.CopyFrom(way)
            way = Way(matcher=by_protocol)
        ways[cidrs or (_NOBODY,)] = way
    return _by_address(inputs.DestinationIPInput(), "destination_ip", ways)


def _by_port(chains: dict[int, str]) -> matcher_pb2.Matcher:
    ways = {str(port): _chain(chain) for port, chain in chains.items()}
    return _tree("destination_port", inputs.DestinationPortInput(), ways)


def _by_port_or(chains: dict[int, str], otherwise: Way) -> Way:
    if not chains:
        return otherwise
    found = _by_port(chains)
    found.on_no_match.CopyFrom(otherwise)
    return Way(matcher=found)


def _by_transport(ways: dict[str, Way]) -> Way:
    return Way(matcher=_tree("transport_protocol", inputs.TransportProtocolInput(), ways))


def _by_address(value: Message, name: str, ways: dict[tuple[str, ...], Way]) -> matcher_pb2.Matcher:
    """`ways` by their CIDRs, or single addresses; of several that hold an address the longest counts."""
    ranges = ip_pb2.IPMatcher()
    for cidrs, way in ways.items():
        ranges.range_matchers.add(ranges=[_range(cidr) for cidr in cidrs], on_match=way)
    answer = matcher_pb2.Matcher()
    answer.matcher_tree.input.CopyFrom(_input(name, value))
    answer.matcher_tree.custom_match.CopyFrom(packing.typed_xds("ip", ranges))
    return answer


def _range(cidr: str) -> cidr_pb2.CidrRange:
    base, _, bits = cidr.partition("/")
    return cidr_pb2.CidrRange(address_prefix=base, prefix_len=wrappers_pb2.UInt32Value(value=int(bits or 32)))


def _tree(name: str, value: Message, ways: dict[str, Way]) -> matcher_pb2.Matcher:
    answer = matcher_pb2.Matcher()
    answer.matcher_tree.input.CopyFrom(_input(name, value))
    for key, way in ways.items():
        answer.matcher_tree.exact_match_map.map[key].CopyFrom(way)
    return answer


def _input(name: str, value: Message) -> extension_pb2.TypedExtensionConfig:
    return packing.typed_xds(f"envoy.matching.inputs.{name}", value)


def _chain(name: str) -> Way:
    return Way(action=packing.typed_xds("chain", wrappers_pb2.StringValue(value=name)))
