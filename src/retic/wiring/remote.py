"""A cluster's mesh as a command sees it: the objects read once with the user's own rights, in a graph of their own.

The settings are those that the controllers are told, and the networks those that they find (`networks`).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from retic import findings
from retic.answers import cluster, statuses, waiting
from retic.control import cluster as settings
from retic.install import names, nodes
from retic.kube import ranges
from retic.mesh import tables
from retic.objects import gateway
from retic.sources import certificates, model, store, stream
from retic.sources.api import Api, ApiError, UnreachableError, kinds, scope
from retic.wiring import inputs, networks

_FORBIDDEN, _ABSENT = 403, 404
_CONFIG = f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/{names.CONFIG}"


DEFAULTS = settings.Config(image="")
"""What stands where the settings cannot be read."""


class Told(msgspec.Struct, frozen=True):
    """What the controllers are told. `installed`: None when that cannot be read; `lacking`: what would be needed."""

    config: settings.Config
    installed: bool | None
    drained: bool = False
    lacking: tuple[str, ...] = ()


async def see(
    api: Api, namespace: str = "", news: Callable[[], None] = lambda: None
) -> tuple[cluster.Cluster, Told]:
    """All objects that the mesh is made of and the user may read; of one namespace where only that is allowed.

    `namespace`: which one, "" for the context's. `news` is called after every change of what is known, for those who
    follow it. Error when the server cannot be asked.
    """
    reads = kinds.mesh(names.NAMESPACE)
    secrets = next(read for read in reads if read.kind == "Secret")
    others = [read for read in reads if read is not secrets]
    seen, told, reports, named = await asyncio.gather(
        scope.look(api, others, namespace or api.namespace), what_is_told(api), _reports(api), ranges.services(api)
    )
    # Keys are read where a Gateway names them, and nowhere else.
    seen = await scope.named(api, seen, secrets, sorted(_certificates(seen.listed.values)))
    lacking = [*seen.scope.lacking, *told.lacking]
    if reports is None:
        lacking.append(f"get configmaps/{names.NODES} in namespace {names.NAMESPACE}")
    held = msgspec.structs.replace(seen.scope, lacking=tuple(lacking))
    return made(msgspec.structs.replace(seen, scope=held), told, reports, named, news), told


def made(
    seen: scope.Seen, told: Told, reports: dict[str, nodes.Report] | None, named: Iterable[str] = (),
    news: Callable[[], None] = lambda: None,
) -> cluster.Cluster:  # fmt: skip
    """Answers from what was seen; `named` are Services' networks that the cluster names."""
    found = networks.Networks(networks.wanted(told.config, drained=told.drained), ranges=named)
    db = inputs.mesh(found.settings)
    kept = store.Store(db, found.rows, news)
    changes = []
    for value in seen.listed.values:
        ref = model.ref(value)
        if ref.kind != "Secret" or getattr(value, "type", "") == certificates.TYPE:
            changes.append(stream.Change(ref.kind, ref.namespace, ref.name, value))
    kept.apply(changes)
    kept.report(seen.listed.found)
    return cluster.Cluster(db, kept, seen.scope, reports)


def _certificates(values: Iterable[object]) -> set[findings.Ref]:
    """The Secrets that Gateways name, but for the installation's own."""
    return {
        findings.Ref("Secret", each.namespace or value.metadata.namespace, each.name)
        for value in values
        if isinstance(value, gateway.Gateway)
        for listener in value.spec.listeners
        for each in (listener.tls.certificate_refs if listener.tls else ())
        if (each.kind or "Secret") == "Secret" and (each.namespace or value.metadata.namespace) != names.NAMESPACE
    }


async def what_is_told(api: Api) -> Told:
    """What the installation on the cluster says. Error when the server cannot be asked."""
    try:
        found = await api.get(_CONFIG)
    except ApiError as error:
        if error.status == _ABSENT:
            return Told(DEFAULTS, installed=False)
        if error.status == _FORBIDDEN:
            right = f"get configmaps/{names.CONFIG} in namespace {names.NAMESPACE}"
            return Told(DEFAULTS, installed=None, lacking=(f"{right} (the mesh's settings: defaults stand)",))
        raise
    data: dict[str, Any] = found.get("data") or {}
    try:
        config = msgspec.json.decode(data.get(names.CONFIG_KEY, ""), type=settings.Config)
    except msgspec.MsgspecError:  # of another version; `retic check` says so
        config = DEFAULTS
    return Told(config, installed=True, drained=data.get(names.DRAIN_KEY) == "true")


async def _reports(api: Api) -> dict[str, nodes.Report] | None:
    try:
        return await nodes.read(api)
    except ApiError as error:
        if error.status == _FORBIDDEN:
            return None
        raise


# What else decides whose an object is.
_DECIDING = ("GatewayClass", "Namespace")


async def wait(
    api: Api, wanted: Sequence[findings.Ref], namespace: str, seconds: float
) -> tuple[tuple[statuses.Progress, ...], tuple[str, ...]]:
    """How far the wanted objects are once all of them are live, or after so many seconds; and rights that are missing.

    No `wanted`: all that are Retic's to serve, of one namespace if one is given. Error.
    """
    served = [read for read in kinds.mesh(names.NAMESPACE) if read.kind in (*statuses.KINDS, *_DECIDING)]
    seen, told = await asyncio.gather(scope.look(api, served, namespace or api.namespace), what_is_told(api))
    db, news = inputs.mesh(networks.wanted(told.config, drained=told.drained)), asyncio.Event()
    kept = store.Store(db, tables.changes, news.set)
    alone = [(ref, each) for each in seen.listed.values if (ref := model.ref(each)) in seen.scope.single]
    kept.apply(stream.Change(ref.kind, ref.namespace, ref.name, each) for ref, each in alone)
    needed = {ref.kind for ref in wanted} or set(statuses.KINDS)
    if not any(read.kind in needed for read in seen.scope.reads):
        raise UnreachableError(f"you may not {'; '.join(seen.scope.lacking)}")
    until = waiting.Waiting(db, kept, wanted, namespace)
    try:
        async with asyncio.timeout(seconds):
            return await until.until(api, seen.scope.reads, news), seen.scope.lacking
    except TimeoutError:
        return until.state(), seen.scope.lacking
