"""`retic proxy`: what an Envoy has, as tables or as Envoy's own JSON without its secrets."""

import collections
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from retic.cli import cluster, failure, running, show, which
from retic.control import model

Row = dict[str, Any]


def run(options: which.Options, proxy: str, section: str, *, as_json: bool) -> None:
    """Print it. Raises Failure."""
    where = which.mesh(options)
    pods: dict[str, str] = {}
    if isinstance(where, cluster.Target):
        raw, pods = _cluster(where, proxy, section)
    else:
        raw = running.ask(where, model.AskProxy(proxy=proxy, section=section), seconds=60.0)
        if section == "listeners" and not as_json:
            pods = _names(running.objects(where))
    if as_json:
        show.json(raw)
    else:
        _show(proxy, section, raw, pods)


def _cluster(target: cluster.Target, proxy: str, section: str) -> tuple[Any, dict[str, str]]:
    """What it has, and the names of pods by their uids as far as they may be read."""
    from retic.answers import proxies
    from retic.sources import api as servers

    async def work(api: servers.Api) -> tuple[Any, dict[str, str]]:
        try:
            found = await proxies.find(api, proxy)
            if found.others:
                print(f"{proxy} has {found.others + 1} pods: this is {found.place.pod}", file=sys.stderr, flush=True)
            raw = await proxies.read(api, found, section)
        except proxies.Unknown as error:
            raise failure.Failure(str(error)) from error
        pods: list[Row] = []
        if section == "listeners":
            with contextlib.suppress(servers.ApiError):
                pods = (await api.get("/api/v1/pods"))["items"]
        return raw, _names({"kind": "Pod", **pod} for pod in pods)

    return cluster.run(target, work)


def _show(proxy: str, section: str, raw: Any, pods: Mapping[str, str]) -> None:
    if section == "stats":
        for key in sorted(raw):
            print(f"{key}: {raw[key]}")
    elif not section:
        for key, value in raw.items():
            print(f"{key}: {value}")
    elif not raw:
        print(f"{proxy} has no {section}")
    else:
        columns, cells = _TABLES[section]
        rows = [cell for row in raw for cell in cells(row)]
        if section == "listeners":
            rows = [(name, address, pods.get(str(uid), uid), *rest) for name, address, uid, *rest in rows]
        show.table("", columns, _once(rows))


def _names(objects: Iterable[Row]) -> dict[str, str]:
    """namespace/name of each pod, by its uid, which is how namespaces are named."""
    found = (one["metadata"] for one in objects if one["kind"] == "Pod")
    return {meta["uid"]: f"{meta['namespace']}/{meta['name']}" for meta in found if "uid" in meta}


def _once(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Rows that are the same as one row, with their number: every pod's listener has its own inbound routes."""
    keys = [tuple(map(str, row)) for row in rows]
    count = collections.Counter(keys)
    first = dict(zip(reversed(keys), reversed(rows), strict=True))
    return [
        row if count[key] == 1 else (f"{row[0]} ({count[key]} times)", *row[1:])
        for key, row in ((key, first[key]) for key in dict.fromkeys(keys))
    ]


def _listeners(row: Row) -> Iterator[tuple[object, ...]]:
    address = row.get("address", {}).get("socket_address", {})
    space = str(address.get("network_namespace_filepath", "")).rpartition("/")[2]
    chains = len(row.get("filter_chains", ())) + ("default_filter_chain" in row)
    yield row.get("name"), _address(row.get("address", {})), space, chains, row["state"], row["version"]


def _routes(row: Row) -> Iterator[tuple[object, ...]]:
    hosts = row.get("virtual_hosts", ())
    if not hosts:
        yield row.get("name"), "", "", "", row["version"]
    for host in hosts:
        for route in host.get("routes", ()) or [{}]:
            yield row.get("name"), host.get("domains", ()), _match(route), _action(route), row["version"]


def _match(route: Row) -> str:
    match = route.get("match", {})
    for kind in ("path", "prefix", "path_separated_prefix"):
        if kind in match:
            words = [f"{kind} {match[kind]}"]
            break
    else:
        words = [f"regex {match['safe_regex'].get('regex', '')}"] if "safe_regex" in match else []
    if "connect_matcher" in match:
        words = ["CONNECT"]
    words += [f"header {one.get('name')}" for one in match.get("headers", ())]
    words += [f"query {one.get('name')}" for one in match.get("query_parameters", ())]
    return " ".join(words)


def _action(route: Row) -> str:
    if "redirect" in route:
        return "redirect"
    if "direct_response" in route:
        return f"answer {route['direct_response'].get('status', '')}"
    action = route.get("route", {})
    if "weighted_clusters" in action:
        parts = action["weighted_clusters"].get("clusters", ())
        return ", ".join(f"{one.get('name')} ({one.get('weight', 0)})" for one in parts)
    return str(action.get("cluster") or action.get("cluster_header") or "")


def _clusters(row: Row) -> Iterator[tuple[object, ...]]:
    kind = row.get("type") or row.get("cluster_type", {}).get("name", "STATIC")
    tls = "transport_socket" in row or "transport_socket_matches" in row
    yield row.get("name"), kind, tls, row["state"], row["version"]


def _endpoints(row: Row) -> Iterator[tuple[object, ...]]:
    for locality in row.get("endpoints", ()):
        zone = locality.get("locality", {}).get("zone", "")
        for one in locality.get("lb_endpoints", ()):
            where = _address(one.get("endpoint", {}).get("address", {}))
            health = one.get("health_status", "UNKNOWN").lower()
            yield row.get("cluster_name"), where, zone, locality.get("priority", 0), health
    if not row.get("endpoints"):
        yield row.get("cluster_name"), "none", "", "", ""


def _secrets(row: Row) -> Iterator[tuple[object, ...]]:
    yield row["name"], row["kind"], row.get("names", ()), row.get("not_after", ""), row["state"]


def _address(value: Row) -> str:
    if "pipe" in value:
        return str(value["pipe"].get("path", ""))
    found = value.get("socket_address", {})
    return f"{found.get('address', '')}:{found.get('port_value', '')}"


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[Row], Iterator[tuple[object, ...]]]]] = {
    "listeners": (("name", "address", "pod", "chains", "state", "version"), _listeners),
    "routes": (("name", "domains", "match", "to", "version"), _routes),
    "clusters": (("name", "type", "tls", "state", "version"), _clusters),
    "endpoints": (("cluster", "address", "zone", "priority", "health"), _endpoints),
    "secrets": (("name", "kind", "names", "not after", "state"), _secrets),
}
