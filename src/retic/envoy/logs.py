"""Access loggers: what a proxy counts of requests and connections, and what it reports of them to its agent.

Both stand in every listener from its first day. Counting is always on and done by Envoy itself
(envoy.access_loggers.stats). An entry goes to the agent (envoy.access_loggers.http_grpc) when a request failed or was
refused on the way, and for every request only while somebody looks: then the agent sets a runtime key of that pod.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import limits, packing, tracing
from retic.telemetry import words
from retic.telemetry.words import Stat

Log = accesslog_pb2.AccessLog
Filter = accesslog_pb2.AccessLogFilter

AGENT = "agent"
"""The cluster of the agent's socket, which is in every bootstrap."""

MOST_COUNTERS, MOST_HISTOGRAMS = 600, 300
"""So many series may one listener's logger have of each kind: a pod whose callers invent labels costs no more. What is
beyond is counted by Envoy as `server.stats_overflow`."""

NOTING = "retic.noting"
"""The filter's name, by which route configurations fill it."""

MARK = "x-retic-destination"
"""A header that the proxy sets on every request and takes away when it sends it on: what still has it at its end was
answered by the proxy itself. (An expression that asks for response code details costs 7 kB for each logger.)"""

_SERVICE = f"%CLUSTER_METADATA({words.METADATA}:{words.SERVICE_KEY})%"


def _first(*commands: tuple[str, str]) -> str:
    """The first of these commands, each with its parameter, that has a value."""
    operators = ",".join(f'{{"command":"{command}","param":"{parameter}"}}' for command, parameter in commands)
    return f'%COALESCE({{"operators":[{operators}]}})%'


# An endpoint says it, or the cluster of a pod's address: its only endpoint is made as it is called.
_OWN = f"{words.METADATA}:{words.WORKLOAD_KEY}"
_CALLED = _first(("UPSTREAM_METADATA", _OWN), ("CLUSTER_METADATA", _OWN))
_CALLER, _PROTOCOL, _GRPC = "%DOWNSTREAM_PEER_URI_SAN%", "%PROTOCOL%", "%GRPC_STATUS_NUMBER%"
# From the first byte of a request to the last of its answer, in microseconds; 0 where none ended, a series apart by
# its response flags. Without that Envoy would write a line of its log for each request that a client gave up.
_TIMES = ("DS_RX_BEG:DS_TX_END:us", "DS_RX_BEG:DS_RX_BEG:us")
_DURATION = _first(*(("COMMON_DURATION", each) for each in _TIMES))
_STATE = (words.WORKLOAD_STATE, words.POD_STATE, words.PEER_STATE, words.HEADERS_STATE)
_NOTHING: Mapping[str, str] = {}
_REFUSED = "connection.termination_details != ''"


class Side(enum.StrEnum):
    """Where a logger stands. It names the stream of entries, so that a reader knows."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"
    PLAINTEXT = "plaintext"
    GATEWAY = "gateway"

    @property
    def source(self) -> bool:
        """Whether it is the caller's side."""
        return self in (Side.OUTBOUND, Side.GATEWAY)


class Who(msgspec.Struct, frozen=True):
    """Whose listener it is; `workload` is namespace/name, `pod_uid` is "" at a gateway."""

    workload: str
    principal: str
    pod_uid: str = ""


def http(side: Side, who: Who) -> list[Log]:
    """For a connection manager. What the proxy answers itself still has the header `MARK`."""
    link = [*_link(side, who), "%RESPONSE_FLAGS%"]
    ended = [*link, "%RESPONSE_CODE%", "%RESPONSE_CODE_DETAILS%", "%REQ(:METHOD):1%", _GRPC]
    sizes = {Stat.REQUEST_BYTES: "%BYTES_RECEIVED%", Stat.RESPONSE_BYTES: "%BYTES_SENT%"}
    spoken = [*link, _GRPC]
    histograms = [_histogram(Stat.DURATION, spoken, _DURATION, "Microseconds")]
    histograms += [_histogram(stat, spoken, value, "Bytes") for stat, value in sizes.items()]
    own = als_pb2.HttpGrpcAccessLogConfig(
        common_config=_reported(f"http/{side}"),
        additional_response_headers_to_log=(words.ID_HEADER, *words.REPORTED_RESPONSE_HEADERS),
    )
    return [
        _stats([_counter(Stat.REQUESTS, ended)], histograms),
        Log(
            name="envoy.access_loggers.http_grpc",
            filter=_any(
                _flagged(), _all(_failed(), _any(_unsent(), _hostless())), _switched(who), tracing.traced()
            ),
            typed_config=packing.pack(own),
        ),
    ]


