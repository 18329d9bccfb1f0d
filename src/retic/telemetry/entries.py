"""One request or connection as a proxy has reported it: Envoy's access log entry as a plain value.

Texts that clients choose (path, authority, headers) are as they came: whoever shows them must bound and redact them.
"""

import re
from typing import TypeAlias

import msgspec
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf import any_pb2, duration_pb2, wrappers_pb2

from retic.telemetry import words

Message: TypeAlias = accesslog_pb2.HTTPAccessLogEntry | accesslog_pb2.TCPAccessLogEntry
VIA_UPSTREAM = "via_upstream"
_TRACE = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{16})?")
_VERSIONS = {1: "HTTP/1.0", 2: "HTTP/1.1", 3: "HTTP/2", 4: "HTTP/3"}  # HTTPAccessLogEntry.HTTPVersion


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """`side` is outbound, gateway (the caller's proxy), inbound or plaintext (the called pod's).

    `id` is Envoy's id of the stream, which a client may have chosen; `answer` the one that a proxy's own answer has,
    or of the entry itself where there is none, which nobody chooses. `pod` is the uid of the pod whose proxy reports,
    `workload` and `peer` are namespace/name ("" when not known), `caller` and `server` SPIFFE IDs. `flags` are Envoy's
    response flags, `details` its response code details, or why the connection ended. `time` is in seconds since 1970,
    `ms` in milliseconds. `authority` to `response_headers` are of requests only; `trace` is ""
    when it is not traced (`words.TRACE_KEY`).
    """

    id: str
    side: str
    protocol: str
    time: float
    ms: float
    answer: str = ""
    pod: str = ""
    workload: str = ""
    peer: str = ""
    service: str = ""
    caller: str = ""
    server: str = ""
    flags: tuple[str, ...] = ()
    details: str = ""
    transport_failure: str = ""
    route: str = ""
    cluster: str = ""
    upstream: str = ""
    remote: str = ""
    local: str = ""
    attempts: int = 0
    received: int = 0
    sent: int = 0
    code: int = 0
    method: str = ""
    authority: str = ""
    path: str = ""
    request_id: str = ""
    user_agent: str = ""
    scheme: str = ""
    forwarded_for: str = ""
    trace: str = ""
    request_headers: dict[str, str] = msgspec.field(default_factory=dict)
    response_headers: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def http(self) -> bool:
        """Whether it is a request; a connection otherwise."""
        return bool(self.method)

    @property
    def failed(self) -> bool:
        """Whether the proxy itself answered, or something went wrong on the way. An application's own 500 did not."""
        own = self.code >= 400 or words.ID_HEADER in self.response_headers  # gRPC clients get 200
        return bool(self.flags) or (own and self.details != VIA_UPSTREAM) or _refused(self.details)

    @property
    def refused(self) -> bool:
        """Whether a policy refused it."""
        return _refused(self.details) or self.upstream == words.NOWHERE

    @property
    def source(self) -> bool:
        """Whether the caller's side reports."""
        return self.side in ("outbound", "gateway")


def of_requests(message: Message) -> bool:
    """Whether it is about a connection whose requests have entries of their own."""
    if isinstance(message, accesslog_pb2.HTTPAccessLogEntry):
        return False
    return message.common_properties.custom_tags.get(words.Tag.PROTOCOL, "").startswith("HTTP")


def failed(message: Message) -> bool:
    """As `Entry.failed`, without making one."""
    common = message.common_properties
    if common.HasField("response_flags") and common.response_flags.ByteSize():
        return True
    if isinstance(message, accesslog_pb2.TCPAccessLogEntry):
        return _refused(common.connection_termination_details)
    answer = message.response
    own = answer.response_code.value >= 400 or words.ID_HEADER in answer.response_headers
    return own and answer.response_code_details != VIA_UPSTREAM


def _refused(details: str) -> bool:
    return details.startswith("rbac_access_denied")


def entry(side: str, message: Message) -> Entry:
    """The entry of a message; `side` is that of the stream it came by."""
    common = message.common_properties
    tags = {key: value for key, value in common.custom_tags.items() if value != words.ABSENT}
    _, link, *_ = *_text(common, words.PEER_STATE).split(words.SEPARATOR), ""
    peer, _, called = link.partition(words.LINK_SEPARATOR)
    base = Entry(
        id=common.stream_id,
        side=side,
        protocol="TCP",
        time=common.start_time.seconds + common.start_time.nanos / 1e9,
        ms=_milliseconds(common.duration),
        answer=tags.get(words.Tag.ID, ""),
        pod=_text(common, words.POD_STATE),
        workload=_text(common, words.WORKLOAD_STATE),
        peer=peer,
        service=tags.get(words.Tag.SERVICE, "") or called.strip(words.ABSENT),
        caller=_caller(common.tls_properties.peer_certificate_properties),
        server=tags.get(words.Tag.SERVER, ""),
        flags=_flags(common.response_flags),
        details=common.connection_termination_details,
        transport_failure=common.upstream_transport_failure_reason,
        route=common.route_name,
        cluster=common.upstream_cluster,
        upstream=_address(common.upstream_remote_address),
        remote=_address(common.downstream_remote_address),
        local=_address(common.downstream_local_address),
        attempts=common.upstream_request_attempt_count,
    )
    if isinstance(message, accesslog_pb2.TCPAccessLogEntry):
        sizes = message.connection_properties
        return msgspec.structs.replace(base, received=sizes.received_bytes, sent=sizes.sent_bytes)
    return _request(base, message)


