"""What commands ask about a mesh on a cluster, answered from what its API server says.

The same questions to the same graph as the controllers' own; what only running parts know is in statuses, conditions
and ConfigMaps that the controllers write. Refuses to ask the controllers: the user's own rights decide what is seen.
"""

import msgspec

from retic import findings as report
from retic import graph
from retic.answers import policies, questions, statuses, traffic, visible
from retic.control import model
from retic.envoy import counters
from retic.explain import belonging, places
from retic.explain import why as explain
from retic.explain.request import answer as explained
from retic.findings import catalogue
from retic.install import nodes
from retic.mesh import tables, workloads
from retic.objects import gateway, pods
from retic.sources import store
from retic.sources.api import scope

_REFUSED = catalogue.CODES["RT0601"]


class Cluster:
    """`reports` are the nodes', None where they may not be read; `seen` says which objects `kept` has all of."""

    def __init__(
        self, db: graph.Graph, kept: store.Store, seen: scope.Scope, reports: dict[str, nodes.Report] | None
    ) -> None:
        self._db = db
        self._kept = kept
        self._seen = seen
        self._reports = reports
        self._questions = questions.Questions(db, kept)
        self._joined = visible.joined(db, kept)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Rights that are missing to see everything, in words."""
        return self._seen.lacking

    @property
    def is_blind(self) -> bool:
        """Whether not even the pods of one namespace may be read."""
        return not any(read.kind == "Pod" for read in self._seen.reads)

    @property
    def traffic(self) -> traffic.Traffic:
        """What passes through it."""
        return traffic.Traffic(self._db, self._kept, self._seen)

    def ps(self, choice: visible.Choice) -> model.ClusterPs:
        """Pods, services, gateways, nodes and findings, of the namespaces that are chosen."""
        shown = self._filter(choice)
        found, unjudged = self.findings(choice)
        return model.ClusterPs(
            pods=tuple(self._pod(one) for one in self._questions.pods() if shown.namespace(one.metadata.namespace)),
            services=tuple(one for one in self._questions.services() if shown.namespace(one.namespace)),
            gateways=tuple(
                self._gateway(ref, value)
                for ref, value in sorted(self._kept.objects.items())
                if isinstance(value, gateway.Gateway) and shown.namespace(ref.namespace)
                and statuses.of(self._db, ref, value) is not None
            ),
            nodes=tuple(_node(name, one) for name, one in sorted((self._reports or {}).items())),
            findings=found,
            unseen=self._seen.lacking,
            unjudged=unjudged,
        )  # fmt: skip

    def counting(self) -> tuple[str, ...]:
        """The proxies that count for policies."""
        return policies.proxies(self._db, self._kept)

    def policies(self, choice: visible.Choice, counts: counters.Counts | None) -> tuple[model.Policy, ...]:
        """The policies of the namespaces that are chosen."""
        shown = self._filter(choice)
        own = self._db.ask(workloads.settings, tables.ONE).system_namespace
        every = self._questions.policies(counts)
        return tuple(one for one in every if shown.namespace(one.namespace) or _for_all(choice, one, own))

    def findings(self, choice: visible.Choice) -> tuple[tuple[report.Finding, ...], tuple[str, ...]]:
        """What is wrong, and the objects of which nobody can tell, since what they refer to may not be read."""
        meant, unjudged = self._meant()
        refused = (self._refusal(one) for one in statuses.every(self._db, self._kept.objects) if one.refused)
        shown = self._filter(choice)
        every = places.ordered((*self._kept.found, *meant, *self._questions.lapsed(), *refused))
        return tuple(filter(shown.finding, every)), tuple(map(str, sorted(unjudged)))

    def _meant(self) -> tuple[tuple[report.Finding, ...], list[report.Ref]]:
        if self._seen.is_whole:
            return self._questions.faults(self._kept.objects), []
        found: list[report.Fault] = []
        unjudged = []
        for ref in self._kept.objects:
            judged = visible.judged(self._db, ref, self._seen)
            found += judged.faults
            if not judged.whole:
                unjudged.append(ref)
        return places.located(found, {}), unjudged

    def why(self, resource: str) -> explain.Why:
        """From a resource's name to its objects, each with its owner. Raises explain.Unknown."""
        answer = self._questions.why(resource)
        # What may not be read is neither there nor absent.
        known = [one for one in answer.sources if one.present or self._seen.sees(ref_of(one.object))]
        return msgspec.structs.replace(answer, sources=tuple(map(self._owned, known)))

    def request(self, asked: explained.Asked) -> explained.Answer:
        """What becomes of a request, as far as the objects may be read. Raises explain.request.answer.Unclear."""
        return self._questions.request(asked)

    def _owned(self, source: explain.Source) -> explain.Source:
        owner = self._questions.owner(ref_of(source.object))
        return msgspec.structs.replace(source, made_of=str(owner)) if owner is not None else source

    def _filter(self, choice: visible.Choice) -> visible.Filter:
        namespace = choice.namespace or self._seen.namespace
        return visible.Filter(visible.Choice(namespace, choice.everywhere), self._joined)

    def _pod(self, value: pods.Pod) -> model.MeshPod:
        space = report.Ref("Namespace", "", value.metadata.namespace)
        stands = belonging.of(self._db, value, known=self._seen.sees(space))
        plain = None
        if self._reports is not None:
            plain = sum(
                one.connections
                for each in self._reports.values()
                for one in each.plaintext
                if one.uid == value.metadata.uid
            )
        fields = msgspec.structs.asdict(questions.pod(value))
        return model.MeshPod(**fields, mesh=stands.state.value, why=stands.why, plaintext=plain)

    def _gateway(self, ref: report.Ref, value: gateway.Gateway) -> model.MeshGateway:
        ports = sorted({listener.port for listener in value.spec.listeners})
        found = statuses.addresses(value)
        listeners = tuple(model.Listener(port, f"{each}:{port}") for port in ports for each in found)
        progress = statuses.of(self._db, ref, value)
        done, says = (progress.done, progress.says) if progress is not None else (False, "")
        return model.MeshGateway(
            ref.namespace, ref.name, listeners or tuple(model.Listener(port, "") for port in ports),
            live=done, progress=says,
        )  # fmt: skip

    def _refusal(self, one: statuses.Progress) -> report.Finding:
        return report.Finding(
            _REFUSED.code, _REFUSED.severity, str(one.ref), "", 0, one.refused,
            "this is a fault of Retic: please report it; the proxy keeps what it had", _REFUSED.url,
        )


def _for_all(choice: visible.Choice, one: model.Policy, own: str) -> bool:
    """Whether it is for the whole mesh, and nobody has asked for one namespace."""
    return not choice.namespace and one.namespace == own


def ref_of(label: str) -> report.Ref:
    """The object that a label such as `Service shop/cart` names."""
    kind, _, rest = label.partition(" ")
    namespace, slash, name = rest.partition("/")
    return report.Ref(kind, namespace, name) if slash else report.Ref(kind, "", rest)


def _node(name: str, said: nodes.Report) -> model.Node:
    plain = sum(one.connections for one in said.plaintext)
    return model.Node(name, said.retic, said.envoy, said.captured, plain, said.time)
