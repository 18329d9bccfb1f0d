"""Pods that a manifest holds itself. An edited one is ended and made anew, for a pod's spec cannot change."""

import msgspec

from retic.local.workloads import accounts, names, pods, world
from retic.objects import pods as structs

replace = msgspec.structs.replace


def pod(bench: world.Bench, written: structs.Pod) -> None:
    """Make the pod, or end it when it was made of another spec; labels and annotations change in place."""
    key = pods.ref(written)
    digest = names.template_hash(written.spec)
    found: structs.Pod | None = bench.made.get(key)
    if found is not None:
        if pods.controller(found) is not None or bench.notes[key].revision != digest:
            bench.end(found)
        else:
            metadata = replace(found.metadata, labels=written.metadata.labels, annotations=written.metadata.annotations)
            bench.put(replace(found, metadata=metadata))
        return
    if not accounts.exists(bench, written, written.spec):
        return
    template = structs.PodTemplateSpec(spec=written.spec, metadata=written.metadata)
    bench.create_pod(None, template, key.name, key.namespace)
    bench.note(key, revision=digest)
