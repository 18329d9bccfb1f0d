"""HTTP connection managers: of a pod's outgoing and incoming requests, and of a gateway."""

from collections.abc import Iterable

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import failures, filters, limits, logs, names, packing, replies, retrying, tls
from retic.telemetry import words

Manager = hcm_pb2.HttpConnectionManager

# Set by the proxy on every request, whatever the client wrote, and removed before it leaves: the address
# the connection was made to, and the on-demand clusters that this address would have.
DESTINATION_HEADER = logs.MARK
VIRTUAL_HEADER = "x-retic-vip"
ADDRESS_HEADER = "x-retic-ip"
INTERNAL_HEADERS = (DESTINATION_HEADER, VIRTUAL_HEADER, ADDRESS_HEADER)

# By their beginnings: what only proxies may say. Every header of every request is compared with each, so there are
# few. Case need not be ignored: Envoy has made the names lower case by then.
_OURS = ("x-envoy-", "x-retic-")
# What one proxy tells the next (`logs.to_next`) is said by nobody else: the outgoing proxy overwrites it.
_STRANGERS = (*_OURS, words.PEER_HEADER)
# CGI and WSGI make one name of `a-b` and `a_b` (RFC 3875, section 4.1.18), and an application would read
# whichever came last: what the receiving proxy says about the caller cannot be said in another spelling either.
_LOOKALIKES = ("x_forwarded", "x-forwarded_", "x-forwarded-client_cert")

# Where the address is nobody's business.
_MARKED = {logs.MARK: "here"}

_LOCAL = "%DOWNSTREAM_LOCAL_ADDRESS%"
_LOCAL_WITHOUT_PORT = "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"


def outbound(namespace: str, who: logs.Who) -> Manager:
    """Requests that leave a pod: routed by the address they were sent to, not by Host."""
    manager = _manager("outbound", replies.outbound())
    manager.access_log.extend(logs.http(logs.Side.OUTBOUND, who))
    manager.delayed_close_timeout.CopyFrom(limits.seconds(limits.CLOSE_SECONDS))
    manager.http_filters.extend(filters.outbound())
    manager.rds.route_config_name = names.routes(namespace)
    manager.rds.config_source.CopyFrom(tls.ads())
    manager.early_header_mutation_extensions.append(
        _early(
            _OURS,
            {
                DESTINATION_HEADER: _LOCAL,
                VIRTUAL_HEADER: names.virtual(namespace, _LOCAL),
                ADDRESS_HEADER: names.address(namespace, _LOCAL_WITHOUT_PORT),
            },
        )
    )
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE
    return manager


def inbound(who: logs.Who) -> Manager:
    """Requests that reach a pod over our mTLS: who calls is said in x-forwarded-client-cert."""
    # What the caller's proxy says is remembered first: what is refused is counted too.
    chain = [logs.caller(), *filters.inbound(who.pod_uid)]
    manager = _to_application("inbound", chain, names.APPLICATION, _OURS)
    manager.local_reply_config.CopyFrom(replies.inbound())
    manager.access_log.extend(logs.http(logs.Side.INBOUND, who))
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE_SET
    manager.set_current_client_cert_details.uri = True
    manager.route_config.response_headers_to_remove.append(failures.HEADER)
    return manager


def plaintext(who: logs.Who, application: str) -> Manager:
    """Requests that reach a pod without our mTLS, passed on to the cluster `application`: nothing is said about
    who calls, by nobody."""
    manager = _to_application("plaintext", filters.plaintext(who.pod_uid), application, _STRANGERS)
    manager.access_log.extend(logs.http(logs.Side.PLAINTEXT, who))
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE
    for host in manager.route_config.virtual_hosts:
        host.retry_policy.CopyFrom(retrying.of_application())
    return manager


