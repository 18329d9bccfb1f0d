"""Which ConfigMaps and Secrets a pod refers to: in variables and in volumes. Looks nothing up."""

from collections.abc import Iterator

from retic import findings
from retic.objects import pods as structs
from retic.objects import volume


def of(pod: structs.Pod) -> tuple[findings.Ref, ...]:
    """The references, each once, in a stable order."""
    space = pod.metadata.namespace
    named = {*_variables(pod.spec), *_volumes(pod.spec)}
    return tuple(findings.Ref(kind, space, name) for kind, name in sorted(named) if name)


def _variables(spec: structs.PodSpec) -> Iterator[tuple[str, str]]:
    for container in (*spec.init_containers, *spec.containers):
        for source in container.env_from:
            if source.config_map_ref is not None:
                yield "ConfigMap", source.config_map_ref.name
            if source.secret_ref is not None:
                yield "Secret", source.secret_ref.name
        for variable in container.env:
            value = variable.value_from
            if value is not None and value.config_map_key_ref is not None:
                yield "ConfigMap", value.config_map_key_ref.name
            if value is not None and value.secret_key_ref is not None:
                yield "Secret", value.secret_key_ref.name


def _volumes(spec: structs.PodSpec) -> Iterator[tuple[str, str]]:
    for item in spec.volumes:
        if item.config_map is not None:
            yield "ConfigMap", item.config_map.name
        if item.secret is not None:
            yield "Secret", item.secret.secret_name or ""
        for part in item.projected.sources if item.projected else ():
            yield from _projection(part)


def _projection(part: volume.Projection) -> Iterator[tuple[str, str]]:
    if part.config_map is not None:
        yield "ConfigMap", part.config_map.name
    if part.secret is not None:
        yield "Secret", part.secret.name
