"""What single features cost: each added alone to the pair configured by hand, and all of them together.

Not part of the default run: it answers where processor time goes once Retic takes more than the pair. Every
feature is as in retic.envoy, so each entry here names what to change there. HTTP/1, both pods on one node.
"""

import pathlib
import random
import sys
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from tools.bench import generators, handmade, options, pair, ports, spread, table

from retic.node import bootstrap, redirect

_APPLICATION_MARK = 0x53A
_FILTERS = "extensions.filters."
_HEADER = "x-retic-destination"


class Feature(msgspec.Struct, frozen=True):
    """A name, what it does to each bootstrap, and whether the pods get the agent's own packet rules."""

    name: str
    client: handmade.Change = handmade.as_is
    server: handmade.Change = handmade.as_is
    rules: bool = False


def _chains(config: pair.Json) -> Iterator[pair.Json]:
    for listener in config["static_resources"]["listeners"]:
        yield from listener["filter_chains"]


def _managers(config: pair.Json) -> Iterator[pair.Json]:
    for chain in _chains(config):
        if "http_filters" in (found := chain["filters"][-1]["typed_config"]):
            yield found


def _clusters(config: pair.Json) -> Iterator[pair.Json]:
    yield from config["static_resources"]["clusters"]


def _inspect(config: pair.Json, name: str) -> None:
    message = {"http_inspector": "HttpInspector", "tls_inspector": "TlsInspector"}[name]
    config["static_resources"]["listeners"][0]["listener_filters"].append(
        pair.typed(f"envoy.filters.listener.{name}", f"{_FILTERS}listener.{name}.v3.{message}")
    )


def _early(config: pair.Json, added: dict[str, str]) -> None:
    removed = [
        {"remove_on_match": {"key_matcher": {"prefix": prefix}}}
        for prefix in ("x-envoy-", "x-retic-")
    ]
    appended = [
        {"append": {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for key, value in added.items()
    ]
    for manager in _managers(config):
        manager["early_header_mutation_extensions"] = [
            pair.typed(
                "envoy.http.early_header_mutation.header_mutation",
                "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                mutations=removed + appended,
            )
        ]


def _remove_headers(config: pair.Json) -> None:
    _early(config, {})


def _by_address(config: pair.Json) -> None:
    """Three headers of the proxy's own, a virtual host and a cluster chosen by them, then their removal."""
    for manager in _managers(config):
        name = manager["stat_prefix"]
        routes = manager["route_config"]
        routes["vhost_header"] = _HEADER
        routes["request_headers_to_remove"] = [_HEADER, "x-retic-vip", "x-retic-ip"]
        by_header = {"name": _HEADER, "string_match": {"prefix": "10."}}
        routes["virtual_hosts"][0]["routes"] = [
            {
                "match": {"prefix": "/", "headers": [by_header]},
                "route": {"cluster_header": "x-retic-vip", "timeout": "0s"},
            }
        ]
        _early({"static_resources": {"listeners": [{"filter_chains": [_chain_of(manager)]}]}}, {
            _HEADER: "%DOWNSTREAM_LOCAL_ADDRESS%",
            "x-retic-vip": name,
            "x-retic-ip": "ip/default/%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
        })  # fmt: skip


def _chain_of(manager: pair.Json) -> pair.Json:
    return {"filters": [{"typed_config": manager}]}


def _discovery(config: pair.Json) -> None:
    """A discovery stream that goes nowhere: only so that filters may name it."""
    config.setdefault("dynamic_resources", {})["ads_config"] = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "nowhere"}}],
    }
    if not any(cluster["name"] == "nowhere" for cluster in _clusters(config)):
        config["static_resources"]["clusters"].append({
            "name": "nowhere", "type": "STATIC", "load_assignment": {"cluster_name": "nowhere"},
        })  # fmt: skip


_ADS = {"ads": {}, "resource_api_version": "V3"}


def _on_demand(config: pair.Json) -> None:
    _discovery(config)
    for manager in _managers(config):
        manager["http_filters"].insert(
            0,
            pair.typed(
                "envoy.filters.http.on_demand",
                _FILTERS + "http.on_demand.v3.OnDemand",
                odcds={"source": _ADS, "timeout": "5s"},
            ),
        )


