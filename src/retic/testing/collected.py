"""What a real OpenTelemetry Collector has received: its configuration, and the spans in the file that it writes."""

import json
import pathlib
from typing import Any

import msgspec

CONFIGURATION = """\
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "0.0.0.0:4317"}}
      http: {{endpoint: "0.0.0.0:4318"}}
{more}exporters:
  file: {{path: "{file}", flush_interval: 100ms}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines: {{traces: {{receivers: [{names}], exporters: [file]}}}}
"""
_SECURE = """\
  otlp/secure:
    protocols:
      grpc: {{endpoint: "0.0.0.0:4319", tls: {pair}}}
      http: {{endpoint: "0.0.0.0:4320", tls: {pair}}}
"""


class Span(msgspec.Struct, frozen=True):
    """One span; ids are in hexadecimal, `parent` is "" for a root. `resource` are its service's attributes."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]

    @property
    def service(self) -> str:
        """Whose it is."""
        return str(self.resource["service.name"])


SERVER, CLIENT = 2, 3


def configuration(file: pathlib.Path, pair: tuple[pathlib.Path, pathlib.Path] | None = None) -> str:
    """For a collector that writes to the file. With a `pair` (certificate and key) it takes TLS at two more ports."""
    if pair is None:
        return CONFIGURATION.format(file=file, more="", names="otlp")
    files = json.dumps({"cert_file": str(pair[0]), "key_file": str(pair[1])})
    return CONFIGURATION.format(file=file, more=_SECURE.format(pair=files), names="otlp, otlp/secure")


def spans(file: pathlib.Path) -> list[Span]:
    """All so far; an unfinished line is none yet."""
    if not file.exists():
        return []
    whole = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [span for line in whole for group in json.loads(line)["resourceSpans"] for span in _of(group)]


def _of(group: dict[str, Any]) -> list[Span]:
    resource = _attributes(group["resource"].get("attributes", ()))
    return [
        Span(
            trace=one["traceId"], id=one["spanId"], parent=one.get("parentSpanId", ""), name=one["name"],
            kind=one["kind"], error=one.get("status", {}).get("code") == 2, resource=resource,
            attributes=_attributes(one.get("attributes", ())),
        )
        for scope in group["scopeSpans"]
        for one in scope["spans"]
    ]  # fmt: skip


def _attributes(pairs: Any) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        ((kind, value),) = pair["value"].items()
        found[pair["key"]] = int(value) if kind == "intValue" else value
    return found
