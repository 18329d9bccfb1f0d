"""The controller's rights, and nobody else's: the node agent and the gateways have none at the API server.

What the controller reads follows the tables of `retic.mesh`. Whatever it writes in its own namespace is a
Role there; the ClusterRole has only what cannot be one.
"""

from collections.abc import Iterable, Sequence

from retic import objects
from retic.install import names
from retic.install.parts import base
from retic.mesh import governed, tables

READ = ("get", "list", "watch")
_MAKE = ("create", "patch", "delete")
_GATEWAY_API = "gateway.networking.k8s.io"
# Kinds that are no table of the mesh: the nodes with their networks, and the cluster's Service networks.
_ALSO_READ = (("", "nodes"), ("networking.k8s.io", "servicecidrs"))
_OWN = {"app.kubernetes.io/component": "controller"}


def rule(group: str, resources: Sequence[str], verbs: Sequence[str], only: Sequence[str] = ()) -> base.Tree:
    """A PolicyRule of one API group; `only` are the names that it is limited to."""
    made: base.Tree = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return made | ({"resourceNames": list(only)} if only else {})


def plural(kind: str) -> str:
    """The resource of a kind that is a table; its plural follows English."""
    lower = kind.lower()
    if lower.endswith("y") and not lower.endswith(("ay", "ey", "oy", "uy")):
        return f"{lower[:-1]}ies"
    return lower + ("es" if lower.endswith("s") else "s")


def _by_group(kinds: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in kinds:
        group, _, _ = objects.KINDS[kind].api_versions[0].rpartition("/")
        found.setdefault(group, []).append(plural(kind))
    return found


def read() -> list[base.Tree]:
    """Rules to read what the mesh is made from."""
    by_group = _by_group(tables.TABLES)
    for group, resource in _ALSO_READ:
        by_group.setdefault(group, []).append(resource)
    return [rule(group, sorted(set(found)), READ) for group, found in sorted(by_group.items())]


def cluster_rules() -> list[base.Tree]:
    """Everything that the controller may do outside its namespace."""
    return [
        *read(),
        # Whether a pod is captured (retic.dev/Captured).
        rule("", ["pods/status"], ["patch"]),
        *(
            rule(group, [f"{each}/status" for each in sorted(found)], ["update", "patch"])
            for group, found in sorted(_by_group(governed.WITH_STATUS).items())
        ),
        # What a Gateway is made of, in the Gateway's namespace.
        rule("", ["services", "serviceaccounts", "configmaps"], [*READ, *_MAKE]),
        rule("apps", ["deployments"], [*READ, *_MAKE]),
        rule("policy", ["poddisruptionbudgets"], [*READ, *_MAKE]),
        rule("", ["events"], ["create", "patch"]),
        rule("events.k8s.io", ["events"], ["create", "patch"]),
        # Of which version the Gateway API is.
        rule("apiextensions.k8s.io", ["customresourcedefinitions"], ["get"], [f"gatewayclasses.{_GATEWAY_API}"]),
        # Who an agent is, and what a command's user may ask.
        rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
        rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
        # The webhook's certificate authority is filled in while the controller runs.
        rule(
            "admissionregistration.k8s.io", ["validatingwebhookconfigurations"], ["get", "patch"], [names.WEBHOOK]
        ),
    ]


def own_rules() -> list[base.Tree]:
    """What it may do in its own namespace. A name cannot limit `create`."""
    return [
        rule("", ["secrets"], ["create"]),
        rule("", ["secrets"], ["update", "patch"], [names.AUTHORITY]),
        rule("", ["configmaps"], [*READ, "create"]),
        rule("", ["configmaps"], ["update", "patch"], [names.ROOT, names.NODES]),
        rule("coordination.k8s.io", ["leases"], ["create"]),
        rule("coordination.k8s.io", ["leases"], ["get", "update", "patch"], [names.LEASE]),
    ]


def objects_of() -> list[base.Tree]:
    """Roles and what binds them to the controller's account."""
    group = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": names.CONTROLLER, "namespace": names.NAMESPACE}
    made: list[base.Tree] = []
    for prefix, rules in (("Cluster", cluster_rules()), ("", own_rules())):
        meta = base.metadata(names.CONTROLLER, "controller", namespaced=not prefix)
        made.append({"apiVersion": f"{group}/v1", "kind": f"{prefix}Role", "metadata": meta, "rules": rules})
        made.append({
            "apiVersion": f"{group}/v1",
            "kind": f"{prefix}RoleBinding",
            "metadata": base.metadata(names.CONTROLLER, "controller", namespaced=not prefix),
            "roleRef": {"apiGroup": group, "kind": f"{prefix}Role", "name": names.CONTROLLER},
            "subjects": [subject],
        })  # fmt: skip
    return made
