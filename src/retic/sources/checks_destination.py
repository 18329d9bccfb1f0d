"""Rules between the fields of a DestinationRule (Istio's own validation of it, where it has one)."""

import re
from collections.abc import Iterator

from retic.objects import destination
from retic.sources import validate
from retic.sources.checks_core import fault, unique

Faults = Iterator[validate.Fault]

_WHOLE = 100
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s)")
_SHORTEST = 0.001
_MOST_SECONDS = 10 * 365 * 24 * 3600.0
_MOST_AGGRESSION = 100.0


def rule(value: destination.DestinationRule) -> Faults:
    """A DestinationRule."""
    spec = value.spec
    yield from unique("spec.subsets", [each.name for each in spec.subsets])
    if spec.traffic_policy is not None:
        yield from _policy(spec.traffic_policy, "spec.trafficPolicy")
    for i, subset in enumerate(spec.subsets):
        if subset.traffic_policy is not None:
            yield from _policy(subset.traffic_policy, f"spec.subsets[{i}].trafficPolicy")


def _policy(policy: destination.TrafficPolicy, path: str) -> Faults:
    yield from _part(policy, path)
    numbers = [str(each.port.number) for each in policy.port_level_settings]
    yield from unique(f"{path}.portLevelSettings", list(numbers), field="port.number")
    for i, each in enumerate(policy.port_level_settings):
        yield from _part(each, f"{path}.portLevelSettings[{i}]")


def _part(policy: destination.TrafficPolicy | destination.PortPolicy, path: str) -> Faults:
    if policy.load_balancer is not None:
        yield from _balancer(policy.load_balancer, f"{path}.loadBalancer")
    if policy.connection_pool is not None:
        yield from _pool(policy.connection_pool, f"{path}.connectionPool")
    if policy.outlier_detection is not None:
        yield from _outliers(policy.outlier_detection, f"{path}.outlierDetection")


def _outliers(said: destination.OutlierDetection, path: str) -> Faults:
    yield from _time(said.interval, f"{path}.interval")
    yield from _time(said.base_ejection_time, f"{path}.baseEjectionTime")


def _balancer(said: destination.LoadBalancer, path: str) -> Faults:
    if said.simple not in (None, "UNSPECIFIED") and said.consistent_hash is not None:
        yield fault(f"{path}.consistentHash", f"stands beside simple: {said.simple}", "keep one of them")
    if said.consistent_hash is not None:
        yield from _hash(said.consistent_hash, f"{path}.consistentHash")
    if said.warmup is not None and said.warmup_duration_secs is not None:
        yield fault(f"{path}.warmupDurationSecs", "stands beside warmup", "keep warmup, which took its place")
    yield from _time(said.warmup_duration_secs, f"{path}.warmupDurationSecs")
    if said.warmup is not None:
        yield from _warmup(said.warmup, f"{path}.warmup")
    if said.locality_lb_setting is not None:
        yield from _locality(said.locality_lb_setting, f"{path}.localityLbSetting")


def _warmup(said: destination.Warmup, path: str) -> Faults:
    yield from _time(said.duration, f"{path}.duration")
    if said.aggression is not None and not 1 <= said.aggression <= _MOST_AGGRESSION:
        message = f"is {said.aggression:g}, which is not between 1 and {_MOST_AGGRESSION:g}"
        yield fault(f"{path}.aggression", message, "write 1, or more for a steeper start")
    if said.minimum_percent is not None and not 0 <= said.minimum_percent <= _WHOLE:
        message = f"is {said.minimum_percent:g}, which is not between 0 and {_WHOLE}"
        yield fault(f"{path}.minimumPercent", message, "write 10")


def _hash(said: destination.ConsistentHash, path: str) -> Faults:
    there = [
        name
        for name, value in (
            ("httpHeaderName", said.http_header_name), ("httpCookie", said.http_cookie),
            ("useSourceIp", said.use_source_ip), ("httpQueryParameterName", said.http_query_parameter_name),
        )
        if value
    ]  # fmt: skip
    if not there:
        fix = "write httpHeaderName, httpCookie, useSourceIp: true or httpQueryParameterName"
        yield fault(path, "does not say by what requests are told apart", fix, "RT0007")
    for name in there[1:]:
        yield fault(f"{path}.{name}", f"stands beside {there[0]}", "keep one of them")
    if said.ring_hash is not None and said.maglev is not None:
        yield fault(f"{path}.maglev", "stands beside ringHash", "keep one of them")
    table = said.maglev.table_size if said.maglev else None
    if table is not None and not _prime(table):
        where = f"{path}.maglev.tableSize"
        yield fault(where, f"is {table}, which is no prime of at most 5000011", "write 65537")
    cookie = said.http_cookie
    if cookie is not None and cookie.ttl is not None and seconds(cookie.ttl) > _MOST_SECONDS:
        yield fault(f"{path}.httpCookie.ttl", f"is {cookie.ttl}, which is longer than ten years", "write 8760h")


def _prime(number: int) -> bool:
    if not 2 <= number <= 5_000_011:
        return False
    return all(number % each for each in range(2, int(number**0.5) + 1))


def _locality(said: destination.LocalitySetting, path: str) -> Faults:
    names = (("distribute", said.distribute), ("failover", said.failover), ("failoverPriority", said.failover_priority))
    there = [name for name, value in names if value]
    for name in there[1:]:
        yield fault(f"{path}.{name}", f"stands beside {there[0]}", "keep one of them")
    for i, each in enumerate(said.distribute):
        where = f"{path}.distribute[{i}]"
        if not each.from_:
            yield fault(f"{where}.from", "is missing", "write the callers' locality, such as from: eu-west/*", "RT0007")
        total = sum(each.to.values())
        if total != _WHOLE:
            yield fault(f"{where}.to", f"has shares of {total} in all", "write shares that are 100 in all")
    for i, failover in enumerate(said.failover):
        for field, value in (("from", failover.from_), ("to", failover.to)):
            if not value:
                where, fix = f"{path}.failover[{i}].{field}", f"write a region: {field}: eu-west"
                yield fault(where, "is missing", fix, "RT0007")


def _pool(said: destination.ConnectionPool, path: str) -> Faults:
    tcp, http = said.tcp, said.http
    if tcp is not None:
        yield from _time(tcp.connect_timeout, f"{path}.tcp.connectTimeout")
        yield from _time(tcp.max_connection_duration, f"{path}.tcp.maxConnectionDuration")
        if tcp.tcp_keepalive is not None:
            alive = f"{path}.tcp.tcpKeepalive"
            for field, value in (("time", tcp.tcp_keepalive.time), ("interval", tcp.tcp_keepalive.interval)):
                yield from _time(value, f"{alive}.{field}", least=1)
    if http is not None and http.use_client_protocol and http.h2_upgrade_policy == "UPGRADE":
        fix = "keep one of them"
        yield fault(f"{path}.http.h2UpgradePolicy", "is UPGRADE, beside useClientProtocol: true", fix)


def _time(text: str | None, path: str, least: float = _SHORTEST) -> Faults:
    if text is None or least <= seconds(text) <= _MOST_SECONDS:
        return
    short = seconds(text) < least
    message = f"is {text}, which is {f'less than {least:g} s' if short else 'longer than ten years'}"
    yield fault(path, message, "write a longer time, or remove it" if short else "write a shorter time")


def seconds(text: str) -> float:
    """The length of a duration such as 1m0.5s that has the right form, in seconds."""
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))
