"""CustomResourceDefinitions of the kinds that are our own."""

from typing import Any

from retic import objects
from retic.install import schema
from retic.install.parts import base, rights
from retic.objects import authorizers, limits, telemetry
from retic.sources import checks_limits

API = "apiextensions.k8s.io/v1"
_GRPC, _HTTP = "envoyExtAuthzGrpc", "envoyExtAuthzHttp"


def authorization_provider() -> base.Tree:
    """Whom CUSTOM policies ask: for the whole cluster, so that their author is whoever may write such objects."""
    spec = schema.of(authorizers.AuthorizationProviderSpec)
    spec["x-kubernetes-validations"] = [{
        "rule": f"has(self.{_GRPC}) != has(self.{_HTTP})",
        "message": f"exactly one of {_GRPC} and {_HTTP} must be there",
    }]  # fmt: skip
    columns = [(each, f".spec.{field}.service") for each, field in (("gRPC", _GRPC), ("HTTP", _HTTP))]
    return _definition(authorizers.AuthorizationProvider, spec, columns)


def rate_limit() -> base.Tree:
    """How many requests may be made of what is in the object's namespace."""
    spec = schema.of(limits.RateLimitSpec)
    spec["x-kubernetes-validations"] = [{
        "rule": "!has(self.selector) || !has(self.targetRefs) || size(self.targetRefs) == 0",
        "message": "keep one of selector and targetRefs",
    }]  # fmt: skip
    each = spec["properties"]["limits"]
    each |= {"minItems": 1, "maxItems": checks_limits.MOST_LIMITS}
    each["items"]["properties"]["matches"]["maxItems"] = checks_limits.MOST_MATCHES
    columns = [("Requests", ".spec.limits[*].requests"), ("Per", ".spec.limits[*].per")]
    made = _definition(limits.RateLimit, spec, columns)
    return _with_status(made)


def telemetry_provider() -> base.Tree:
    """Where spans are sent: for the whole cluster, as above."""
    columns = [("Service", ".spec.opentelemetry.service"), ("Path", ".spec.opentelemetry.http.path")]
    return _definition(telemetry.TelemetryProvider, schema.of(telemetry.TelemetryProviderSpec), columns)


def _with_status(made: base.Tree) -> base.Tree:
    """With conditions (metav1.Condition), which only who may write `status` writes, and which kubectl shows."""
    (version,) = made["spec"]["versions"]
    text = {"type": "string"}
    fields = {
        "type": text, "status": {"type": "string", "enum": ["True", "False", "Unknown"]}, "reason": text,
        "message": text, "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    }  # fmt: skip
    one = {"type": "object", "required": ["type", "status", "reason", "lastTransitionTime"], "properties": fields}
    listed = {"type": "array", "items": one, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    whole = version["schema"]["openAPIV3Schema"]["properties"]
    whole["status"] = {"type": "object", "properties": {"conditions": listed}}
    version["subresources"] = {"status": {}}
    shown = [(name, f'.status.conditions[?(@.type=="retic.dev/{name}")].status') for name in ("Accepted", "Live")]
    age = version["additionalPrinterColumns"].pop()
    version["additionalPrinterColumns"] += [{"name": n, "type": "string", "jsonPath": path} for n, path in shown]
    version["additionalPrinterColumns"].append(age)
    return made


def _definition(
    struct: type[objects.Object], spec: dict[str, Any], columns: list[tuple[str, str]]
) -> base.Tree:
    kind = struct.__name__
    known, plural = objects.KINDS[kind], rights.plural(kind)
    group, _, version = known.api_versions[0].rpartition("/")
    return {
        "apiVersion": API,
        "kind": "CustomResourceDefinition",
        "metadata": base.metadata(f"{plural}.{group}", "base", namespaced=False),
        "spec": {
            "group": group,
            "scope": "Namespaced" if known.namespaced else "Cluster",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [{
                "name": version,
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
