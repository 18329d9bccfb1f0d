"""CustomResourceDefinitions of the kinds that are our own."""

from collections.abc import Sequence

from retic import objects
from retic.install import schema
from retic.install.parts import base, rights
from retic.objects import authorizers, telemetry

API = "apiextensions.k8s.io/v1"
_KIND = authorizers.AuthorizationProvider.__name__
_GRPC, _HTTP = "envoyExtAuthzGrpc", "envoyExtAuthzHttp"


def authorization_provider() -> base.Tree:
    """Whom CUSTOM policies ask: for the whole cluster, so that their author is whoever may write such objects."""
    spec = schema.of(authorizers.AuthorizationProviderSpec)
    spec["x-kubernetes-validations"] = [{
        "rule": f"has(self.{_GRPC}) != has(self.{_HTTP})",
        "message": f"exactly one of {_GRPC} and {_HTTP} must be there",
    }]  # fmt: skip
    columns = [(each, f".spec.{field}.service") for each, field in (("gRPC", _GRPC), ("HTTP", _HTTP))]
    return _definition(_KIND, spec, columns)


def telemetry_provider() -> base.Tree:
    """Where spans are sent: for the whole cluster, as above."""
    columns = [("Service", ".spec.opentelemetry.service"), ("Path", ".spec.opentelemetry.http.path")]
    return _definition(telemetry.TelemetryProvider.__name__, schema.of(telemetry.TelemetryProviderSpec), columns)


def _definition(kind: str, spec: base.Tree, columns: Sequence[tuple[str, str]]) -> base.Tree:
    plural = rights.plural(kind)
    return {
        "apiVersion": API,
        "kind": "CustomResourceDefinition",
        "metadata": base.metadata(f"{plural}.{authorizers.GROUP}", "base", namespaced=False),
        "spec": {
            "group": authorizers.GROUP,
            "scope": "Cluster",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [{
                "name": objects.KINDS[kind].api_versions[0].rpartition("/")[2],
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