def tcp(side: Side, who: Who) -> list[Log]:
    """For a listener: of all its TCP proxies, and of connections that reach none. Counted when they end.

    Connections of requests are among them, and have a protocol: whoever reads passes over them. A logger in each TCP
    proxy would not see them, and a pod has seven of those.
    """
    link = [*_link(side, who, connection=True), "%RESPONSE_FLAGS%"]
    counters = [
        _counter(Stat.CONNECTIONS, [*link, "", "%CONNECTION_TERMINATION_DETAILS%"]),
        _counter(Stat.RECEIVED, link, value="%BYTES_RECEIVED%"),
        _counter(Stat.SENT, link, value="%BYTES_SENT%"),
    ]
    own = als_pb2.TcpGrpcAccessLogConfig(common_config=_reported(f"tcp/{side}", {words.Tag.PROTOCOL: _PROTOCOL}))
    chosen = _any(_flagged(), _switched(who)) if side.source else _any(_flagged(), _refused(), _switched(who))
    return [
        _stats(counters, ()),
        Log(name="envoy.access_loggers.tcp_grpc", filter=chosen, typed_config=packing.pack(own)),
    ]


def _link(side: Side, who: Who, *, connection: bool = False) -> list[str]:
    """The fields of `words.Field` up to PROTOCOL."""
    if side.source:
        link = _CALLED + words.LINK_SEPARATOR + _SERVICE
        return [words.Reporter.SOURCE, who.workload, who.principal, "%UPSTREAM_PEER_URI_SAN%", link, _PROTOCOL]
    known = [words.Reporter.DESTINATION, who.workload, who.principal]
    if side is Side.PLAINTEXT:
        return [*known, "", "", _PROTOCOL]
    return [*known, _CALLER, "", _PROTOCOL] if connection else [*known, _state(words.PEER_STATE)]


def _state(key: str) -> str:
    return f"%FILTER_STATE({key}:PLAIN)%"


def caller() -> hcm_pb2.HttpFilter:
    """Remembers who calls, as `words.Field` from PEER_PRINCIPAL to PROTOCOL: what the caller's proxy said is taken away
    before the application sees the request, and four stats need it."""
    value = value_pb2.FilterStateValue(object_key=words.PEER_STATE, factory_key="envoy.string")
    said = words.SEPARATOR.join((_CALLER, f"%REQ({words.PEER_HEADER})%", _PROTOCOL))
    value.format_string.text_format_source.inline_string = said
    value.format_string.omit_empty_values = True
    config = set_filter_state_pb2.Config(on_request_headers=[value])
    return hcm_pb2.HttpFilter(name="retic.caller", typed_config=packing.pack(config))


def noting() -> hcm_pb2.HttpFilter:
    """Notes what the route configuration says (`to_note`): nothing by itself."""
    return hcm_pb2.HttpFilter(name=NOTING, typed_config=packing.pack(set_filter_state_pb2.Config()))


def to_note(headers: Iterable[str]) -> set_filter_state_pb2.Config:
    """Remembers these headers for entries, as words.HEADERS_STATE; `headers` are in lower case."""
    value = value_pb2.FilterStateValue(object_key=words.HEADERS_STATE, factory_key="envoy.string")
    said = words.LINE.join(f"{name}:%REQ({name}):{words.LONGEST_HEADER}%" for name in headers)
    value.format_string.text_format_source.inline_string = said
    value.format_string.omit_empty_values = True
    return set_filter_state_pb2.Config(on_request_headers=[value])


def to_next() -> base_pb2.HeaderValueOption:
    """What the next proxy is told: who calls, and which Service; whatever the client wrote."""
    value = _state(words.WORKLOAD_STATE) + words.LINK_SEPARATOR + _SERVICE
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=words.PEER_HEADER, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def service(namespace: str, name: str) -> base_pb2.Metadata:
    """A cluster's metadata: which Service it is."""
    return _known(words.SERVICE_KEY, f"{namespace}/{name}")


def workload(full_name: str) -> base_pb2.Metadata:
    """An endpoint's metadata, or that of a cluster of one pod's address: which workload it is one of."""
    return _known(words.WORKLOAD_KEY, full_name)


