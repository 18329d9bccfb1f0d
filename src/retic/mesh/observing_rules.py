"""One Telemetry by itself: what its entries mean, and what of them cannot be carried out."""

import enum
from collections.abc import Iterator

import msgspec

from retic import findings, graph
from retic.mesh import authorizers, expressions, pems, services, tables, workloads
from retic.objects import telemetry
from retic.objects.telemetry import Telemetry

__all__ = ["Collector", "Log", "Meaning", "Mode", "Tag", "Telemetry", "Traced", "collector", "of"]

DEFAULT_SAMPLING = 1.0
"""Percent, where a provider is named and no percentage is, as in Istio."""
DEFAULT_SECONDS = 10.0
"""How long a collector's answer is waited for."""
DEFAULT_PATH = "/v1/traces"
MOST_TAGS, LONGEST_TAG = 32, 256
_LOGS = ("envoy",)
_SECRET = ("auth", "token", "secret", "passw", "cookie", "api-key", "apikey", "session", "credential", "signature",
           "jwt", "csrf", "forwarded-client-cert")  # fmt: skip


class Mode(enum.StrEnum):
    """The side of a call whose proxy tells of it."""

    CLIENT = "CLIENT"
    SERVER = "SERVER"


class Log(msgspec.Struct, frozen=True):
    """An entry of accessLogging. `expression` "" means everything, None nothing; `providers` () those around."""

    modes: tuple[Mode, ...]
    providers: tuple[str, ...] = ()
    disabled: bool = False
    expression: str | None = ""


class Tag(msgspec.Struct, frozen=True):
    """An attribute of spans: the header's value, in lower case, or else `value`."""

    name: str
    value: str = ""
    header: str = ""


class Traced(msgspec.Struct, frozen=True):
    """How requests are traced. None of a field: as it is around. `sampling` is in percent of the requests whose caller
    has decided nothing; `reported`: whether spans are sent, contexts are passed on in any case."""

    modes: tuple[Mode, ...] = ()
    provider: str | None = None
    sampling: float | None = None
    reported: bool | None = None
    tags: tuple[Tag, ...] | None = None

    @property
    def share(self) -> float:
        """Of the requests whose caller has decided nothing, from 0 to 1."""
        return (DEFAULT_SAMPLING if self.sampling is None else self.sampling) / 100

    def over(self, before: "Traced | None") -> "Traced":
        """What counts when this goes before another."""
        if before is None:
            return self
        return Traced(
            modes=self.modes,
            provider=before.provider if self.provider is None else self.provider,
            sampling=before.sampling if self.sampling is None else self.sampling,
            reported=before.reported if self.reported is None else self.reported,
            tags=before.tags if self.tags is None else self.tags,
        )


class Meaning(msgspec.Struct, frozen=True):
    """`headers` are those that its expressions and tags read, in lower case."""

    logs: tuple[Log, ...]
    traces: tuple[Traced, ...]
    headers: tuple[str, ...]
    faults: tuple[findings.Fault, ...]


class Tls(msgspec.Struct, frozen=True):
    """Whom a collector's certificate has to be for, and by which authority (PEM; "": any that the public trusts)."""

    hostname: str
    roots: str = ""

    @property
    def readable(self) -> bool:
        """Whether the roots, if they are said, are certificates. Else no collector is to be trusted."""
        return not self.roots or pems.is_certificates(self.roots)


class Collector(msgspec.Struct, frozen=True):
    """Where spans are sent: a Service's port, or a host outside with `port`. By HTTP if there is a `path`. `seconds` is
    how long an answer is waited for. In plaintext without `tls`."""

    name: str
    port: int
    service: services.PortKey | None = None
    host: str = ""
    path: str = ""
    seconds: float = DEFAULT_SECONDS
    tls: Tls | None = None


@graph.query
def of(db: graph.Db, key: tables.Key) -> Meaning | None:
    """What it says, whomever it is for; None when there is none of that name."""
    found = db.get(tables.TELEMETRIES, key)
    if found is None:
        return None
    reading = _Reading(findings.Ref("Telemetry", key.namespace, key.name))
    logs = tuple(reading.log(entry, i) for i, entry in enumerate(found.spec.access_logging))
    traces = tuple(reading.traced(entry, i) for i, entry in enumerate(found.spec.tracing))
    if found.spec.metrics:
        reading.fault(
            "RT0804", "spec.metrics", "proxies count the same of every request: this changes no metric",
            "drop metrics or labels where they are read (metric_relabel_configs of Prometheus)",
        )
    return Meaning(logs, traces, tuple(sorted(reading.headers)), tuple(reading.faults))


