"""What is answered from objects and the graph alone, on a laptop and on a cluster alike."""

import datetime
from collections.abc import Hashable, Iterable, Iterator

from retic import findings as report
from retic import graph
from retic.answers import policies
from retic.control import model, service
from retic.envoy import counters, names, resources
from retic.explain import places, standing
from retic.explain import why as explain
from retic.explain.request import answer as explained
from retic.explain.request import deciding, world
from retic.mesh import faults, gateways, tables, workloads
from retic.objects import core, pods
from retic.sources import certificates, store
from retic.xds import Client


class Questions:
    """Over the objects of a store, and a graph of the same."""

    def __init__(self, db: graph.Graph, kept: store.Store) -> None:
        self._db = db
        self._kept = kept

    def pods(self) -> Iterator[pods.Pod]:
        """By namespace and name."""
        return (value for _, value in sorted(self._kept.objects.items()) if isinstance(value, pods.Pod))

    def services(self) -> Iterator[model.Service]:
        """By namespace and name."""
        for _, value in sorted(self._kept.objects.items()):
            if isinstance(value, core.Service):
                yield _service(value)

    def faults(self, refs: Iterable[report.Ref]) -> tuple[report.Finding, ...]:
        """Faults of meaning of these objects."""
        meant = (fault for ref in refs for fault in self._db.ask(faults.of, ref))
        return places.located(meant, self._kept.positions)

    def policies(self, counts: counters.Counts | None) -> tuple[model.Policy, ...]:
        """Every AuthorizationPolicy; `counts` None where Envoys cannot be asked."""
        return policies.listed(self._db, self._kept, counts)

    def lapsed(self) -> tuple[report.Finding, ...]:
        """Certificates whose time it is not."""
        now = datetime.datetime.now(datetime.UTC)
        return tuple(certificates.lapsed(self._kept.objects, self._kept.positions, now))

    def why(self, resource: str) -> explain.Why:
        """From a resource's name to its objects. Raises explain.Unknown."""
        name = names.parse(resource)
        if name is None:
            forms = ", ".join(f"{kind.value}/..." for kind in names.Kind)
            raise explain.Unknown(f"{resource!r} is no resource's name; names begin with one of: {forms}")
        self._know(name.client_namespace)
        return self.of_client(self._client(name), name.type_url, resource)

    def request(self, asked: explained.Asked) -> explained.Answer:
        """What becomes of a request. Raises explain.request.answer.Unclear."""
        return deciding.decide(self.world(), asked).answer

    def world(self) -> world.World:
        """The mesh as it is now."""
        return world.World(self._db, self._kept.objects, self._kept.positions, running=True)

    def of_client(self, client: str, type_url: str, resource: str) -> explain.Why:
        """A resource as one client has it."""
        key = resources.scope(type_url, resource, Client(client))
        return explain.why(self._db, resources.resource, key, resource=resource, book=self._book())

    def _know(self, namespace: str) -> None:
        """Raises Unknown for a namespace in which nothing is: its routes would be those of any other."""
        known = {"", "default"}
        for ref in self._kept.objects:
            known.add(ref.name if ref.kind == "Namespace" else ref.namespace)
        if namespace not in known:
            there = ", ".join(sorted(known - {""}))
            raise explain.Unknown(f"there is no namespace {namespace}: no object is in it; there are {there}")

    def _client(self, name: names.Name) -> str:
        """The client that has such a resource, where only one does."""
        if name.kind in (names.Kind.GATEWAY, names.Kind.GATEWAY_ROUTES, names.Kind.LISTENER_ROUTES):
            return f"gateway/{name.parts[0]}/{name.parts[1]}"
        if name.kind is names.Kind.TLS:
            secret = tables.Key(name.parts[0], name.parts[1])
            for ref in self._kept.objects:
                owner = tables.Key(ref.namespace, ref.name)
                if ref.kind == "Gateway" and secret in self._db.ask(gateways.certificates_of, owner):
                    return f"gateway/{ref.namespace}/{ref.name}"
        if name.type_url in (names.LISTENER, names.FILTER):
            found = self._db.ask(workloads.by_uid, name.parts[-1])
            return f"node/{found.node}" if found else ""
        return ""

    def _book(self) -> explain.Book:
        kinds = {table.name: kind for kind, table in tables.TABLES.items()}

        def ref(table: str, key: Hashable) -> report.Ref | None:
            if table not in kinds or not isinstance(key, tables.Key):
                return None
            return report.Ref(kinds[table], key.namespace, key.name)

        return explain.Book(ref, lambda r: r in self._kept.objects, self._kept.positions, self.owner)

    def owner(self, ref: report.Ref) -> report.Ref | None:
        """The object that manages another, by what that one says."""
        value = self._kept.objects.get(ref)
        owners = value.metadata.owner_references if value is not None else ()
        found = next((one for one in owners if one.controller), None)
        return report.Ref(found.kind, ref.namespace, found.name) if found is not None else None


def check_namespace(kept: store.Store, name: str) -> None:
    """service.Refused for one that there is not; "" is none."""
    there = {ref.name if ref.kind == "Namespace" else ref.namespace for ref in kept.objects} - {""}
    if name and name not in there:
        raise service.Refused(f"no namespace {name}: there are {', '.join(sorted(there))}")


def pod(value: pods.Pod) -> model.Pod:
    """A pod as `retic ps` shows it."""
    status = value.status
    ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions)
    stands = standing.of(value)
    return model.Pod(
        value.metadata.namespace, value.metadata.name, value.spec.node_name or "", status.pod_ip or "",
        value.spec.service_account_name or "default", ready, stands.word, stands.phase, stands.restarts,
    )


def _service(value: core.Service) -> model.Service:
    spec = value.spec
    address = spec.external_name or "" if spec.type == "ExternalName" else spec.cluster_ip or ""
    ports = tuple(model.Port(p.name or "", p.port, p.protocol or "TCP") for p in spec.ports)
    return model.Service(value.metadata.namespace, value.metadata.name, spec.type or "ClusterIP", address, ports)