def _known(key: str, value: str) -> base_pb2.Metadata:
    metadata = base_pb2.Metadata()
    metadata.filter_metadata[words.METADATA].update({key: value})
    return metadata


Json = dict[str, object]


def _stats(counters: Sequence[Json], histograms: Sequence[Json]) -> Log:
    scope: Json = {"prefix": words.PREFIX, "enable_eviction": True, "max_counters": MOST_COUNTERS}
    if histograms:
        scope["max_histograms"] = MOST_HISTOGRAMS
    value: Json = {"stats_scope": scope, "counters": list(counters), "histograms": list(histograms)}
    return Log(
        name="envoy.access_loggers.stats", typed_config=packing.by_name("access_loggers.stats.v3.Config", value)
    )


def _counter(stat: Stat, labels: Sequence[str], *, value: str = "") -> Json:
    much: Json = {"value_format": value} if value else {"value_fixed": 1}
    return {"stat": _named(stat, labels), **much}


def _histogram(stat: Stat, labels: Sequence[str], value: str, unit: str) -> Json:
    return {"stat": _named(stat, labels), "unit": unit, "value_format": value}


def _named(stat: Stat, labels: Sequence[str]) -> Json:
    return {"name": stat, "tags": [{"name": words.TAG, "value_format": words.SEPARATOR.join(labels)}]}


def _reported(name: str, more: Mapping[str, str] = _NOTHING) -> als_pb2.CommonGrpcAccessLogConfig:
    """Equal for all pods: Envoy keeps a stream to the agent for each configuration that differs."""
    own: dict[str, str] = {
        words.Tag.ID: "%UNIQUE_ID%", words.Tag.SERVICE: _SERVICE, words.Tag.SERVER: "%UPSTREAM_PEER_URI_SAN%",
    }  # fmt: skip
    tags = {**own, **more}
    agent = grpc_service_pb2.GrpcService()
    agent.envoy_grpc.cluster_name = AGENT
    return als_pb2.CommonGrpcAccessLogConfig(
        log_name=name,
        grpc_service=agent,
        transport_api_version=config_source_pb2.V3,
        buffer_flush_interval=limits.seconds(limits.REPORT_SECONDS),
        buffer_size_bytes=wrappers_pb2.UInt32Value(value=limits.REPORT_BYTES),
        filter_state_objects_to_log=_STATE,
        custom_tags=[custom_tag_pb2.CustomTag(tag=tag, value=text) for tag, text in tags.items()],
    )


def _switched(who: Who) -> Filter:
    """Every request, while somebody looks at the pod."""
    return Filter(runtime_filter=accesslog_pb2.RuntimeFilter(runtime_key=words.switch(who.pod_uid)))


def _flagged() -> Filter:
    return Filter(response_flag_filter=accesslog_pb2.ResponseFlagFilter())


def _failed() -> Filter:
    """By the status; a gRPC client gets its own, with 200."""
    fine = accesslog_pb2.GrpcStatusFilter(statuses=[accesslog_pb2.GrpcStatusFilter.OK], exclude=True)
    return _any(_at_least(400), Filter(grpc_status_filter=fine))


def _at_least(status: int) -> Filter:
    comparison = accesslog_pb2.ComparisonFilter(op=accesslog_pb2.ComparisonFilter.GE)
    comparison.value.CopyFrom(base_pb2.RuntimeUInt32(default_value=status, runtime_key="retic.none"))
    return Filter(status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=comparison))


def _hostless() -> Filter:
    """What has no Host is answered before any header is set, and never sent."""
    made = Filter()
    made.header_filter.header.name = ":authority"
    made.header_filter.header.present_match = True
    made.header_filter.header.invert_match = True
    return made


def _unsent() -> Filter:
    made = Filter()
    made.header_filter.header.name = MARK
    made.header_filter.header.present_match = True
    return made


def _refused() -> Filter:
    made = Filter()
    made.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    made.extension_filter.typed_config.CopyFrom(packing.pack(cel_pb2.ExpressionFilter(expression=_REFUSED)))
    return made


def _any(*filters: Filter) -> Filter:
    return Filter(or_filter=accesslog_pb2.OrFilter(filters=filters))


def _all(*filters: Filter) -> Filter:
    return Filter(and_filter=accesslog_pb2.AndFilter(filters=filters))
