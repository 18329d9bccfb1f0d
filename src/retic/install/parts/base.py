"""What the rest stands on: the namespace, the accounts, the priority."""

from typing import Any

from retic.install import names
from retic.install.template import V, When

Tree = dict[str, Any]


def metadata(name: str, component: str, *, namespaced: bool = True, **more: Any) -> Tree:
    """An object's metadata."""
    place = {"namespace": names.NAMESPACE} if namespaced else {}
    return {"name": name, **place, "labels": names.labels(component), **more}


def namespace() -> When:
    """The node agent uses the host's network and folders, which the level `privileged` alone allows."""
    meta = metadata(names.NAMESPACE, "base", namespaced=False)
    meta["labels"] |= {
        "pod-security.kubernetes.io/enforce": "privileged",
        "pod-security.kubernetes.io/audit": "privileged",
        "pod-security.kubernetes.io/warn": "privileged",
    }
    return When(V.create_namespace, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})


def account(name: str, component: str) -> Tree:
    """A service account. Its token is mounted only where a pod says so."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(name, component),
        "automountServiceAccountToken": False,
    }


def priority() -> Tree:
    """Pods of the mesh wait for the node's agent, so it must not wait for them."""
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": metadata(names.PRIORITY_CLASS, "base", namespaced=False),
        "value": V.priority,
        "description": "Retic's controller and node agents: pods of the mesh wait for them.",
    }