def _slot(config: pair.Json) -> None:
    """An authorization filter whose configuration comes by itself, and allows everything."""
    _discovery(config)
    message = "type.googleapis.com/envoy." + _FILTERS + "http.rbac.v3.RBAC"
    discovery = {
        "config_source": _ADS,
        "default_config": {"@type": message},
        "apply_default_config_without_warming": True,
        "type_urls": [message],
    }
    for manager in _managers(config):
        manager["http_filters"].insert(0, {"name": "filter/authorization", "config_discovery": discovery})


def _riders(config: pair.Json) -> None:
    """Namespace and identity in filter state, shared with the upstream connection, which is bound by them."""
    config["static_resources"]["listeners"][0]["address"]["socket_address"]["network_namespace_filepath"] = (
        "/proc/self/ns/net"
    )
    values = {
        ("envoy.network.upstream_bind_override.network_namespace", "envoy.hashable_string"):
            "%FILTER_STATE(envoy.network.network_namespace:PLAIN)%",
        ("envoy.tls.certificate_mappers.on_demand_secret", "envoy.hashable_string"):
            "spiffe://cluster.local/ns/default/sa/client",
    }  # fmt: skip
    state = [
        {
            "object_key": key, "factory_key": factory, "shared_with_upstream": "ONCE",
            "format_string": {"text_format_source": {"inline_string": text}},
        }
        for (key, factory), text in values.items()
    ]  # fmt: skip
    for chain in _chains(config):
        chain["filters"].insert(
            0,
            pair.typed(
                "riders", _FILTERS + "network.set_filter_state.v3.Config", on_new_connection=state
            ),
        )
    for cluster in _real(config):
        bind = cluster.setdefault("upstream_bind_config", {})
        bind["source_address"] = {"address": "0.0.0.0", "port_value": 0}
        bind["local_address_selector"] = pair.typed(
            "envoy.upstream.local_address_selector.filter_state_override",
            "extensions.local_address_selectors.filter_state_override.v3.Config",
        )


def _real(config: pair.Json) -> Iterable[pair.Json]:
    return [cluster for cluster in _clusters(config) if cluster["name"] != "nowhere"]


def _original_destination(config: pair.Json) -> None:
    for cluster in _real(config):
        cluster["type"], cluster["lb_policy"] = "ORIGINAL_DST", "CLUSTER_PROVIDED"
        del cluster["load_assignment"]


def _source(config: pair.Json) -> None:
    """The application sees the caller's address."""
    config["static_resources"]["listeners"][0]["listener_filters"].append(
        pair.typed(
            "envoy.filters.listener.original_src",
            _FILTERS + "listener.original_src.v3.OriginalSrc",
            mark=_APPLICATION_MARK,
        )
    )


def _mark(config: pair.Json) -> None:
    option = {"level": 1, "name": 36, "int_value": _APPLICATION_MARK, "state": "STATE_PREBIND"}
    for cluster in _real(config):
        bind = cluster.setdefault("upstream_bind_config", {})
        bind["source_address"] = {"address": "0.0.0.0", "port_value": 0}
        bind["socket_options"] = [option]


def _least_request(config: pair.Json) -> None:
    for cluster in _real(config):
        cluster["lb_policy"] = "LEAST_REQUEST"


def _as_downstream(config: pair.Json) -> None:
    """HTTP/1 or HTTP/2 towards the server as the client speaks it, instead of told."""
    name = "extensions.upstreams.http.v3.HttpProtocolOptions"
    for cluster in _real(config):
        cluster["typed_extension_protocol_options"] = {
            f"envoy.{name}": {
                "@type": f"type.googleapis.com/envoy.{name}",
                "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
            }
        }


def _details(config: pair.Json) -> None:
    """What else the connection managers say."""
    for manager in _managers(config):
        manager.update(
            server_header_transformation="PASS_THROUGH", preserve_external_request_id=True,
            skip_xff_append=True, upgrade_configs=[{"upgrade_type": "websocket"}], local_reply_config={},
        )  # fmt: skip


