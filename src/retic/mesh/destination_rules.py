"""A DestinationRule object as values, memoised rule by rule, with the faults that are the rule's alone."""

import re

import msgspec

from retic import findings, graph
from retic.mesh import destination, destination_localities, tables
from retic.objects import destination as objects

MOST_RING = 65_536
MOST_TABLE = 65_537
"""Places of a ring, which take 24 bytes of a node's Envoy each, and of a table; for each cluster that has one, and all
of it made anew whenever an endpoint comes or goes."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s)")
_SIMPLE = {
    "ROUND_ROBIN": destination.Algorithm.ROUND_ROBIN,
    "LEAST_REQUEST": destination.Algorithm.LEAST_REQUEST,
    "LEAST_CONN": destination.Algorithm.LEAST_REQUEST,
    "RANDOM": destination.Algorithm.RANDOM,
}
_WARMED = (destination.Algorithm.ROUND_ROBIN, destination.Algorithm.LEAST_REQUEST)
_UNCARRIED = (
    ("tunnel", "no tunnel is made: connections go to the pods themselves"),
    ("proxy_protocol", "no PROXY header is sent: pods see their callers' own addresses"),
    ("retry_budget", "the mesh's own budget of retries holds"),
)


class Read(msgspec.Struct, frozen=True):
    """The rule, and what of it is not carried out whatever other objects there are."""

    value: destination.Rule
    faults: tuple[findings.Fault, ...]


class _Notes:
    """Collects the faults of one rule."""

    def __init__(self, origin: findings.Ref) -> None:
        self.origin = origin
        self.faults: list[findings.Fault] = []

    def add(self, code: str, path: str, message: str, fix: str) -> None:
        """Note a fault of the field at `path`."""
        self.faults.append(findings.Fault(code, self.origin, path, message, fix))


@graph.query
def of(db: graph.Db, key: tables.Key) -> Read | None:
    """The rule of that name; None when there is none."""
    found = db.get(tables.DESTINATION_RULES, key)
    if found is None:
        return None
    spec, notes = found.spec, _Notes(findings.Ref("DestinationRule", key.namespace, key.name))
    levels = None
    if spec.traffic_policy is not None:
        levels = _levels(notes, spec.traffic_policy, "spec.trafficPolicy")
    subsets = tuple(_subset(notes, each, f"spec.subsets[{i}]") for i, each in enumerate(spec.subsets))
    selector = spec.workload_selector
    value = destination.Rule(
        origin=notes.origin,
        host=spec.host,
        levels=levels,
        subsets=subsets,
        exported=spec.export_to,
        is_selective=selector is not None and bool(selector.match_labels),
        age=found.metadata.creation_timestamp or "",
    )
    return Read(value, tuple(notes.faults))


def seconds(text: str | None) -> float | None:
    """The length of a duration such as 1m0.5s that has the right form, in seconds; None stays None."""
    if text is None:
        return None
    return round(sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text)), 6)


def _subset(notes: _Notes, said: objects.Subset, path: str) -> destination.Subset:
    levels = destination.Levels()
    if said.traffic_policy is not None:
        levels = _levels(notes, said.traffic_policy, f"{path}.trafficPolicy")
    return destination.Subset(said.name, tuple(sorted(said.labels.items())), levels)


def _levels(notes: _Notes, said: objects.TrafficPolicy, path: str) -> destination.Levels:
    for field, instead in _UNCARRIED:
        if getattr(said, field) is not None:
            name = {"proxy_protocol": "proxyProtocol", "retry_budget": "retryBudget"}.get(field, field)
            notes.add("RT0707", f"{path}.{name}", f"{name} is not carried out: {instead}", f"remove {name}")
    ports = tuple(
        (each.port.number, _policy(notes, each, f"{path}.portLevelSettings[{i}]"))
        for i, each in enumerate(said.port_level_settings)
    )
    return destination.Levels(_policy(notes, said, path), ports)


def _policy(notes: _Notes, said: objects.TrafficPolicy | objects.PortPolicy, path: str) -> destination.Policy:
    return destination.Policy(
        _balancer(notes, said.load_balancer, f"{path}.loadBalancer") if said.load_balancer else None,
        _pool(notes, said.connection_pool, f"{path}.connectionPool") if said.connection_pool else None,
        _outliers(notes, said.outlier_detection, f"{path}.outlierDetection") if said.outlier_detection else None,
        _encrypted(notes, said.tls, f"{path}.tls") if said.tls else None,
    )


def _balancer(notes: _Notes, said: objects.LoadBalancer, path: str) -> destination.Balancer:
    algorithm, size = destination.Algorithm.LEAST_REQUEST, 0
    by: destination.Hash | None = None
    if said.consistent_hash is not None:
        algorithm, size = _hashing(notes, said.consistent_hash, f"{path}.consistentHash")
        by = _hash(said.consistent_hash)
    elif said.simple == "PASSTHROUGH":
        notes.add(
            "RT0707", f"{path}.simple",
            "PASSTHROUGH is not carried out: nobody has a Service's own address, so a pod is chosen all the same, by "
            "least request", "call the pods by a headless Service (clusterIP: None), or write another algorithm",
        )
    else:
        algorithm = _SIMPLE.get(said.simple or "", algorithm)
    warm_up = _warm_up(said)
    if warm_up is not None and algorithm not in _WARMED:
        field = "warmup" if said.warmup is not None else "warmupDurationSecs"
        notes.add(
            "RT0707", f"{path}.{field}", f"with {algorithm.value} a new pod gets its whole share at once",
            "write simple: ROUND_ROBIN or LEAST_REQUEST, or remove it",
        )
        warm_up = None
    localities = None
    if said.locality_lb_setting is not None:
        localities, wrong = destination_localities.of(said.locality_lb_setting)
        for field, message, fix in wrong:
            notes.add("RT0710", f"{path}.localityLbSetting.{field}", message, fix)
    return destination.Balancer(algorithm, by, size, warm_up, localities)


def _hashing(notes: _Notes, said: objects.ConsistentHash, path: str) -> tuple[destination.Algorithm, int]:
    if said.maglev is not None:
        most, size, field = MOST_TABLE, said.maglev.table_size or 0, "maglev.tableSize"
        algorithm = destination.Algorithm.MAGLEV
    else:
        inside = said.ring_hash.minimum_ring_size if said.ring_hash else None
        field = "minimumRingSize" if inside is None else "ringHash.minimumRingSize"
        most, size = MOST_RING, (inside if inside is not None else said.minimum_ring_size) or 0
        algorithm = destination.Algorithm.RING_HASH
    if size > most:
        notes.add(
            "RT0709", f"{path}.{field}",
            f"{size} is more than {most}, which is used: a node's Envoy keeps it in memory, for each calling namespace",
            f"write {most} or less",
        )
    return algorithm, min(size, most)


def _hash(said: objects.ConsistentHash) -> destination.Hash:
    if said.http_header_name:
        return destination.Hash(destination.By.HEADER, said.http_header_name.lower())
    if said.http_query_parameter_name:
        return destination.Hash(destination.By.QUERY, said.http_query_parameter_name)
    cookie = said.http_cookie
    if said.use_source_ip or cookie is None:
        return destination.Hash(destination.By.SOURCE)
    attributes = tuple((each.name, each.value or "") for each in cookie.attributes)
    return destination.Hash(destination.By.COOKIE, cookie.name, cookie.path or "", seconds(cookie.ttl), attributes)


def _warm_up(said: objects.LoadBalancer) -> destination.WarmUp | None:
    if said.warmup is not None:
        least, aggression = said.warmup.minimum_percent, said.warmup.aggression
        return destination.WarmUp(
            seconds(said.warmup.duration) or 0.0, 10.0 if least is None else least, aggression or 1.0
        )
    length = seconds(said.warmup_duration_secs)
    return destination.WarmUp(length) if length else None


def _pool(notes: _Notes, said: objects.ConnectionPool, path: str) -> destination.Pool:
    tcp, http = said.tcp or objects.TCPSettings(), said.http or objects.HTTPSettings()
    if http.h2_upgrade_policy == "UPGRADE":
        notes.add(
            "RT0707", f"{path}.http.h2UpgradePolicy",
            "requests are not turned into HTTP/2: they keep the version that their client spoke",
            "write appProtocol: kubernetes.io/h2c at the Service's port if its pods speak HTTP/2, and remove this",
        )
    if tcp.idle_timeout is not None:
        notes.add(
            "RT0707", f"{path}.tcp.idleTimeout",
            "TCP connections are not closed for being silent: they last as long as both ends keep them",
            "write http.idleTimeout for connections that carry HTTP, or remove it",
        )
    # In these counts, which have no absence of their own in Istio's API, 0 is what is left out.
    return destination.Pool(
        connections=tcp.max_connections or None,
        connect=seconds(tcp.connect_timeout),
        keepalive=_keepalive(tcp.tcp_keepalive) if tcp.tcp_keepalive else None,
        longest=seconds(tcp.max_connection_duration),
        pending=http.http1_max_pending_requests or None,
        requests=http.http2_max_requests or None,
        retries=http.max_retries or None,
        per_connection=http.max_requests_per_connection or None,
        idle=seconds(http.idle_timeout),
        streams=http.max_concurrent_streams or None,
        is_client_protocol=bool(http.use_client_protocol),
    )


def _keepalive(said: objects.TcpKeepalive) -> destination.Keepalive:
    time, interval = seconds(said.time), seconds(said.interval)
    return destination.Keepalive(
        said.probes, None if time is None else int(time), None if interval is None else int(interval)
    )


def _outliers(notes: _Notes, said: objects.OutlierDetection, path: str) -> destination.Outliers:
    if said.consecutive_errors is not None:
        notes.add(
            "RT0707", f"{path}.consecutiveErrors", "consecutiveErrors is not read, as in Istio",
            "write consecutiveGatewayErrors or consecutive5xxErrors",
        )
    if said.consecutive_local_origin_failures is not None and not said.split_external_local_origin_errors:
        notes.add(
            "RT0707", f"{path}.consecutiveLocalOriginFailures",
            "without splitExternalLocalOriginErrors, connections that fail count as answers of 5xx",
            "write splitExternalLocalOriginErrors: true, or remove it",
        )
    split = bool(said.split_external_local_origin_errors)
    return destination.Outliers(
        errors=said.consecutive_5xx_errors,
        gateway_errors=said.consecutive_gateway_errors,
        is_split=split,
        local=said.consecutive_local_origin_failures if split else None,
        interval=seconds(said.interval),
        base=seconds(said.base_ejection_time),
        most=said.max_ejection_percent or None,
        panic=said.min_health_percent,
    )


_FILES = (
    ("client_certificate", "clientCertificate"), ("private_key", "privateKey"), ("ca_certificates", "caCertificates"),
    ("ca_crl", "caCrl"), ("credential_name", "credentialName"), ("subject_alt_names", "subjectAltNames"),
    ("sni", "sni"), ("insecure_skip_verify", "insecureSkipVerify"),
)  # fmt: skip


def _encrypted(notes: _Notes, said: objects.TLS, path: str) -> bool | None:
    mode = said.mode or "DISABLE"
    if mode == "DISABLE":
        notes.add(
            "RT0708", f"{path}.mode" if said.mode else path,
            "encryption is not switched off by callers: pods of the mesh are called by its TLS as long as they take it",
            "remove tls; for plaintext write a PeerAuthentication with mode: DISABLE for the pods that are called",
        )
        return None
    if mode in ("SIMPLE", "MUTUAL"):
        notes.add(
            "RT0708", f"{path}.mode",
            f"{mode} is not carried out: the mesh's own TLS is used, and pods that do not take it (outside the mesh, "
            "or at a port in plaintext) are not called at all",
            "write ISTIO_MUTUAL, or remove tls to have pods outside the mesh called in plaintext",
        )
        return True
    for field, name in _FILES:
        if getattr(said, field):
            notes.add(
                "RT0707", f"{path}.{name}", f"{name} is not read: the mesh's own TLS knows pods by their accounts",
                f"remove {name}",
            )
    return True
