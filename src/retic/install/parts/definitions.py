"""CustomResourceDefinitions of the kinds that are our own."""

from retic import objects
from retic.install import schema
from retic.install.parts import base, rights
from retic.objects import authorizers

API = "apiextensions.k8s.io/v1"
_KIND = authorizers.AuthorizationProvider.__name__
_GRPC, _HTTP = "envoyExtAuthzGrpc", "envoyExtAuthzHttp"


def authorization_provider() -> base.Tree:
    """Whom CUSTOM policies ask: for the whole cluster, so that their author is whoever may write such objects."""
    plural = rights.plural(_KIND)
    spec = schema.of(authorizers.AuthorizationProviderSpec)
    spec["x-kubernetes-validations"] = [{
        "rule": f"has(self.{_GRPC}) != has(self.{_HTTP})",
        "message": f"exactly one of {_GRPC} and {_HTTP} must be there",
    }]  # fmt: skip
    columns = [(each, f".spec.{field}.service") for each, field in (("gRPC", _GRPC), ("HTTP", _HTTP))]
    return {
        "apiVersion": API,
        "kind": "CustomResourceDefinition",
        "metadata": base.metadata(f"{plural}.{authorizers.GROUP}", "base", namespaced=False),
        "spec": {
            "group": authorizers.GROUP,
            "scope": "Cluster",
            "names": {"kind": _KIND, "listKind": f"{_KIND}List", "plural": plural, "singular": _KIND.lower()},
            "versions": [{
                "name": objects.KINDS[_KIND].api_versions[0].rpartition("/")[2],
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": spec}}},
                "additionalPrinterColumns": [
                    *({"name": name, "type": "string", "jsonPath": path} for name, path in columns),
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }],
        },
    }  # fmt: skip
