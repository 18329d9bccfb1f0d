"""Faults of a DestinationRule among other objects: for whom it holds, and what an older one says instead of it."""

from collections.abc import Iterator

from retic import findings, graph
from retic.mesh import destination, destination_rules, destinations, service, services, tables, workloads
from retic.objects import destination as objects

Fault = findings.Fault
Faults = Iterator[Fault]

_FIRST = "it is older, or of the same age and first by name"
_HASHES = (destination.By.HEADER, destination.By.COOKIE, destination.By.QUERY)


def of(db: graph.Db, ref: findings.Ref) -> tuple[Fault, ...]:
    """The faults of the object as it stands among others; none when there is no such object."""
    key = tables.Key(ref.namespace, ref.name)
    found, read = db.get(tables.DESTINATION_RULES, key), db.ask(destination_rules.of, key)
    if found is None or read is None:
        return ()
    if read.value.is_selective:
        return (*read.faults, _selective(ref))
    rule = read.value
    return (*read.faults, *_host(db, rule), *_older(db, rule), *_levels(db, rule, found.spec))


def _selective(ref: findings.Ref) -> Fault:
    return Fault(
        "RT0704", ref, "spec.workloadSelector",
        f"pods of {ref.namespace} are not told apart by their labels: all pods of a namespace share what a "
        "DestinationRule says, so this one holds for nobody",
        "remove workloadSelector to mean all callers of the namespace, or give those that are meant a namespace",
    )


def meant(db: graph.Db, rule: destination.Rule) -> tables.Key | None:
    """The Service that a rule for one host is for, whether it exists or not; None for any other name."""
    if rule.is_pattern:
        return None
    if "." not in rule.host:
        return tables.Key(rule.origin.namespace, rule.host)
    name, _, rest = rule.host.partition(".")
    namespace, _, domain = rest.partition(".")
    known = f"svc.{db.ask(workloads.settings, tables.ONE).cluster_domain}"
    return tables.Key(namespace, name) if domain == known else None


def _host(db: graph.Db, rule: destination.Rule) -> Faults:
    ref = rule.origin
    if rule.is_pattern:
        yield from _pattern(db, rule)
        return
    key = meant(db, rule)
    found = db.ask(services.resolved, key) if key is not None else None
    if key is None or found is None:
        yield _unknown(db, rule, key)
        return
    value = db.get(tables.SERVICES, key)
    if value is not None and value.spec.type == "ExternalName":
        yield Fault(
            "RT0703", ref, "spec.host",
            f"Service {key.namespace}/{key.name} is a name for something outside the mesh: calls pass as they are",
            "remove the rule",
        )
    elif not found.address:
        yield Fault(
            "RT0703", ref, "spec.host",
            f"Service {key.namespace}/{key.name} is headless: calls by its name go to the pod that the caller chose, "
            "and the rule holds only where a route names the Service as a backend",
            "give the Service an address (remove clusterIP: None), or remove the rule",
        )
    yield from _exported(db, rule, key)


def _unknown(db: graph.Db, rule: destination.Rule, key: tables.Key | None) -> Fault:
    text = f"there is no Service {rule.host}, so the rule holds for no call"
    if key is not None and "." not in rule.host:
        text = f"there is no Service {key.namespace}/{key.name}, so the rule holds for no call"
    fix = "create it or correct the name: NAME in the rule's own namespace, else NAME.NAMESPACE.svc.cluster.local"
    name, _, rest = rule.host.partition(".")
    namespace = rest.partition(".")[0]
    if namespace and rest in (namespace, f"{namespace}.svc"):
        there = tables.Key(namespace, name)
        if db.ask(services.resolved, there) is not None:
            fix = f"write the whole name: {destinations.host(db, there)}"
    return Fault("RT0701", rule.origin, "spec.host", text, fix)


def _pattern(db: graph.Db, rule: destination.Rule) -> Faults:
    """A pattern takes Services in when it is an end of `svc.DOMAIN`, or of that behind a namespace that has some."""
    if rule.levels is not None or rule.subsets:
        ending = rule.host.removeprefix("*").removeprefix(".")
        whole = f"svc.{db.ask(workloads.settings, tables.ONE).cluster_domain}"
        namespace = ending.removesuffix(f".{whole}")
        near = f".{whole}".endswith(f".{ending}") or not ending
        own = "." not in namespace and namespace != ending and db.find(tables.SERVICES_BY_NAMESPACE, namespace)
        if not near and not own:
            yield Fault(
                "RT0701", rule.origin, "spec.host", f"no Service has a name such as {rule.host}",
                f"write *.NAMESPACE.{whole} for all Services of a namespace, or *.{whole} for all",
            )


def _exported(db: graph.Db, rule: destination.Rule, key: tables.Key) -> Faults:
    """Callers elsewhere go by rules of the Service's namespace and of the mesh's own, besides those of their own."""
    own = rule.origin.namespace
    if own in (key.namespace, db.ask(workloads.settings, tables.ONE).system_namespace):
        return
    others = [name for name in rule.exported if name not in (".", own)]
    if others:
        yield Fault(
            "RT0703", rule.origin, "spec.exportTo",
            f"a rule for a Service of {key.namespace} holds for callers of {own} only, whatever it is exported to",
            f"put the rule into namespace {key.namespace}, or remove exportTo",
        )


