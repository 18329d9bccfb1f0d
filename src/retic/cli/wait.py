"""`retic wait`: until proxies have what was applied."""

import pathlib
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from retic import findings
from retic.cli import cluster, failure, ps_cluster, running, show, up, which
from retic.control import model

if TYPE_CHECKING:
    from retic.sources.api import Api

_KINDS = {
    "gateway": "Gateway", "gateways": "Gateway", "gtw": "Gateway",
    "httproute": "HTTPRoute", "httproutes": "HTTPRoute",
    "grpcroute": "GRPCRoute", "grpcroutes": "GRPCRoute",
    "authorizationpolicy": "AuthorizationPolicy", "authorizationpolicies": "AuthorizationPolicy",
    "ap": "AuthorizationPolicy",
    "peerauthentication": "PeerAuthentication", "peerauthentications": "PeerAuthentication",
    "pa": "PeerAuthentication",
    "requestauthentication": "RequestAuthentication", "requestauthentications": "RequestAuthentication",
    "ra": "RequestAuthentication",
    "destinationrule": "DestinationRule", "destinationrules": "DestinationRule", "dr": "DestinationRule",
    "virtualservice": "VirtualService", "virtualservices": "VirtualService", "vs": "VirtualService",
    "telemetry": "Telemetry", "telemetries": "Telemetry",
    "ratelimit": "RateLimit", "ratelimits": "RateLimit",
}  # fmt: skip
_NAMES = sorted({kind.lower() for kind in _KINDS.values()})
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def run(options: which.Options, words: Sequence[str], namespace: str | None, timeout: float) -> None:
    """Print how far each object is once all are live. Raises Failure with what is missing after `timeout` seconds."""
    for word in words:
        _ref(word, "default")
    where = which.mesh(options)
    if isinstance(where, cluster.Target):
        _cluster(where, words, namespace, timeout)
    else:
        _local(where, [_ref(word, namespace or "default") for word in words], timeout)


def _ref(word: str, namespace: str) -> findings.Ref:
    """KIND/NAME, or KIND/NAMESPACE/NAME as other commands name gateways. Raises Failure."""
    kind, *names = word.split("/")
    known = _KINDS.get(kind.lower())
    if known is None or len(names) not in (1, 2) or not all(_NAME.fullmatch(name) for name in names):
        raise failure.Failure(f"{word}: write KIND/NAME, where KIND is one of {', '.join(_NAMES)}", code=2)
    return findings.Ref(known, names[0] if len(names) == 2 else namespace, names[-1])


def _cluster(target: cluster.Target, words: Sequence[str], namespace: str | None, timeout: float) -> None:
    from retic.wiring import remote

    async def work(api: "Api") -> None:
        wanted = [_ref(word, namespace or api.namespace) for word in words]
        found, lacking = await remote.wait(api, wanted, namespace or "", timeout)
        late = [one for one in found if not one.done]
        if late:
            missing = "".join(f"\n  {one}" for one in late)
            raise failure.Failure(f"not live after {timeout:g} s:{missing}")
        for one in found:
            print(one, flush=True)
        if not found:
            inside = f" in namespace {namespace}" if namespace else ""
            print(f"nothing to wait for: no Gateway, route or policy of the mesh{inside}", flush=True)
        ps_cluster.notes(lacking)

    cluster.run(target, work)


def _local(path: pathlib.Path, wanted: Sequence[findings.Ref], timeout: float) -> None:
    """There is one word for all proxies of a mesh on this machine, and findings say what is not accepted."""
    there = {
        findings.Ref(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
        for one in running.objects(path)
    }
    reasons = [f"{ref}: it does not exist" for ref in wanted if ref not in there]
    reasons += up.waiting(path, time.monotonic() + timeout)
    chosen = sorted(wanted or [ref for ref in there if ref.kind in _KINDS.values()])
    state = msgspec.convert(running.ask(path, model.AskPs()), model.Ps)
    names = set(map(str, chosen))
    reasons += [
        show.finding(one)
        for one in state.findings
        if one.severity is findings.Severity.ERROR and one.object in names
    ]
    if reasons:
        raise failure.Failure(f"not live after {timeout:g} s:{''.join(f'{chr(10)}  {one}' for one in reasons)}")
    for ref in chosen:
        print(f"{ref}: live on every proxy", flush=True)
    if not chosen:
        print("every proxy has its configuration; the mesh has no Gateway, route or policy", flush=True)
