"""The two ends of the calls that `retic tap` looks at, against the pods and Services there are."""

from collections.abc import Iterable, Mapping

import msgspec

from retic import findings, graph
from retic.answers import questions
from retic.control import model, service
from retic.mesh import service as values
from retic.mesh import services, tables, workloads
from retic.objects import core, pods
from retic.sources import store
from retic.telemetry import entries


class _Pod(msgspec.Struct, frozen=True):
    """One pod: `name` is its workload's, a gateway's own at a gateway's, whose `uid` is "" in what its proxy says."""

    value: values.Workload
    name: str
    uid: str
    labels: Mapping[str, str]

    @property
    def gateway(self) -> bool:
        return self.value.role is values.Role.GATEWAY

    @property
    def reports(self) -> bool:
        """Whether it has a proxy, which can report."""
        return self.gateway or self.value.served

    def is_of(self, end: model.End) -> bool:
        if self.value.namespace != end.namespace:
            return False
        if end.kind == "pod":
            return self.value.name == end.name
        return self.name == end.name and self.gateway is (end.kind == "gateway")


class Ends:
    """`refresh` looks anew at what is there. Calls of pods that have gone meanwhile still count."""

    def __init__(self, db: graph.Graph, kept: store.Store, asked: model.AskTap) -> None:
        self._db = db
        self._kept = kept
        self._source = asked.source
        self._destination = asked.destination
        self._namespace = asked.namespace
        self.destination_only = asked.source is None and asked.destination is not None
        self._pods: list[_Pod] = []
        self._from: set[str] = set()
        self._to: set[str] = set()
        self._to_addresses: set[str] = set()
        self._to_services: set[str] = set()
        self._virtual = ""

    def check(self) -> None:
        """service.Refused for an end that nobody is."""
        self.refresh()
        for end in (self._source, self._destination):
            questions.check_namespace(self._kept, end.namespace if end else self._namespace)
            if end is None:
                continue
            if end.kind == "service":
                if self._db.ask(services.resolved, tables.Key(end.namespace, end.name)) is None:
                    there = {key.name for key, _ in self._services() if key.namespace == end.namespace}
                    raise service.Refused(f"no Service {end.namespace}/{end.name}{_there(there)}")
            elif not any(pod.is_of(end) for pod in self._pods):
                here = {p.value.name if end.kind == "pod" else p.name for p in self._pods if _alike(p, end)}
                raise service.Refused(f"no pod of {end.kind} {end.namespace}/{end.name} is there now{_there(here)}")

    def refresh(self) -> None:
        """Look at pods and Services anew."""
        self._pods = [found for ref, value in self._kept.objects.items() if isinstance(value, pods.Pod)
                      and (found := self._pod(tables.Key(ref.namespace, ref.name), value)) is not None]  # fmt: skip
        if self._source is not None:
            self._from |= {self._id(pod) for pod in self._pods if pod.is_of(self._source)}
        if self._destination is not None:
            them = [pod for pod in self._pods if self._is_destination(pod)]
            self._to |= {self._id(pod) for pod in them}
            self._to_addresses |= {pod.value.address for pod in them} - {""}
            self._to_services = self._services_of(self._destination, them)
            if self._destination.kind == "service":
                key = tables.Key(self._destination.namespace, self._destination.name)
                called = self._db.ask(services.resolved, key)
                self._virtual = called.address if called else ""

    def _pod(self, key: tables.Key, pod: pods.Pod) -> _Pod | None:
        value = self._db.ask(workloads.workload, key)
        if value is None or value.role is values.Role.STRANGER:
            return None
        labels = self._db.ask(workloads.pod_labels, key) or {}
        gateway = value.role is values.Role.GATEWAY
        own = pod.metadata.annotations.get(tables.GATEWAY_ANNOTATION) or labels.get(tables.GATEWAY_LABEL)
        name = own if gateway and own else value.workload
        return _Pod(value, name, "" if gateway else value.uid, labels)

    def _id(self, pod: _Pod) -> str:
        """What tells a pod's entries apart: a gateway's have no uid."""
        return pod.uid or f"{pod.value.namespace}/{pod.name}"

    def _services(self) -> Iterable[tuple[tables.Key, core.Service]]:
        for ref, value in self._kept.objects.items():
            if isinstance(value, core.Service):
                yield tables.Key(ref.namespace, ref.name), value

    def _is_destination(self, pod: _Pod) -> bool:
        end = self._destination
        if end is None or end.kind != "service":
            return end is not None and pod.is_of(end)
        value = self._kept.objects.get(_ref(end))
        return isinstance(value, core.Service) and pod.value.namespace == end.namespace and _selects(value, pod)

    def _services_of(self, end: model.End, them: Iterable[_Pod]) -> set[str]:
        if end.kind == "service":
            return {f"{end.namespace}/{end.name}"}
        return {
            f"{key.namespace}/{key.name}"
            for key, value in self._services()
            if any(key.namespace == pod.value.namespace and _selects(value, pod) for pod in them)
        }

    def by_agent(self, agents: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """The uids of the pods that report, by agent; `agents` are their proxies' names, of a gateway's several pods
        with more behind."""
        found: dict[str, set[str]] = {agent: set() for agent in agents} if self.destination_only else {}
        by_proxy: dict[str, list[str]] = {}
        for agent, proxy in agents.items():
            by_proxy.setdefault(proxy.partition(" ")[0], []).append(agent)
        for pod in filter(_reports, self._pods):
            looked_at = self._from if self._source is not None else self._to
            if (self._source or self._destination) and self._id(pod) not in looked_at:
                continue
            where = f"gateway/{pod.value.namespace}/{pod.name}" if pod.gateway else pod.value.node
            for agent in by_proxy.get(where, ()):
                found.setdefault(agent, set()).add(pod.uid)
        return {agent: tuple(sorted(uids)) for agent, uids in found.items()}

    def namespaces(self) -> frozenset[str]:
        """Whose proxies tell of such calls."""
        if self.destination_only:
            return frozenset(pod.value.namespace for pod in filter(_reports, self._pods))
        some = [pod for pod in self._pods if self._source is None or self._id(pod) in self._from]
        return frozenset(pod.value.namespace for pod in filter(_reports, some))

    def concern(self, entry: entries.Entry) -> bool:
        """Whether it is a call between the two ends, from the proxy that is to tell of it."""
        if self._source is not None:
            mine = entry.source and (entry.pod or entry.workload) in self._from
            return mine and (self._destination is None or self._reaches(entry))
        if self._destination is not None:
            # What never came so far is told by the caller's proxy.
            lost = entry.source and entry.failed and (not entry.upstream or "UF" in entry.flags)
            return (lost or not entry.source) and self._reaches(entry)
        # Where no proxy of the mesh stands before the caller, the called one is the only one to tell.
        if not (entry.source or not entry.peer):
            return False
        ends = (entry.workload, entry.peer, entry.service, self.workload_at(entry.upstream.rpartition(":")[0]))
        return not self._namespace or any(end.startswith(f"{self._namespace}/") for end in ends)

    def _reaches(self, entry: entries.Entry) -> bool:
        """Whether it is to the pods that are meant, or to a Service of theirs and came to nobody. A route may lead from
        one Service to another's pods: a Service that is meant counts as well by its address, which was called."""
        if not entry.source:
            return (entry.pod or entry.workload) in self._to
        if self._destination is not None and self._destination.kind == "service":
            called = entry.service in self._to_services or entry.local.rpartition(":")[0] == self._virtual
            return called or entry.upstream.rpartition(":")[0] in self._to_addresses
        if not entry.upstream:
            return entry.service in self._to_services
        return entry.upstream.rpartition(":")[0] in self._to_addresses

    def workload_at(self, address: str) -> str:
        """Whose address it is, as namespace/name; "" when nobody's."""
        found = self._db.ask(workloads.at, address) if address else None
        return f"{found.namespace}/{found.workload}" if found else ""


def _reports(pod: _Pod) -> bool:
    return pod.reports


def _ref(end: model.End) -> findings.Ref:
    return findings.Ref("Service", end.namespace, end.name)


def _selects(value: core.Service, pod: _Pod) -> bool:
    return bool(value.spec.selector) and value.spec.selector.items() <= pod.labels.items()


def _alike(pod: _Pod, end: model.End) -> bool:
    return pod.value.namespace == end.namespace and pod.gateway is (end.kind == "gateway")


def _there(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f": there are {', '.join(found[:8])}{more}" if found else ""
