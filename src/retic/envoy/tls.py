"""Both ends of the mesh's TLS: 1.3 only, SPIFFE IDs checked on both sides, no session ever resumed.

Upstream, the client certificate is chosen per connection from filter state (`riders.Rider.IDENTITY`), so
that one cluster serves every pod of a node.
"""

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import packing

# Private ALPNs: they mark our own mTLS, and tell HTTP from the rest without a guess. Clients offer one;
# the server selects none (no ALPN callback), so the connection manager finds HTTP/2 by its preface.
ALPN_HTTP = "retic-http"
ALPN_TCP = "retic-tcp"

# Both bind each trust domain to the roots that sign for it (Envoy's SPIFFE validator): the agent makes them. Which
# trust domains there are is said nowhere else, so that no listener changes with them.
ROOT_SECRET = "root"  # noqa: S105 (a resource name)
CALLERS_SECRET = "callers"  # noqa: S105 (a resource name)
_WORKLOADS = "spiffe://[^/]+/ns/[^/]+/sa/[^/]+"

# Before a SPIFFE ID: the same certificate for a pod's own listeners. A second watcher of one name on one
# delta stream is never answered by Envoy 1.40, so the name must differ from the one that clients choose.
SERVER_SECRET = "server:"  # noqa: S105 (a resource name)
_TLS13 = common_pb2.TlsParameters.TLSv1_3
_SELECTOR = "transport_sockets.tls.cert_selectors.on_demand_secret.v3.Config"
_MAPPER = "transport_sockets.tls.cert_mappers.filter_state_override.v3.Config"


def ads() -> config_source_pb2.ConfigSource:
    """Fetch from the aggregated stream."""
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    source.ads.SetInParent()
    return source


def _parameters() -> common_pb2.TlsParameters:
    # Without a maximum, an upstream context stops at TLS 1.2 and every handshake fails.
    return common_pb2.TlsParameters(tls_minimum_protocol_version=_TLS13, tls_maximum_protocol_version=_TLS13)


def _validation(
    names: Iterable[string_pb2.StringMatcher], roots: str
) -> tls_pb2.CommonTlsContext.CombinedCertificateValidationContext:
    matchers = [
        common_pb2.SubjectAltNameMatcher(san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=name)
        for name in names
    ]
    return tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=matchers),
        validation_context_sds_secret_config=secret_pb2.SdsSecretConfig(name=roots, sds_config=ads()),
    )


def _workloads() -> string_pb2.StringMatcher:
    expression = regex_pb2.RegexMatcher(regex=_WORKLOADS)
    return string_pb2.StringMatcher(safe_regex=expression)


def upstream(identities: Iterable[str], own: str = "none") -> base_pb2.TransportSocket:
    """mTLS towards servers that must have one of `identities` (SPIFFE IDs; at least one).

    `own` is whose certificate is shown where no connection of a pod is behind the request.
    """
    common = tls_pb2.CommonTlsContext(
        tls_params=_parameters(),
        alpn_protocols=[ALPN_HTTP],
        combined_validation_context=_validation(
            (string_pb2.StringMatcher(exact=identity) for identity in identities), ROOT_SECRET
        ),
    )
    mapper = {
        "name": "filter_state",
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": "type.googleapis.com/envoy.extensions." + _MAPPER,
            "value": {"default_value": own},
        },
    }
    common.custom_tls_certificate_selector.CopyFrom(
        packing.typed_by_name(
            "envoy.tls.certificate_selectors.on_demand_secret",
            _SELECTOR,
            {"config_source": {"ads": {}, "resource_api_version": "V3"}, "certificate_mapper": mapper},
        )
    )
    return base_pb2.TransportSocket(
        name="retic.mtls", typed_config=packing.pack(tls_pb2.UpstreamTlsContext(common_tls_context=common))
    )


def plaintext() -> base_pb2.TransportSocket:
    """No encryption: towards endpoints outside the mesh."""
    return base_pb2.TransportSocket(name="retic.plain", typed_config=packing.pack(raw_buffer_pb2.RawBuffer()))


def downstream(identity: str) -> base_pb2.TransportSocket:
    """mTLS for a pod's own identity; clients need a workload's certificate, of a trust domain that is accepted.

    Resumption is off: a ticket outlives the identity that it was given to.
    """
    common = tls_pb2.CommonTlsContext(
        tls_params=_parameters(),
        tls_certificate_sds_secret_configs=[
            secret_pb2.SdsSecretConfig(name=SERVER_SECRET + identity, sds_config=ads())
        ],
        combined_validation_context=_validation((_workloads(),), CALLERS_SECRET),
    )
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=common,
        require_client_certificate=wrappers_pb2.BoolValue(value=True),
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return base_pb2.TransportSocket(name="retic.mtls", typed_config=packing.pack(context))


def probed(identity: str) -> base_pb2.TransportSocket:
    """For a kubelet that looks at a pod by HTTPS: it has no certificate, and checks none."""
    common = tls_pb2.CommonTlsContext(
        tls_params=_parameters(),
        tls_certificate_sds_secret_configs=[
            secret_pb2.SdsSecretConfig(name=SERVER_SECRET + identity, sds_config=ads())
        ],
    )
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=common,
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return base_pb2.TransportSocket(name="retic.probed", typed_config=packing.pack(context))


def application() -> base_pb2.TransportSocket:
    """Towards a pod's own application that wants TLS, whatever its certificate: for probes, as kubelets do."""
    params = common_pb2.TlsParameters(
        tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2, tls_maximum_protocol_version=_TLS13
    )
    context = tls_pb2.UpstreamTlsContext(common_tls_context=tls_pb2.CommonTlsContext(tls_params=params))
    return base_pb2.TransportSocket(name="retic.application", typed_config=packing.pack(context))


def server(secrets: Iterable[str]) -> base_pb2.TransportSocket:
    """A gateway's TLS towards the world: TLS 1.2 or later, HTTP/2 and HTTP/1.1, certificates by SDS."""
    common = tls_pb2.CommonTlsContext(
        tls_params=common_pb2.TlsParameters(tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2),
        tls_certificate_sds_secret_configs=[
            secret_pb2.SdsSecretConfig(name=name, sds_config=ads()) for name in secrets
        ],
        alpn_protocols=["h2", "http/1.1"],
    )
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    return base_pb2.TransportSocket(name="retic.tls", typed_config=packing.pack(context))