class _Reading:
    """Reads entries, and notes faults and headers on the way."""

    def __init__(self, ref: findings.Ref) -> None:
        self._ref = ref
        self.faults: list[findings.Fault] = []
        self.headers: set[str] = set()

    def fault(self, code: str, path: str, message: str, fix: str) -> None:
        """One more."""
        self.faults.append(findings.Fault(code, self._ref, path, message, fix))

    def log(self, entry: telemetry.AccessLogging, number: int) -> Log:
        """One entry of accessLogging; an expression of no use logs nothing."""
        path = f"spec.accessLogging[{number}]"
        names = tuple(provider.name for provider in entry.providers)
        for i, name in enumerate(names):
            if name not in _LOGS:
                self.fault(
                    "RT0803", f"{path}.providers[{i}].name", f"there is no access log {name}: nothing is written to it",
                    f"write {_LOGS[0]}, or leave providers out",
                )
        text: str | None = entry.filter.expression if entry.filter else ""
        if text and (wrong := expressions.problem(text)) is not None:
            self.fault("RT0801", f"{path}.filter.expression", f"{wrong[0]}; this entry logs nothing", wrong[1])
            text = None
        self._named(sorted(expressions.headers(text or "")), f"{path}.filter.expression")
        return Log(_modes(entry.match), names, entry.disabled or False, text)

    def traced(self, entry: telemetry.Tracing, number: int) -> Traced:
        """One entry of tracing."""
        path = f"spec.tracing[{number}]"
        if len(entry.providers) > 1:
            self.fault(
                "RT0805", f"{path}.providers", f"spans are sent to {entry.providers[0].name} only",
                "name one provider; a collector can send them on to others",
            )
        for field, value in (("useRequestIdForTraceSampling", entry.use_request_id_for_trace_sampling),
                             ("enableIstioTags", entry.enable_istio_tags)):  # fmt: skip
            if value is not None:
                self.fault("RT0805", f"{path}.{field}", "this is not carried out", "remove it")
        sampling = entry.random_sampling_percentage
        if sampling is not None and not 0 <= sampling <= 100:
            self.fault(
                "RT0810", f"{path}.randomSamplingPercentage", f"{sampling:g} is no percentage: no request is sampled",
                "write a number from 0 to 100",
            )
            sampling = 0.0
        return Traced(
            modes=_modes(entry.match),
            provider=entry.providers[0].name if entry.providers else None,
            sampling=sampling,
            reported=None if entry.disable_span_reporting is None else not entry.disable_span_reporting,
            tags=tuple(self._tags(entry, path)) if entry.custom_tags else None,
        )

    def _tags(self, entry: telemetry.Tracing, path: str) -> Iterator[Tag]:
        if len(entry.custom_tags) > MOST_TAGS:
            self.fault("RT0805", f"{path}.customTags", f"only {MOST_TAGS} of them are set", "write fewer")
        for name, tag in sorted(entry.custom_tags.items())[:MOST_TAGS]:
            where = f"{path}.customTags.{name}"
            if tag.literal:
                yield Tag(name, tag.literal.value[:LONGEST_TAG])
            elif tag.header:
                header = tag.header.name.lower()
                known = self._named([header], f"{where}.header.name")
                yield Tag(name, (tag.header.default_value or "")[:LONGEST_TAG], header if known else "")
            elif tag.environment:
                self.fault(
                    "RT0805", where, "proxies have no variables of their own: the tag has its default value",
                    "write a literal",
                )
                yield Tag(name, (tag.environment.default_value or "")[:LONGEST_TAG])
            else:
                self.fault("RT0805", where, "the tag is not set", "write a literal or a header")

    def _named(self, names: list[str], path: str) -> bool:
        """Whether proxies report these headers: none that may hold a credential."""
        secret = [name for name in names if any(word in name for word in _SECRET)]
        for name in secret:
            self.fault(
                "RT0812", path, f"the header {name} may hold a credential: proxies never report it, it is as if absent",
                "use another header",
            )
        self.headers |= set(names) - set(secret)
        return not secret


def _modes(match: telemetry.ModeMatch | None) -> tuple[Mode, ...]:
    mode = match.mode if match else None
    return tuple(Mode) if mode in (None, "CLIENT_AND_SERVER") else (Mode(mode),)


@graph.query
def collector(db: graph.Db, name: str) -> Collector | None:
    """What a TelemetryProvider means; None when there is none of that name."""
    found = db.get(tables.TELEMETRY_PROVIDERS, tables.Key("", name))
    if found is None:
        return None
    said = found.spec.opentelemetry
    domain = db.ask(workloads.settings, tables.ONE).cluster_domain
    key = _service(db, said.service, domain)
    http = said.http
    path = (http.path or DEFAULT_PATH) if http else ""
    timeout = http.timeout if http else (said.grpc.timeout if said.grpc else None)
    seconds = authorizers.seconds(timeout) if timeout else DEFAULT_SECONDS
    hostname = (said.tls.hostname if said.tls else None) or said.service.rpartition("/")[2]
    tls = Tls(hostname, said.tls.ca_certificates or "") if said.tls else None
    if key is None:
        return Collector(name, said.port, host=said.service, path=path, seconds=seconds, tls=tls)
    where = services.PortKey(key.namespace, key.name, said.port)
    return Collector(name, said.port, where, path=path, seconds=seconds, tls=tls)


def _service(db: graph.Db, host: str, domain: str) -> tables.Key | None:
    """The Service that a host stands for. NAME.NAMESPACE may be a host outside too: if no Service has that name."""
    key = authorizers.where(host, domain)
    inside = "/" in host or host.endswith((".svc", f".svc.{domain}"))
    return key if key is not None and (inside or db.get(tables.SERVICES, key) is not None) else None
