"""security.istio.io's three kinds as small CRDs of our own: structural, and what a spec says is kept as it is."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.cluster import kubectl

GROUP = "security.istio.io"
KINDS = {
    "AuthorizationPolicy": "authorizationpolicies", "PeerAuthentication": "peerauthentications",
    "RequestAuthentication": "requestauthentications",
}  # fmt: skip


def crd(kind: str, plural: str) -> dict[str, Any]:
    """The definition of one kind."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
               "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                 "versions": [version]},
    }  # fmt: skip


@contextlib.contextmanager
def on(kube: kubectl.Kubectl) -> Iterator[None]:
    """The cluster serves them to the block's end, and after it if it did before."""
    missing = {
        kind: plural for kind, plural in KINDS.items() if kube.attempt("get", "crd", f"{plural}.{GROUP}").returncode
    }
    names = [f"crd/{plural}.{GROUP}" for plural in missing.values()]
    if not names:
        yield
        return
    kube.apply(*(crd(*each) for each in missing.items()))
    try:
        kube.run("wait", "--for=condition=Established", "--timeout=60s", *names)
        yield
    finally:
        kube.run("delete", *names, "--wait=false")
