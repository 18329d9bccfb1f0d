"""By what an inbound listener chooses the chain of a connection: our ALPN, then the port it was made to.

A table (xds.type.matcher.v3.Matcher) and not a match in each chain: a listener whose table changes keeps its
chains, and so its connections, and one chain serves both ways to it.
"""

from collections.abc import Iterable

from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from google.protobuf import wrappers_pb2
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from retic.envoy import packing, tls

_NETWORK = "envoy.matching.inputs"


def chains(http: str, tcp: str, http_ports: Iterable[int]) -> matcher_pb2.Matcher:
    """`http` for what the caller's proxy took for HTTP, and for all that is made to one of `http_ports`; `tcp`
    for the rest of our mTLS; anything else falls to the listener's default chain."""
    ports = {str(port): _chain(http) for port in http_ports}
    other = matcher_pb2.Matcher.OnMatch()
    if ports:
        other.matcher.matcher_tree.CopyFrom(
            _tree("destination_port", network_inputs_pb2.DestinationPortInput(), ports)
        )
        other.matcher.on_no_match.CopyFrom(_chain(tcp))
    else:
        other.CopyFrom(_chain(tcp))
    answer = matcher_pb2.Matcher()
    # The input gives all protocols that the client offered, each in quotes, joined by commas.
    offered = {f"'{tls.ALPN_HTTP}'": _chain(http), f"'{tls.ALPN_TCP}'": other}
    answer.matcher_tree.CopyFrom(
        _tree("application_protocol", network_inputs_pb2.ApplicationProtocolInput(), offered)
    )
    return answer


def _tree(
    name: str,
    value: network_inputs_pb2.DestinationPortInput | network_inputs_pb2.ApplicationProtocolInput,
    answers: dict[str, matcher_pb2.Matcher.OnMatch],
) -> matcher_pb2.Matcher.MatcherTree:
    tree = matcher_pb2.Matcher.MatcherTree()
    tree.input.CopyFrom(
        extension_pb2.TypedExtensionConfig(name=f"{_NETWORK}.{name}", typed_config=packing.pack(value))
    )
    for key, answer in answers.items():
        tree.exact_match_map.map[key].CopyFrom(answer)
    return tree


def _chain(name: str) -> matcher_pb2.Matcher.OnMatch:
    chosen = packing.pack(wrappers_pb2.StringValue(value=name))
    return matcher_pb2.Matcher.OnMatch(
        action=extension_pb2.TypedExtensionConfig(name="chain", typed_config=chosen)
    )
