"""Spans of OpenTelemetry from entries, and what a collector is sent (opentelemetry.proto.collector.trace.v1).

Names of attributes are those of OpenTelemetry's semantic conventions for HTTP, where they have some. Paths are redacted
as everywhere. The messages are of a release that calls scopes instrumentation libraries, with the same numbers.
"""

import collections
from collections.abc import Iterable, Mapping

import msgspec
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from retic.telemetry import entries, redaction

SCOPE = "retic"
LONGEST = 1024  # letters of an attribute
_SERVER_SIDES = ("inbound", "plaintext", "gateway")


class Traced(msgspec.Struct, frozen=True):
    """A request's entry, and the attributes that its Telemetry adds."""

    entry: entries.Entry
    tags: Mapping[str, str] = {}


def request(traced: Iterable[Traced]) -> trace_service_pb2.ExportTraceServiceRequest:
    """What is sent: the spans of each workload together."""
    by_workload: dict[tuple[str, str], list[trace_pb2.Span]] = collections.defaultdict(list)
    for each in traced:
        by_workload[each.entry.workload, each.entry.pod].append(span(each))
    made = trace_service_pb2.ExportTraceServiceRequest()
    for (workload, pod), spans in by_workload.items():
        scope = common_pb2.InstrumentationLibrary(name=SCOPE)
        inside = trace_pb2.InstrumentationLibrarySpans(instrumentation_library=scope, spans=spans)
        about = _resource(workload, pod)
        made.resource_spans.append(trace_pb2.ResourceSpans(resource=about, instrumentation_library_spans=[inside]))
    return made


def _resource(workload: str, pod: str) -> resource_pb2.Resource:
    namespace, _, name = workload.partition("/")
    said = {
        "service.name": f"{name}.{namespace}", "service.namespace": namespace, "k8s.namespace.name": namespace,
        "k8s.pod.uid": pod, "telemetry.sdk.name": SCOPE,
    }  # fmt: skip
    return resource_pb2.Resource(attributes=_attributes(said))


def span(traced: Traced) -> trace_pb2.Span:
    """The span of a request. ValueError for an entry that is not traced."""
    entry = traced.entry
    trace_id, span_id, parent = entry.trace.split("-")
    begun = round(entry.time * 1e9)
    server = entry.side in _SERVER_SIDES
    called = entry.service or entry.authority
    made = trace_pb2.Span(
        trace_id=bytes.fromhex(trace_id),
        span_id=bytes.fromhex(span_id),
        parent_span_id=bytes.fromhex(parent),
        name=f"{entry.method} {called}" if entry.service else entry.method,
        kind=trace_pb2.Span.SPAN_KIND_SERVER if server else trace_pb2.Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=begun,
        end_time_unix_nano=begun + round(entry.ms * 1e6),
        attributes=_attributes({**_said(entry), **traced.tags}),
    )
    if entry.flags or entry.code == 0 or entry.code >= (500 if server else 400):
        made.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        made.status.message = " ".join((",".join(entry.flags), entry.details)).strip()[:LONGEST]
    return made


def _said(entry: entries.Entry) -> dict[str, str | int]:
    path = redaction.path(entry.path)
    before, _, query = path.partition("?")
    address, _, port = entry.upstream.rpartition(":") if entry.source else entry.remote.rpartition(":")
    version = entry.protocol.removeprefix("HTTP/")
    return {
        "http.request.method": entry.method,
        "http.response.status_code": entry.code,
        "http.request.body.size": entry.received,
        "http.response.body.size": entry.sent,
        "http.request.resend_count": max(0, entry.attempts - 1),
        "network.protocol.version": "2" if version == "2" else version,
        "network.peer.address": address,
        "network.peer.port": int(port) if port.isdecimal() else 0,
        "server.address": redaction.authority(entry.authority),
        "url.path": before,
        "url.query": query,
        "url.scheme": entry.scheme,
        "user_agent.original": entry.user_agent,
        "retic.reporter": "source" if entry.source else "destination",
        "retic.service": entry.service,
        "retic.peer.workload": entry.peer,
        "retic.peer.principal": entry.server if entry.source else entry.caller,
        "retic.response_flags": ",".join(entry.flags),
        "retic.response_code_details": entry.details,
        "retic.request_id": entry.request_id,
    }


def _attributes(said: Mapping[str, str | int]) -> list[common_pb2.KeyValue]:
    return [_attribute(key, value) for key, value in said.items() if value not in ("", 0)]


def _attribute(key: str, value: str | int) -> common_pb2.KeyValue:
    if isinstance(value, int):
        return common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(int_value=value))
    return common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(string_value=value[:LONGEST]))
