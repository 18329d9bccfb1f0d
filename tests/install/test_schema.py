"""The schema of our own kinds: what it has of the structs, and that it is one that the API server takes."""

import re

import pytest

from retic.install import schema
from retic.install.parts import definitions
from retic.objects import authorizers

_VERSION = definitions.authorization_provider()["spec"]["versions"][0]
_LIMITS = definitions.rate_limit()
LIMITS = _LIMITS["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
SPEC = _VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]


def walked(node, path=""):
    yield path, node
    for name, inner in (node.get("properties") or {}).items():
        yield from walked(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from walked(node[key], f"{path}[]")


@pytest.mark.parametrize("spec", [SPEC, LIMITS])
def test_it_is_structural(spec):
    for path, node in walked(spec):
        assert node["type"] in ("object", "array", "string", "integer", "boolean"), path
        assert set(node.get("required", ())) <= set(node.get("properties", ())), path
        re.compile(node.get("pattern", ""))


def test_forms_and_required_fields_are_in_it():
    grpc = SPEC["properties"]["envoyExtAuthzGrpc"]
    assert grpc["required"] == ["port", "service"]
    assert (grpc["properties"]["port"]["minimum"], grpc["properties"]["port"]["maximum"]) == (1, 65535)
    assert "503" in grpc["properties"]["statusOnError"]["enum"]
    body = grpc["properties"]["includeRequestBodyInCheck"]["properties"]["maxRequestBytes"]
    assert body["maximum"] == authorizers.MOST_BODY
    http = SPEC["properties"]["envoyExtAuthzHttp"]["properties"]
    name = http["headersToUpstreamOnAllow"]["items"]["pattern"]
    assert re.search(name, "x-ext-authz-*")
    assert not re.search(name, "x ext")


def test_kubectl_get_shows_whom_a_provider_asks():
    paths = {column["name"]: column["jsonPath"] for column in _VERSION["additionalPrinterColumns"]}
    assert paths["gRPC"] == ".spec.envoyExtAuthzGrpc.service"
    for path in (paths["gRPC"], paths["HTTP"]):
        at = SPEC
        for step in path.split(".")[2:]:
            at = at["properties"][step]
        assert at["type"] == "string"


def test_exactly_one_way_to_ask():
    (rule,) = SPEC["x-kubernetes-validations"]
    assert all(field in rule["rule"] for field in schema.of(authorizers.AuthorizationProviderSpec)["properties"])


def test_limits_have_bounds():
    assert _LIMITS["spec"]["scope"] == "Namespaced"
    assert (LIMITS["properties"]["limits"]["minItems"], LIMITS["properties"]["limits"]["maxItems"]) == (1, 32)
    each = LIMITS["properties"]["limits"]["items"]
    assert each["required"] == ["per", "requests"]
    assert each["properties"]["requests"]["minimum"] == 1
    assert each["properties"]["per"]["enum"] == ["second", "minute", "hour"]
    assert each["properties"]["matches"]["maxItems"] == 16
    (rule,) = LIMITS["x-kubernetes-validations"]
    assert "selector" in rule["rule"]
