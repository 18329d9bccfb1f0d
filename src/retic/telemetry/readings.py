"""What an Envoy has counted, read from its Prometheus page: numbers by labels. Refuses to add proxies together."""

import functools
import re

import msgspec

from retic.telemetry import words
from retic.telemetry.words import Field, Reporter, Stat

PATH = f"/stats/prometheus?filter=^({words.PREFIX}|server|cluster_manager|listener_manager|control_plane)%5C."
"""Of an Envoy's admin page: what `parse` reads, and what an operator asks of an Envoy as a whole."""

_LINE = re.compile(r'envoy_retic_([a-z_]+?)(_bucket|_sum|_count)?\{l="((?:[^"\\]|\\.)*)"(?:,le="([^"]+)")?\} (\S+)')
_OWN = re.compile(r"envoy_((?:server|cluster_manager|listener_manager|control_plane)_[a-z0-9_]+)(?:\{\})? (\S+)")
_OVERFLOW = re.compile(r"server_stats_overflow_(?:counter|gauge|histogram)")


class Labels(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who counted what, as `words.Field` says; "" is not known. `workload` is the reporting pod's, `peer` the other
    side's. Workloads and Services are namespace/name."""

    reporter: str
    workload: str
    principal: str = ""
    peer_principal: str = ""
    peer: str = ""
    service: str = ""
    protocol: str = ""
    flags: str = ""
    code: str = ""
    details: str = ""
    method: str = ""
    grpc: str = ""

    @property
    def source(self) -> str:
        """The caller's workload."""
        return self.workload if self.reporter == Reporter.SOURCE else self.peer

    @property
    def destination(self) -> str:
        """The called workload."""
        return self.peer if self.reporter == Reporter.SOURCE else self.workload

    @property
    def source_principal(self) -> str:
        """The caller's identity."""
        return self.principal if self.reporter == Reporter.SOURCE else self.peer_principal

    @property
    def destination_principal(self) -> str:
        """The called pod's identity."""
        return self.peer_principal if self.reporter == Reporter.SOURCE else self.principal


class Histogram(msgspec.Struct):
    """`counts` are of values up to each of `bounds`, the last bound infinite; both in Envoy's own unit."""

    bounds: list[float] = msgspec.field(default_factory=list)
    counts: list[int] = msgspec.field(default_factory=list)
    sum: float = 0.0

    @property
    def count(self) -> int:
        """All values."""
        return self.counts[-1] if self.counts else 0


class Reading(msgspec.Struct):
    """`server` are numbers of the Envoy itself by name; `folded` counts series that Envoy refused to begin."""

    counters: dict[Stat, dict[Labels, int]] = msgspec.field(default_factory=dict)
    histograms: dict[Stat, dict[Labels, Histogram]] = msgspec.field(default_factory=dict)
    server: dict[str, float] = msgspec.field(default_factory=dict)
    folded: int = 0


def parse(text: str) -> Reading:
    """The numbers of one page. What is none of ours is passed over."""
    made = Reading()
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            _take(made, *found.groups())
        elif found := _OWN.fullmatch(line):
            made.server[found[1]] = float(found[2])
            if _OVERFLOW.fullmatch(found[1]):
                made.folded += int(float(found[2]))
    return made


def _take(made: Reading, name: str, part: str | None, packed: str, bound: str | None, value: str) -> None:
    if name not in _NAMES:
        return
    stat = Stat(name)
    labels = unpack(stat, packed)
    if labels is None:
        return
    if part is None:
        rows = made.counters.setdefault(stat, {})
        rows[labels] = rows.get(labels, 0) + int(float(value))
        return
    histogram = made.histograms.setdefault(stat, {}).setdefault(labels, Histogram())
    if part == "_bucket":
        histogram.bounds.append(float(bound or "inf"))
        histogram.counts.append(int(float(value)))
    elif part == "_sum":
        histogram.sum += float(value)


_NAMES = frozenset(Stat)
# How many fields follow PROTOCOL.
_AFTER = {
    Stat.REQUESTS: len(Field) - Field.FLAGS, Stat.CONNECTIONS: Field.METHOD - Field.FLAGS,
    **dict.fromkeys(words.BUCKETS, len((Field.FLAGS, Field.GRPC))),
}  # fmt: skip


@functools.lru_cache(maxsize=65536)
def unpack(stat: Stat, packed: str) -> Labels | None:
    """The labels in a packed tag; None for connections of requests, and for what cannot be one.

    A caller that speaks for itself may have written more than one word where its proxy writes one: then nothing of it
    counts.
    """
    text = packed.replace("\\n", " ").replace('\\"', '"').replace("\\\\", "\\")
    fields = text.split(words.SEPARATOR)
    after = _AFTER.get(stat, 1)
    first, middle, last = fields[: Field.PEER_PRINCIPAL], fields[Field.PEER_PRINCIPAL : -after], fields[-after:]
    if len(first) < Field.PEER_PRINCIPAL or not middle or len(last) < after or first[0] not in _REPORTERS:
        return None
    principal, link, protocol = middle if len(middle) == 3 else (middle[0], "", "")
    connection = stat in (Stat.CONNECTIONS, Stat.RECEIVED, Stat.SENT)
    if connection and protocol.startswith("HTTP"):
        return None
    peer, _, service = link.partition(words.LINK_SEPARATOR)
    code, details, method, grpc = _rest(stat, last[1:])
    return Labels(
        reporter=first[0], workload=first[1], principal=_said(first[2]), peer_principal=_said(principal),
        peer=_name(peer), service=_name(service), protocol=_spoken(protocol, grpc, connection=connection),
        flags=_said(last[0]), code=code, details=details, method=method, grpc=grpc,
    )  # fmt: skip


_REPORTERS = frozenset(Reporter)


def _rest(stat: Stat, fields: list[str]) -> tuple[str, str, str, str]:
    if stat is Stat.CONNECTIONS:
        return "", _said(fields[1]), "", ""
    if stat in words.BUCKETS:
        return "", "", "", _said(fields[0])
    if stat is not Stat.REQUESTS:
        return "", "", "", ""
    code, details, method, grpc = fields
    return ("" if code == "0" else _said(code)), _said(details), _METHODS.get(method, words.OTHER), _said(grpc)


_METHODS = {**dict.fromkeys("GHOT", words.READ), **dict.fromkeys("PD", words.WRITE)}


def _name(text: str) -> str:
    return text if _NAME.fullmatch(text) else ""


_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}/[a-z0-9][a-z0-9.-]{0,252}")


def _said(text: str) -> str:
    return "" if text == words.ABSENT else text


def _spoken(protocol: str, grpc: str, *, connection: bool) -> str:
    if connection:
        return "tcp"
    return "grpc" if _said(grpc) else "http"


_POLICY = re.compile(r"rbac_access_denied_matched_policy\[(?:([^\]/]+)/([^\]/]+)(?:/[^\]]*)?|none)\]")
REFUSING = frozenset({"401", "403", "429"})


def refused_by(labels: Labels) -> str | None:
    """What refused: a policy's namespace/name, else in words; None when it was not refused by the proxy."""
    if found := _POLICY.match(labels.details):
        return f"{found[1]}/{found[2]}" if found[1] else "no policy allows it"
    if labels.code not in REFUSING or labels.details in ("", "via_upstream", "direct_response"):
        return None
    return next((said for begin, said in _REFUSALS.items() if labels.details.startswith(begin)), labels.details)


_REFUSALS = {
    "ext_authz": "an external authorizer", "jwt_authn": "a token was missing or wrong", "local_rate_limited":
    "a local rate limit", "request_rate_limited": "a global rate limit", "rbac_access_denied": "the mode of its port",
}  # fmt: skip
