"""Which DestinationRule holds for a namespace's calls to a Service, and what it comes to at a port or for a subset.

Istio's order: the callers' namespace, then the Service's, then the mesh's own; within one, the most specific host.
Rules of one host and namespace are one: the oldest policy, and everybody's subsets, of one name the oldest's.
"""

import msgspec

from retic import findings, graph
from retic.mesh import destination, destination_localities, destination_rules, service, services, tables, workloads
from retic.objects import destination as objects


class HostKey(msgspec.Struct, frozen=True, order=True):
    """A namespace's rules for a host as it is written there; `ANY` for those that are for several hosts."""

    namespace: str
    host: str


ANY = "*"


def _by_host(key: tables.Key, rule: objects.DestinationRule) -> list[HostKey]:
    return [HostKey(key.namespace, ANY if rule.spec.host.startswith("*") else rule.spec.host)]


BY_HOST = graph.index(tables.DESTINATION_RULES, _by_host, name="destinationrules.by_host")


class Called(msgspec.Struct, frozen=True, order=True):
    """A Service in the eyes of one client namespace."""

    client: str
    service: tables.Key


class View(msgspec.Struct, frozen=True, order=True):
    """A Service's port in the eyes of one client namespace, or a subset of it; "" for all of the Service."""

    client: str
    port: services.PortKey
    subset: str = ""

    @property
    def called(self) -> Called:
        """The Service."""
        return Called(self.client, self.port.service)


class Held(msgspec.Struct, frozen=True):
    """The rules that hold, oldest first, as one. `policy` is whose policy counts, None when none has one."""

    origins: tuple[findings.Ref, ...]
    policy: findings.Ref | None
    levels: destination.Levels
    subsets: tuple[destination.Subset, ...]

    def subset(self, name: str) -> destination.Subset | None:
        """The subset of that name."""
        return next((each for each in self.subsets if each.name == name), None)


def host(db: graph.Db, key: tables.Key) -> str:
    """A Service's whole name."""
    return f"{key.name}.{key.namespace}.svc.{db.ask(workloads.settings, tables.ONE).cluster_domain}"


def _value(db: graph.Db, key: tables.Key) -> destination.Rule | None:
    found = db.ask(destination_rules.of, key)
    return found.value if found is not None and not found.value.is_selective else None


def _values(db: graph.Db, namespace: str, hosts: set[str]) -> list[destination.Rule]:
    keys = {key for each in hosts for key in db.find(BY_HOST, HostKey(namespace, each))}
    found = (_value(db, key) for key in sorted(keys))
    return sorted((rule for rule in found if rule is not None), key=lambda rule: (rule.age, rule.origin))


def same_host(db: graph.Db, namespace: str, key: tables.Key) -> list[destination.Rule]:
    """A namespace's rules for exactly this Service, oldest first, whoever sees them."""
    written = {host(db, key)} | ({key.name} if key.namespace == namespace else set())
    return _values(db, namespace, written)


def patterns(db: graph.Db, namespace: str) -> list[destination.Rule]:
    """A namespace's rules for several hosts, oldest first."""
    return _values(db, namespace, {ANY})


def _of(db: graph.Db, namespace: str, called: Called, *, own: bool) -> list[destination.Rule]:
    """The rules of a namespace for the most specific host that is the Service's. `own`: its own callers ask, who see
    all of them."""
    exact = [r for r in same_host(db, namespace, called.service) if own or r.visible(called.client)]
    if exact:
        return exact
    whole = host(db, called.service)
    fitting = [
        rule
        for rule in patterns(db, namespace)
        if whole.endswith(rule.host[1:]) and (own or rule.visible(called.client))
    ]
    longest = max((len(rule.host) for rule in fitting), default=0)
    return [rule for rule in fitting if len(rule.host) == longest]


def _private(rules: list[destination.Rule], namespace: str) -> list[destination.Rule]:
    return [rule for rule in rules if rule.exported in ((".",), (namespace,))]


