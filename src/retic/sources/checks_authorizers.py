"""Rules between the fields of an AuthorizationProvider."""

from collections.abc import Iterator

from retic.objects import authorizers
from retic.sources import validate
from retic.sources.checks_core import fault


def provider(value: authorizers.AuthorizationProvider) -> Iterator[validate.Fault]:
    """One way to ask, and no more."""
    grpc, http = value.spec.envoy_ext_authz_grpc, value.spec.envoy_ext_authz_http
    if grpc and http:
        yield fault("spec.envoyExtAuthzGrpc", "stands beside envoyExtAuthzHttp", "keep one of them")
    if not grpc and not http:
        yield fault(
            "spec", "says nobody to ask", "write envoyExtAuthzGrpc or envoyExtAuthzHttp, with service and port"
        )
