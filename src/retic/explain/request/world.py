"""What a question is asked about: the graph of a mesh, its objects, and where they are written."""

from collections.abc import Mapping

import msgspec

from retic import findings, graph, objects
from retic.explain import places
from retic.explain.request.answer import Judged, Place, Step
from retic.mesh import policy, rules, service, tables
from retic.objects import pods


class World(msgspec.Struct, frozen=True):
    """`running`: whether pods are really there; of files alone nobody knows which are ready, and addresses are those
    that a laptop's mesh would give."""

    db: graph.Graph
    objects: Mapping[findings.Ref, objects.Object]
    positions: Mapping[findings.Ref, places.Position]
    running: bool

    def place(self, ref: findings.Ref, path: str = "") -> Place:
        """Where a field of an object is written, or of the nearest of its owners that is in a file."""
        passed: set[findings.Ref] = set()
        at: findings.Ref | None = ref
        while at is not None and at not in passed:
            if at in self.positions:
                position = self.positions[at]
                return Place(str(at), position.file, position.at(path if at == ref else ""))
            passed.add(at)
            at = self.owner(at)
        return Place(str(ref))

    def owner(self, ref: findings.Ref) -> findings.Ref | None:
        """The object that manages another."""
        value = self.objects.get(ref)
        owners = value.metadata.owner_references if value is not None else ()
        found = next((one for one in owners if one.controller), None)
        return findings.Ref(found.kind, ref.namespace, found.name) if found is not None else None

    def step(self, what: str, text: str, ref: findings.Ref | None = None, path: str = "") -> Step:
        """A step that an object stands behind, or none."""
        if ref is None:
            return Step(what, text)
        at = self.place(ref, path)
        return Step(what, text, at.object, at.file, at.line)

    def judged(self, of: policy.Policy, rule: int | None) -> Judged:
        """The policy that decided, at its rule."""
        written = rule is not None and not of.closed
        at = self.place(of.origin, f"spec.rules[{rule}]" if written else "spec" if of.closed else "")
        return Judged(at.object, of.action.value, at.file, at.line)

    def pods(self, namespace: str) -> list[tuple[findings.Ref, pods.Pod]]:
        """The pods of a namespace that are not over, by name."""
        return [
            (ref, value)
            for ref, value in sorted(self.objects.items())
            if isinstance(value, pods.Pod) and ref.namespace == namespace
            and not (value.status and value.status.phase in ("Succeeded", "Failed"))
        ]  # fmt: skip

    def match_path(self, rule: tuple[findings.Ref, int], number: int) -> str:
        """The field of a route's match: the `number`th of those that were understood, if all were."""
        ref, at = rule
        understood = [one for one in self.db.ask(rules.of, ref).rules if one.number == at]
        value = self.objects.get(ref)
        written = getattr(getattr(value, "spec", None), "rules", ())
        count = len(getattr(written[at], "matches", ())) if at < len(written) else 0
        return f"spec.rules[{at}].matches[{number}]" if count == len(understood) else f"spec.rules[{at}]"


def ref_of(pod: service.Workload) -> findings.Ref:
    """A workload's Pod."""
    return findings.Ref("Pod", pod.namespace, pod.name)


def key_of(pod: service.Workload) -> tables.Key:
    """A workload's key in the tables."""
    return tables.Key(pod.namespace, pod.name)