@graph.query
def held(db: graph.Db, key: Called) -> Held | None:
    """What holds for a namespace's calls to a Service; None when no rule does.

    What the mesh's own namespace says is for everybody, so for its own callers it comes last, unless it is for them
    alone.
    """
    root = db.ask(workloads.settings, tables.ONE).system_namespace
    found = _of(db, key.client, key, own=True)
    if key.client == root:
        found = _private(found, root)
    for namespace in (key.service.namespace, root):
        found = found or _of(db, namespace, key, own=False)
    return _merged(found) if found else None


def knows(db: graph.Db, called: Called, subset: str) -> bool:
    """Whether these callers can be sent to that subset of the Service."""
    found = db.ask(held, called)
    return found is not None and found.subset(subset) is not None


def _merged(rules: list[destination.Rule]) -> Held:
    first = next((rule for rule in rules if rule.levels is not None), None)
    subsets: dict[str, destination.Subset] = {}
    for rule in rules:
        for each in rule.subsets:
            subsets.setdefault(each.name, each)
    levels = first.levels if first is not None and first.levels is not None else destination.Levels()
    origins = tuple(rule.origin for rule in rules)
    return Held(origins, first.origin if first else None, levels, tuple(subsets.values()))


@graph.query
def policy(db: graph.Db, key: View) -> destination.Policy | None:
    """What holds at a port, or for a subset there; None for a subset that does not exist."""
    found = db.ask(held, key.called)
    if found is None:
        return None if key.subset else destination.Policy()
    port = key.port.port
    whole = _at(destination.Policy(), found.levels, port)
    if not key.subset:
        return whole
    subset = found.subset(key.subset)
    return None if subset is None else _at(whole, subset.levels, port)


def _at(around: destination.Policy, levels: destination.Levels, port: int) -> destination.Policy:
    alone = levels.at(port)
    return alone if alone is not None else around.overridden(levels.whole)


@graph.query
def is_own(db: graph.Db, key: View) -> bool:
    """Whether these callers' endpoints are not everybody's: chosen by labels, or in another order."""
    found = db.ask(policy, key)
    return bool(key.subset) or (found is not None and _localities(found) is not None)


def _localities(found: destination.Policy) -> destination.Localities | None:
    return found.balancer.localities if found.balancer is not None else None


class Seen(msgspec.Struct, frozen=True, order=True):
    """What callers in a zone see of a port."""

    view: View
    zone: str


@graph.query
def endpoints(db: graph.Db, key: Seen) -> tuple[destination.Group, ...]:
    """The endpoints that get requests now, as callers of a namespace and zone call them; of a subset those of its pods
    that are the readiest among themselves."""
    found = db.ask(policy, key.view)
    if found is None:
        return ()
    localities = _localities(found) or destination.Localities()
    every = db.ask(services.endpoints, key.view.port)
    subset = _subset(db, key.view)
    chosen = every if subset is None else tuple(each for each in every if is_in(db, subset, each))
    placed = [
        destination_localities.Placed(
            each, _locality(db, each.zone), _pod_labels(db, each) if localities.labels else {}
        )
        for each in service.usable(chosen)
    ]
    return destination_localities.grouped(localities, _locality(db, key.zone), placed)


def _locality(db: graph.Db, zone: str) -> destination.Locality:
    return destination.Locality(db.ask(destination_localities.region, zone) if zone else "", zone)


def _subset(db: graph.Db, view: View) -> destination.Subset | None:
    found = db.ask(held, view.called) if view.subset else None
    return found.subset(view.subset) if found is not None else None


def is_in(db: graph.Db, subset: destination.Subset, endpoint: service.Endpoint) -> bool:
    """Whether an endpoint's pod has the labels of a subset."""
    labels = dict(subset.labels)
    return not labels or labels.items() <= _pod_labels(db, endpoint).items()


def _pod_labels(db: graph.Db, endpoint: service.Endpoint) -> dict[str, str]:
    who = db.ask(workloads.at, endpoint.address)
    found = db.ask(workloads.pod_labels, tables.Key(who.namespace, who.name)) if who is not None else None
    return found or {}