def _to_application(
    prefix: str, chain: list[hcm_pb2.HttpFilter], application: str, unsaid: tuple[str, ...]
) -> Manager:
    manager = _manager(prefix, replies.plaintext())
    manager.delayed_close_timeout.CopyFrom(limits.seconds(limits.CLOSE_SECONDS))
    manager.http_filters.extend(chain)
    route = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"))
    route.route.cluster = application
    route.route.timeout.CopyFrom(limits.seconds(0))
    connect = route_components_pb2.Route(match=_connect_match())
    connect.route.CopyFrom(route.route)
    host = route_components_pb2.VirtualHost(name="application", domains=["*"], routes=[route, connect])
    removed = (logs.MARK, words.PEER_HEADER)
    # What only proxies say is no application's to say.
    unsaid_back = (words.CODE_HEADER, words.ID_HEADER)
    manager.route_config.CopyFrom(
        route_pb2.RouteConfiguration(
            name=prefix, virtual_hosts=[host], request_headers_to_remove=removed, response_headers_to_remove=unsaid_back
        )
    )
    manager.early_header_mutation_extensions.append(_early(unsaid + _LOOKALIKES, _MARKED))
    manager.common_http_protocol_options.idle_timeout.CopyFrom(limits.seconds(limits.IDLE_PEER_SECONDS))
    return manager


def gateway(routes: str, slots: Iterable[str], who: logs.Who) -> Manager:
    """Requests that enter from outside: the sender's address is the connection's. `slots` names those of
    what decides about them."""
    manager = _manager("gateway", replies.gateway())
    manager.access_log.extend(logs.http(logs.Side.GATEWAY, who))
    manager.http_filters.extend(filters.gateway(slots))
    manager.rds.route_config_name = routes
    manager.rds.config_source.CopyFrom(tls.ads())
    manager.early_header_mutation_extensions.append(_early(_STRANGERS + _LOOKALIKES, _MARKED))
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE
    manager.use_remote_address.value = True
    manager.skip_xff_append = False
    manager.normalize_path.value = True
    # "shop.example." is shop.example: with its dot it would fall to the listener of every host.
    manager.strip_trailing_host_dot = True
    return manager


def mirrored(chain: Iterable[hcm_pb2.HttpFilter]) -> Manager:
    """Requests that this proxy mirrors and sends to itself: what their headers say, it has said."""
    manager = _manager("mirrored", replies.Config())  # nobody waits for what comes back
    manager.http_filters.extend(chain)
    manager.forward_client_cert_details = hcm_pb2.HttpConnectionManager.SANITIZE
    return manager


def as_filter(manager: Manager) -> listener_components_pb2.Filter:
    """The connection manager as a chain's last network filter."""
    return listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packing.pack(manager)
    )


def _manager(prefix: str, answers: replies.Config) -> Manager:
    manager = hcm_pb2.HttpConnectionManager(
        codec_type=hcm_pb2.HttpConnectionManager.AUTO,
        stat_prefix=prefix,
        # A mesh sets no time-out of its own: a long poll or a stream may stay silent.
        stream_idle_timeout=limits.seconds(0),
        server_header_transformation=hcm_pb2.HttpConnectionManager.PASS_THROUGH,
        preserve_external_request_id=True,
        skip_xff_append=True,
        use_remote_address=wrappers_pb2.BoolValue(value=False),
        upgrade_configs=[hcm_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        http_protocol_options=protocol_pb2.Http1ProtocolOptions(
            accept_http_10=True, default_host_for_http_10="http10"
        ),
        http2_protocol_options=protocol_pb2.Http2ProtocolOptions(allow_connect=True),
    )
    manager.local_reply_config.CopyFrom(answers)
    return manager


def _connect_match() -> route_components_pb2.RouteMatch:
    match = route_components_pb2.RouteMatch()
    match.connect_matcher.SetInParent()
    return match


def _early(removed: tuple[str, ...], headers: dict[str, str]) -> extension_pb2.TypedExtensionConfig:
    """Before routing: headers whose names begin so are taken away, others overwritten, so none can be forged."""
    overwrite = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    mutations = [_remove(prefix) for prefix in removed]
    for key, value in headers.items():
        mutations.append(
            mutation_rules_pb2.HeaderMutation(
                append=base_pb2.HeaderValueOption(
                    header=base_pb2.HeaderValue(key=key, value=value), append_action=overwrite
                )
            )
        )
    return packing.typed(
        "envoy.http.early_header_mutation.header_mutation",
        header_mutation_pb2.HeaderMutation(mutations=mutations),
    )


def _remove(prefix: str) -> mutation_rules_pb2.HeaderMutation:
    return mutation_rules_pb2.HeaderMutation(
        remove_on_match=mutation_rules_pb2.HeaderMutation.RemoveOnMatch(
            key_matcher=string_pb2.StringMatcher(prefix=prefix)
        )
    )
