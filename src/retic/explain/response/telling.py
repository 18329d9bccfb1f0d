"""From an entry of a proxy to what is told of it: who, what, why, what decided, and how things stand now."""

import datetime

import msgspec

from retic import findings
from retic.explain.request.answer import Place, Step
from retic.explain.request.world import World
from retic.explain.response import called, deciding, meanings, told
from retic.mesh import workloads
from retic.telemetry import causes, entries

Entry = entries.Entry
_UNSENT = frozenset({causes.Code.NO_ROUTE, causes.Code.BROKEN, causes.Code.MALFORMED, causes.Code.REFUSED})


def tell(world: World, entry: Entry, proxy: str) -> told.Seen:
    """`proxy` is the name of the proxy that has reported it."""
    seen = listed(world, entry, proxy)
    meaning = meanings.of(seen.code)
    steps = [Step("what", meaning.about)]
    found = deciding.decided(world, entry, seen.code)
    steps += found.steps
    port = called.port(world, entry)
    if entry.source:
        steps += called.connection(entry)
        steps += called.endpoints(world, entry, port) if seen.code not in _UNSENT else []
    else:
        steps += called.application(world, entry)
    change = found.change or called.change(world, entry, port) or meaning.change
    return msgspec.structs.replace(
        seen, policy=found.policy, route=_route(world, entry), steps=tuple(map(_plain, steps)), change=change
    )


def listed(world: World, entry: Entry, proxy: str) -> told.Seen:
    """The same without what stood behind it."""
    code = causes.of(entry)
    meaning = meanings.of(code)
    return told.Seen(
        id=entry.answer,
        code=code,
        title=meaning.title,
        time=_time(entry.time),
        proxy=proxy,
        side=entry.side,
        protocol=entry.protocol,
        caller=_caller(world, entry),
        called=_called(world, entry),
        status=entry.code or None,
        ms=round(entry.ms, 3),
        method=told.plain(entry.method),
        host=told.plain(entry.authority),
        path=told.path(entry.path),
        attempts=entry.attempts,
        flags=entry.flags,
        details=told.plain(entry.details),
        url=meaning.url,
    )


def same(first: Entry, other: Entry) -> bool:
    """Whether two proxies' entries are about one request.

    Clients may choose the id of a stream, so it is not enough: the one must be the caller's proxy of the other, at
    the same time.
    """
    if first.source is other.source:
        return False
    source, target = (first, other) if first.source else (other, first)
    near = source.time - 1 <= target.time <= source.time + source.ms / 1e3 + 1
    known = not target.peer or target.peer == source.workload
    return near and known and bool(source.id) and source.id == target.id and source.upstream in ("", target.local)


def _caller(world: World, entry: Entry) -> told.Party:
    if entry.side == "gateway":
        return told.Party(address=entry.remote)
    if entry.source:
        return told.Party(
            workload=entry.workload, pod=_pod(world, entry.pod), identity=_own(world, entry), address=entry.remote
        )
    pod = world.db.ask(workloads.at, entry.remote.rpartition(":")[0])
    mine = pod is not None and entry.peer in ("", f"{pod.namespace}/{pod.workload}")
    known = f"{pod.namespace}/{pod.name}" if pod is not None and mine else ""
    return told.Party(workload=told.plain(entry.peer), pod=known, identity=entry.caller, address=entry.remote)


def _called(world: World, entry: Entry) -> told.Party:
    if not entry.source:
        return told.Party(
            workload=entry.workload, pod=_pod(world, entry.pod), identity=_own(world, entry), service=entry.service,
            address=entry.local,
        )
    port = called.port(world, entry)
    pod = world.db.ask(workloads.at, entry.upstream.rpartition(":")[0]) if entry.upstream else None
    return told.Party(
        workload=f"{pod.namespace}/{pod.workload}" if pod else "",
        pod=f"{pod.namespace}/{pod.name}" if pod else "",
        identity=entry.server,
        service=entry.service or (f"{port.namespace}/{port.name}" if port else ""),
        address=entry.upstream or ("" if entry.side == "gateway" else entry.local),
    )


def _pod(world: World, uid: str) -> str:
    found = world.db.ask(workloads.by_uid, uid) if uid else None
    return f"{found.namespace}/{found.name}" if found else ""


def _own(world: World, entry: Entry) -> str:
    found = world.db.ask(workloads.by_uid, entry.pod) if entry.pod else None
    return called.identity(world, found) if found else ""


def _route(world: World, entry: Entry) -> Place | None:
    kind, _, rest = entry.route.partition("/")
    parts = rest.split("/")
    if not kind or len(parts) != 3 or not parts[2].isdecimal():
        return None
    return world.place(findings.Ref(kind, parts[0], parts[1]), f"spec.rules[{parts[2]}]")


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


def _plain(step: Step) -> Step:
    return msgspec.structs.replace(step, text=told.plain(step.text, most=told.MOST_OF_STEP))