def _older(db: graph.Db, rule: destination.Rule) -> Faults:
    before = _before(db, rule)
    policy = next((other for other in before if other.levels is not None), None)
    if policy is not None and rule.levels is not None:
        yield Fault(
            "RT0702", rule.origin, "spec.trafficPolicy",
            f"{policy.origin} is for the same host and its trafficPolicy counts instead: {_FIRST}",
            "keep one of them, or leave trafficPolicy to one and subsets to the other",
        )
    for i, subset in enumerate(rule.subsets):
        other = next((one for one in before if any(each.name == subset.name for each in one.subsets)), None)
        if other is not None:
            yield Fault(
                "RT0702", rule.origin, f"spec.subsets[{i}].name",
                f"{other.origin} has a subset {subset.name} of the same host, which counts instead: {_FIRST}",
                "give the subset another name, or keep one of them",
            )


def _before(db: graph.Db, rule: destination.Rule) -> list[destination.Rule]:
    """The rules of the same host and namespace that go before this one."""
    key = meant(db, rule)
    if key is not None:
        same = destinations.same_host(db, rule.origin.namespace, key)
    else:
        same = [other for other in destinations.patterns(db, rule.origin.namespace) if other.host == rule.host]
    place = next((i for i, other in enumerate(same) if other.origin == rule.origin), 0)
    return same[:place]


def _levels(db: graph.Db, rule: destination.Rule, spec: objects.DestinationRuleSpec) -> Faults:
    """What a Service's ports and pods make of the rule; of patterns nothing is said."""
    key = meant(db, rule)
    found = db.ask(services.resolved, key) if key is not None else None
    if found is None or not found.ports:
        return
    places = [("spec.trafficPolicy", rule.levels, spec.traffic_policy)]
    for i, subset in enumerate(rule.subsets):
        places.append((f"spec.subsets[{i}].trafficPolicy", subset.levels, spec.subsets[i].traffic_policy))
        yield from _nobody(db, rule, found, subset, f"spec.subsets[{i}].labels")
    for path, levels, said in places:
        if levels is not None and said is not None:
            yield from _ports(rule.origin, found, levels, path)
            yield from _tcp(rule.origin, found, levels, path)
    yield from _near(db, rule, found)


def _near(db: graph.Db, rule: destination.Rule, found: service.Service) -> Faults:
    """A Service that keeps calls near, and a rule that leads them by labels or localities instead."""
    value = db.get(tables.SERVICES, tables.Key(found.namespace, found.name))
    if value is None:
        return
    spec = value.spec
    local, near = spec.internal_traffic_policy == "Local", spec.traffic_distribution == "PreferSameNode"
    field = "internalTrafficPolicy: Local" if local else "trafficDistribution: PreferSameNode"
    policies = [rule.levels.whole, *(policy for _, policy in rule.levels.ports)] if rule.levels is not None else []
    placed = any(p.balancer is not None and p.balancer.localities is not None for p in policies)
    if (local or near) and (placed or rule.subsets):
        yield Fault(
            "RT0703", rule.origin, "spec.trafficPolicy" if placed else "spec.subsets",
            f"Service {found.namespace}/{found.name} says {field}, which counts for no call that this rule leads by "
            f"{'localities' if placed else 'a subset'}: nodes are not told apart there",
            f"remove {field.partition(':')[0]} from the Service, or this from the rule",
        )


def _ports(ref: findings.Ref, found: service.Service, levels: destination.Levels, path: str) -> Faults:
    numbers = [port.number for port in found.ports]
    for i, (number, _) in enumerate(levels.ports):
        if number not in numbers:
            have = ", ".join(map(str, numbers))
            yield Fault(
                "RT0705", ref, f"{path}.portLevelSettings[{i}].port.number",
                f"Service {found.namespace}/{found.name} has no port {number}",
                f"write a port of the Service, not of its pods: {have}",
            )


def _tcp(ref: findings.Ref, found: service.Service, levels: destination.Levels, path: str) -> Faults:
    """Parts that mean HTTP, where nothing else is known to be there."""
    opaque = {port.number for port in found.ports if port.protocol is service.Protocol.OPAQUE}
    every = len(opaque) == len(found.ports)
    whole = [(path, levels.whole)] if every else []
    alone = [(f"{path}.portLevelSettings[{i}]", p) for i, (n, p) in enumerate(levels.ports) if n in opaque]
    for where, policy in (*whole, *alone):
        by = policy.balancer.hash if policy.balancer is not None else None
        if by is not None and by.by in _HASHES:
            yield Fault(
                "RT0707", ref, f"{where}.loadBalancer.consistentHash",
                f"the port carries TCP, where there is no {by.by.value}: connections go to pods at random",
                "write useSourceIp: true, or say by the port's name or appProtocol that it carries HTTP",
            )
        if policy.pool is not None and policy.pool.longest is not None:
            yield Fault(
                "RT0707", ref, f"{where}.connectionPool.tcp.maxConnectionDuration",
                "the port carries TCP, where connections last as long as both ends keep them",
                "remove it, or say by the port's name or appProtocol that it carries HTTP",
            )


def _nobody(
    db: graph.Db, rule: destination.Rule, found: service.Service, subset: destination.Subset, path: str
) -> Faults:
    every = {
        each
        for port in found.ports
        for each in db.ask(services.endpoints, services.PortKey(found.namespace, found.name, port.number))
    }
    if every and not any(destinations.is_in(db, subset, each) for each in every):
        yield Fault(
            "RT0706", rule.origin, path,
            f"no pod of Service {found.namespace}/{found.name} has these labels: calls to the subset are answered 503",
            "write labels that some of its pods have",
        )