def _few_statistics(config: pair.Json) -> None:
    config["stats_config"] = {"stats_matcher": {"inclusion_list": {"patterns": [{"suffix": "upstream_rq_total"}]}}}


def _overload(config: pair.Json) -> None:
    """The bounds of heap and connections that the agent's bootstrap has."""
    config["overload_manager"] = bootstrap._overload(2 << 30, 50_000)


def _small_buffers(config: pair.Json) -> None:
    for one in (*config["static_resources"]["listeners"], *_real(config)):
        one["per_connection_buffer_limit_bytes"] = 256 * 1024


def _each(*changes: handmade.Change) -> handmade.Change:
    def all_of_them(config: pair.Json) -> None:
        for change in changes:
            change(config)

    return all_of_them


def _inspect_http(config: pair.Json) -> None:
    _inspect(config, "http_inspector")


def _inspect_tls(config: pair.Json) -> None:
    _inspect(config, "tls_inspector")


def alone() -> list[Feature]:
    """Every feature by itself."""
    return [
        Feature("http_inspector, tls_inspector", _inspect_http, _inspect_tls),
        Feature("early header removal, inbound", server=_remove_headers),
        Feature("routing by address, its headers", _by_address),
        Feature("on_demand filter", _on_demand),
        Feature("ECDS slot with RBAC", server=_slot),
        Feature("riders in filter state, outbound", _riders),
        Feature("riders in filter state, inbound", server=_riders),
        Feature("overload manager", _overload, _overload),
        Feature("least request", _least_request),
        Feature("protocol as downstream", _as_downstream, _as_downstream),
        Feature("connection managers' details", _details, _details),
        Feature("fewer statistics", _few_statistics, _few_statistics),
        Feature("smaller buffers", _small_buffers, _small_buffers),
        Feature("application by ORIGINAL_DST", server=_original_destination),
        Feature("the agent's packet rules", server=_mark, rules=True),
        Feature("rules, ORIGINAL_DST, original_src", server=_each(_mark, _original_destination, _source), rules=True),
    ]


def together(features: Sequence[Feature]) -> Feature:
    """All of them in one pair, as in Retic."""
    *most, _, last = features
    return Feature(
        "all together",
        _each(*(one.client for one in most)),
        _each(*(one.server for one in most if one.name != "application by ORIGINAL_DST"), last.server),
        rules=True,
    )


def run(folder: pathlib.Path, given: options.Options) -> list[table.Table]:
    """Each feature's pair against the plain one, interleaved. Needs root: it sets rules as the agent does."""
    single = alone()
    features = [Feature("none"), Feature("none again"), *single, together(single)]
    pods = [f"{side}{number}@1" for number in range(len(features)) for side in ("c", "s")]
    with handmade.started(folder, pods, (ports.Protocol.HTTP1,)) as bench:
        paths = [_path(bench, number, feature) for number, feature in enumerate(features)]
        cpu = _rounds(paths, given)
    base = cpu["none"]
    rows = [(name, f"{spread.of(x).median:.0f}", spread.ratios(x, base).text()) for name, x in cpu.items()]
    head = ("feature", "CPU µs/request", "ratio to the plain pair: median (least; quartiles)")
    return [table.Table("What single features cost the hand-written pair (HTTP/1)", head, tuple(rows))]


def _path(bench: handmade.Bench, number: int, feature: Feature) -> generators.Path:
    client, server = f"c{number}", f"s{number}"
    path = bench.proxied(client, server, feature.name, 1, (feature.client, feature.server), rules=not feature.rules)
    if feature.rules:
        for pod in (client, server):
            redirect.enrol(bench.pod(pod).place.netns, redirect.Config())
    return path


def _rounds(paths: Sequence[generators.Path], given: options.Options) -> dict[str, list[float]]:
    cpu: dict[str, list[float]] = {path.name: [] for path in paths}
    order = random.Random(1)
    for number in range(-1, given.rounds):
        for path in order.sample(paths, len(paths)):
            load = generators.saturate(path, ports.Protocol.HTTP1, 1)
            if number >= 0:
                cpu[path.name].append(load.cpu_us)
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
    return cpu


