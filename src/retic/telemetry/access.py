"""Access logs: one JSON object a line, with the names that Istio's have, and whose call it was.

Paths are redacted as everywhere (`redaction`): a log is read by more people than the request was meant for.
"""

import datetime

import msgspec

from retic.telemetry import entries, redaction

LONGEST = 2048  # letters of a path, a host, a user agent


class Line(msgspec.Struct, frozen=True):
    """Istio's default names (EnvoyFileAccessLogProvider, JSON); then our own. Durations are in milliseconds, null is
    what there is not. `reporter` says whose proxy tells, source or destination."""

    start_time: str
    method: str | None
    path: str | None
    protocol: str
    response_code: int
    response_flags: str
    response_code_details: str | None
    connection_termination_details: str | None
    upstream_transport_failure_reason: str | None
    bytes_received: int
    bytes_sent: int
    duration: int
    user_agent: str | None
    request_id: str | None
    authority: str | None
    upstream_host: str | None
    upstream_cluster: str | None
    downstream_local_address: str | None
    downstream_remote_address: str | None
    route_name: str | None
    x_forwarded_for: str | None
    reporter: str
    workload: str
    pod_uid: str | None
    peer: str | None
    service: str | None
    source_principal: str | None
    destination_principal: str | None
    trace_id: str | None


_encoder = msgspec.json.Encoder()


def line(entry: entries.Entry) -> bytes:
    """With its line's end."""
    time = datetime.datetime.fromtimestamp(entry.time, datetime.UTC).isoformat(timespec="milliseconds")
    return _encoder.encode(
        Line(
            start_time=time.replace("+00:00", "Z"),
            method=entry.method or None,
            path=redaction.path(entry.path)[:LONGEST] or None,
            protocol=entry.protocol,
            response_code=entry.code,
            response_flags=",".join(entry.flags) or "-",
            response_code_details=entry.details if entry.http else None,
            connection_termination_details=(not entry.http and entry.details) or None,
            upstream_transport_failure_reason=entry.transport_failure or None,
            bytes_received=entry.received,
            bytes_sent=entry.sent,
            duration=round(entry.ms),
            user_agent=entry.user_agent[:LONGEST] or None,
            request_id=entry.request_id or None,
            authority=redaction.authority(entry.authority)[:LONGEST] or None,
            upstream_host=entry.upstream or None,
            upstream_cluster=entry.cluster or None,
            downstream_local_address=entry.local or None,
            downstream_remote_address=entry.remote or None,
            route_name=entry.route or None,
            x_forwarded_for=entry.forwarded_for[:LONGEST] or None,
            reporter="source" if entry.source else "destination",
            workload=entry.workload,
            pod_uid=entry.pod or None,
            peer=entry.peer or None,
            service=entry.service or None,
            source_principal=entry.caller or None,
            destination_principal=entry.server or None,
            trace_id=entry.trace.partition("-")[0] or None,
        )
    ) + b"\n"


def missed(number: int, time: float) -> bytes:
    """A line that says how many were not logged since the one before."""
    at = datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat(timespec="milliseconds")
    return _encoder.encode({"start_time": at.replace("+00:00", "Z"), "not_logged": number}) + b"\n"
