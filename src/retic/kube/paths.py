"""Where the API server keeps what is written here. Pure."""

from retic import findings, objects
from retic.sources.api import kinds, resources

_PLURALS = {read.kind: read.plural for read in kinds.mesh()}


def of(ref: findings.Ref) -> tuple[str, ...]:
    """The paths that an object may have, the best version first. KeyError for a kind that is not read."""
    space = f"/namespaces/{ref.namespace}" if ref.namespace else ""
    versions = objects.KINDS[ref.kind].api_versions
    return tuple(f"{resources.prefix(each)}{space}/{_PLURALS[ref.kind]}/{ref.name}" for each in versions)


def pod(namespace: str, name: str) -> str:
    """A pod's."""
    return f"/api/v1/namespaces/{namespace}/pods/{name}"
