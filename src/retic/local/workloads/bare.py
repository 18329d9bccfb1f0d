"""Pods that a manifest holds itself. An edited one is ended and made anew, for a pod's spec cannot change.

A controller may take such a pod (`retic.local.workloads.claims`) and may end it when it has too many. It is not
made again then, as nobody would in a cluster: not before the manifest changes or that controller is gone.
"""

import msgspec

from retic.local.workloads import accounts, names, pods, world
from retic.objects import pods as structs

replace = msgspec.structs.replace


def pod(bench: world.Bench, written: structs.Pod) -> None:
    """Make the pod, or end it when it was made of another spec; labels and annotations change in place."""
    key = pods.ref(written)
    digest = names.template_hash(written.spec)
    note = bench.notes.get(key)
    found: structs.Pod | None = bench.made.get(key)
    if found is not None:
        if note is None or note.revision != digest:
            bench.end(found)
        else:
            metadata = replace(found.metadata, labels=written.metadata.labels, annotations=written.metadata.annotations)
            bench.put(replace(found, metadata=metadata))
        return
    if note is not None and note.revision == digest and _is_taken(bench, note, written):
        return
    if not accounts.exists(bench, written, written.spec):
        return
    template = structs.PodTemplateSpec(spec=written.spec, metadata=written.metadata)
    bench.create_pod(None, template, key.name, key.namespace)
    bench.note(key, revision=digest, done="")


def _is_taken(bench: world.Bench, note: world.Note, written: structs.Pod) -> bool:
    """Whether the controller that took the pod would take it again."""
    owner = bench.of_uid(note.done) if note.done else None
    return owner is not None and owner.spec.selector.matches(written.metadata.labels)


def checks(bench: world.Bench) -> None:
    """Report pods of manifests that a controller has ended."""
    for key in sorted(key for key in bench.given if key.kind == "Pod" and key not in bench.made):
        note = bench.notes.get(key)
        if note is not None and note.done:
            bench.fault(
                "RT0111",
                key,
                "metadata.labels",
                "its labels match the selector of a controller that took it and, having pods enough, ended it",
                "write labels that no controller selects, or take the pod out of the manifests",
            )