def _request(base: Entry, message: accesslog_pb2.HTTPAccessLogEntry) -> Entry:
    asked, answer = message.request, message.response
    return msgspec.structs.replace(
        base,
        answer=_own_id(base, answer) or base.answer,
        protocol=_VERSIONS.get(message.protocol_version, "HTTP"),
        details=answer.response_code_details or base.details,
        received=asked.request_body_bytes,
        sent=answer.response_body_bytes,
        code=answer.response_code.value,
        method=base_pb2.RequestMethod.Name(asked.request_method).replace("METHOD_UNSPECIFIED", "OTHER"),
        authority=asked.authority,
        path=asked.original_path or asked.path,
        request_id=asked.request_id,
        user_agent=asked.user_agent,
        scheme=asked.scheme,
        forwarded_for=asked.forwarded_for,
        trace=_trace(message.common_properties),
        request_headers=_noted(message.common_properties),
        response_headers=dict(answer.response_headers),
    )


def _own_id(base: Entry, answer: accesslog_pb2.HTTPResponseProperties) -> str:
    """The id of an answer that this proxy made; that of a proxy further on, or what an application outside the mesh
    says, is not its own."""
    details = answer.response_code_details
    if details == VIA_UPSTREAM or "after_response_started" in details or "DC" in base.flags:
        return ""
    said = answer.response_headers.get(words.ID_HEADER, "")
    return said if words.is_id(said) else ""


def _trace(common: accesslog_pb2.AccessLogCommon) -> str:
    """Of the form of `words.TRACE_KEY`; "" when it is not traced."""
    found = common.metadata.filter_metadata.get(words.TRACE_METADATA)
    text = found.fields[words.TRACE_KEY].string_value if found and words.TRACE_KEY in found.fields else ""
    return text if _TRACE.fullmatch(text) else ""


def _noted(common: accesslog_pb2.AccessLogCommon) -> dict[str, str]:
    """The headers that somebody looks at; those that the request did not have are empty there."""
    pairs = (each.partition(":") for each in _text(common, words.HEADERS_STATE).split(words.LINE))
    return {name: value for name, _, value in pairs if value}


def _caller(certificate: accesslog_pb2.TLSProperties.CertificateProperties) -> str:
    return next((name.uri for name in certificate.subject_alt_name if name.uri), "")


# The short forms of Envoy's documentation (Access logging, %RESPONSE_FLAGS%).
_FLAGS = {
    "failed_local_healthcheck": "LH", "no_healthy_upstream": "UH", "upstream_request_timeout": "UT",
    "local_reset": "LR", "upstream_remote_reset": "UR", "upstream_connection_failure": "UF",
    "upstream_connection_termination": "UC", "upstream_overflow": "UO", "no_route_found": "NR",
    "delay_injected": "DI", "fault_injected": "FI", "rate_limited": "RL", "unauthorized_details": "UAEX",
    "rate_limit_service_error": "RLSE", "downstream_connection_termination": "DC",
    "upstream_retry_limit_exceeded": "URX", "stream_idle_timeout": "SI", "invalid_envoy_request_headers": "IH",
    "downstream_protocol_error": "DPE", "upstream_max_stream_duration_reached": "UMSDR",
    "response_from_cache_filter": "RFCF", "no_filter_config_found": "NFCF", "duration_timeout": "DT",
    "upstream_protocol_error": "UPE", "no_cluster_found": "NC", "overload_manager": "OM",
    "dns_resolution_failure": "DF", "downstream_remote_reset": "DR",
}  # fmt: skip


def _flags(found: accesslog_pb2.ResponseFlags) -> tuple[str, ...]:
    return tuple(_FLAGS.get(field.name, field.name) for field, _ in found.ListFields())


def _text(common: accesslog_pb2.AccessLogCommon, key: str) -> str:
    packed = common.filter_state_objects.get(key)
    value = wrappers_pb2.StringValue()
    return value.value if isinstance(packed, any_pb2.Any) and packed.Unpack(value) else ""


def _milliseconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds * 1e3 + duration.nanos / 1e6


def _address(address: address_pb2.Address) -> str:
    found = address.socket_address
    return f"{found.address}:{found.port_value}" if found.address else ""
