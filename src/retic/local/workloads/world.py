"""What controllers have made so far, and the bench on which one expansion works.

`World` is a value: the same objects, world and time give the same next world. `Bench` is its scratch copy
while `expand` runs; nobody else keeps one. Neither knows a process, a file or a clock.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from retic import findings, objects
from retic.local.workloads import names, pods, times
from retic.objects import meta
from retic.objects import pods as structs

replace = msgspec.structs.replace


class Note(msgspec.Struct, frozen=True):
    """What a controller must remember of one object and Kubernetes keeps in objects that we have not.

    Of a bare pod, `done` is the uid of the controller that has taken it. Of a CronJob, `until` is the last time
    for which it started a Job, and `done` the stamp of its last success.
    """

    revision: str = ""
    template: structs.PodTemplateSpec | None = None
    since: float = 0.0
    until: float = 0.0
    done: str = ""
    count: int = 0
    reason: str = ""


class World(msgspec.Struct, frozen=True):
    """Everything that controllers made: `objects` by reference, and their memory.

    `reported` are those of `objects` that a manifest holds and that stand here for their status only.
    `wake` is the time (seconds since 1970) at which a controller wants to be asked again, None: never.
    """

    objects: dict[findings.Ref, Any] = msgspec.field(default_factory=dict)
    notes: dict[findings.Ref, Note] = msgspec.field(default_factory=dict)
    serials: dict[findings.Ref, int] = msgspec.field(default_factory=dict)
    addresses: dict[findings.Ref, str] = msgspec.field(default_factory=dict)
    reported: frozenset[findings.Ref] = frozenset()
    cursors: dict[str, int] = msgspec.field(default_factory=dict)
    faults: tuple[findings.Fault, ...] = ()
    wake: float | None = None

    @property
    def pods(self) -> dict[findings.Ref, structs.Pod]:
        """The pods, ending ones included."""
        return {key: value for key, value in self.objects.items() if key.kind == "Pod"}

    def listed(self, given: Mapping[findings.Ref, Any]) -> dict[findings.Ref, Any]:
        """All objects, as an API server would list them: without pods of manifests that a controller has ended."""
        ended = {key for key, note in self.notes.items() if key.kind == "Pod" and note.done}
        return {**{key: value for key, value in given.items() if key not in ended}, **self.objects}

    def with_status(self, pod: findings.Ref, uid: str, status: structs.PodStatus) -> "World":
        """With another status of a pod; nothing changes when that pod is not there any more."""
        found = self.objects.get(pod)
        if found is None or found.metadata.uid != uid or found.status == status:
            return self
        return replace(self, objects={**self.objects, pod: replace(found, status=status)})

    def without(self, pod: findings.Ref, uid: str) -> "World":
        """Without a pod whose processes have all ended; nothing changes when it is not there any more."""
        found = self.objects.get(pod)
        if found is None or found.metadata.uid != uid:
            return self
        return replace(self, objects={key: value for key, value in self.objects.items() if key != pod})


class Bench:
    """One expansion's scratch copy: `given` objects are read, `made` ones written."""

    def __init__(
        self, given: Mapping[findings.Ref, Any], previous: World, *, nodes: tuple[str, ...], now: float
    ) -> None:
        """Start from `previous`; `nodes` in their order, `now` in seconds since 1970."""
        self.given = given
        self.now = now
        self.nodes = nodes
        self.before = previous.objects
        self.made: dict[findings.Ref, Any] = {k: v for k, v in previous.objects.items() if k not in previous.reported}
        self.reported: set[findings.Ref] = set()
        self.notes = dict(previous.notes)
        self.serials = dict(previous.serials)
        self.addresses = dict(previous.addresses)
        self.cursors = dict(previous.cursors)
        self.faults: dict[findings.Fault, None] = {}
        self.wake: float | None = None
        self.changed = False
        self._kinds: dict[str, set[findings.Ref]] = {}
        self._owned: dict[tuple[str, str], set[findings.Ref]] = {}
        self._orphans: set[findings.Ref] = set()
        for key, value in self.made.items():
            self._index(key, value)
        self._given_kinds: dict[str, set[findings.Ref]] = {}
        for key in given:
            self._given_kinds.setdefault(key.kind, set()).add(key)

    def _index(self, key: findings.Ref, value: meta.Object) -> None:
        self._kinds.setdefault(key.kind, set()).add(key)
        owner = pods.controller(value)
        if owner is not None:
            self._owned.setdefault((key.kind, owner.uid), set()).add(key)
        elif key.kind == "Pod":
            self._orphans.add(key)

    def _unindex(self, key: findings.Ref, value: meta.Object) -> None:
        self._kinds[key.kind].discard(key)
        owner = pods.controller(value)
        if owner is not None:
            self._owned[key.kind, owner.uid].discard(key)
        self._orphans.discard(key)

    def result(self) -> World:
        """The next world."""
        return World(
            objects=self.made,
            notes=self.notes,
            serials=self.serials,
            addresses=self.addresses,
            reported=frozenset(self.reported),
            cursors=self.cursors,
            faults=tuple(self.faults),
            wake=self.wake,
        )

    def get(self, ref: findings.Ref) -> Any | None:
        """The object, as made here or as given."""
        return self.made.get(ref) or self.given.get(ref)

    def every(self, kind: str) -> list[Any]:
        """All objects of a kind, made and given, by namespace and name; a made one stands for the given."""
        keys = self._given_kinds.get(kind, set()) | self._kinds.get(kind, set())
        return [self.get(key) for key in sorted(keys)]

    def put(self, value: meta.Object) -> None:
        """Write a made object; an equal one is no change."""
        key = pods.ref(value)
        old = self.made.get(key)
        if old != value:
            if old is not None:
                self._unindex(key, old)
            self.made[key] = value
            self._index(key, value)
            self.changed = True

    def drop(self, ref: findings.Ref) -> None:
        """Remove a made object at once."""
        old = self.made.pop(ref, None)
        if old is not None:
            self._unindex(ref, old)
            self.changed = True

    def note(self, ref: findings.Ref, **fields: Any) -> None:
        """Remember fields of a `Note` about `ref`."""
        self.notes[ref] = replace(self.notes.get(ref, Note()), **fields)

    def fault(self, code: str, ref: findings.Ref, path: str, message: str, fix: str) -> None:
        """Report a fault, once."""
        self.faults[findings.Fault(code=code, object=ref, path=path, message=message, fix=fix)] = None

    def wake_at(self, when: float) -> None:
        """Ask to be run again at `when`, seconds since 1970."""
        self.wake = when if self.wake is None else min(self.wake, when)

    def serial(self, ref: findings.Ref) -> int:
        """How many objects this one had made before: 0, 1, 2 ..."""
        self.serials[ref] = self.serials.get(ref, -1) + 1
        return self.serials[ref]

    def owned(self, kind: str, owner: meta.Object) -> list[Any]:
        """The objects of a kind that `owner` manages, oldest first."""
        keys = self._owned.get((kind, owner.metadata.uid or ""), set())
        found = [self.made[key] for key in keys]
        return sorted(found, key=lambda value: (value.metadata.creation_timestamp or "", value.metadata.name))

    def of_uid(self, uid: str) -> Any | None:
        """The object with this uid, None: it does not exist any more."""
        every = (*self.made.values(), *self.given.values())
        return next((value for value in every if value.metadata.uid == uid), None)

    def orphans(self, namespace: str) -> list[structs.Pod]:
        """The pods of a namespace that no controller manages, by name."""
        return [self.made[key] for key in sorted(self._orphans) if key.namespace == namespace]

    def report(self, value: meta.Object) -> None:
        """Write an object with its status; a manifest's own is read anew at the next expansion."""
        key = pods.ref(value)
        if key in self.given:
            self.reported.add(key)
        self.put(value)

    def end(self, pod: structs.Pod) -> None:
        """Tell a pod to end; one that no node has is gone at once."""
        key = pods.ref(pod)
        if pods.ending(pod):
            return
        if pod.spec.node_name is None:
            self.drop(key)
            return
        stamp = times.stamp(self.now)
        self.put(replace(pod, metadata=replace(pod.metadata, deletion_timestamp=stamp)))

    def create_pod(
        self,
        owner: meta.Object | None,
        template: structs.PodTemplateSpec,
        name: str,
        namespace: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> structs.Pod | None:
        """Make a pod of a template; None when one of that name still exists."""
        key = findings.Ref("Pod", namespace, name)
        if key in self.made:
            return None
        uid = names.uid(key, self.serial(key))
        made = structs.Pod(
            metadata=meta.Metadata(
                name=name,
                namespace=namespace,
                generate_name=None if owner is None else name.rpartition("-")[0] + "-",
                uid=uid,
                labels={**template.metadata.labels, **(labels or {})},
                annotations={**template.metadata.annotations, **(annotations or {})},
                owner_references=() if owner is None else (reference(owner),),
                creation_timestamp=times.stamp(self.now),
            ),
            spec=replace(
                template.spec,
                service_account_name=template.spec.service_account_name or "default",
                restart_policy=template.spec.restart_policy or "Always",
            ),
            status=structs.PodStatus(phase="Pending"),
        )
        self.put(made)
        return made

    def owned_kind(self, kind: str) -> list[Any]:
        """The made objects of a kind."""
        return pods.index(self.made, kind)

    def keep_only(self, kind: str, wanted: Iterable[findings.Ref]) -> None:
        """Remove the made objects of a kind that are not wanted."""
        keep = set(wanted)
        for key in [key for key in self.made if key.kind == kind and key not in keep]:
            self.drop(key)


def reference(owner: meta.Object) -> meta.OwnerReference:
    """The owner reference of what `owner` manages."""
    kind = type(owner).__name__
    return meta.OwnerReference(
        api_version=objects.KINDS[kind].api_versions[0],
        kind=kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid or "",
        controller=True,
        block_owner_deletion=True,
    )
