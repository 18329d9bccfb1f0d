"""`retic explain response`: why a request failed, or a list of the newest that did."""

import pathlib
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from retic.cli import cluster, failure, far, ps_cluster, running, show, which
from retic.control import model
from retic.explain.request.answer import Step
from retic.explain.response import told

if TYPE_CHECKING:
    from retic.answers import responses

Answer = TypeVar("Answer")


class Choice(msgspec.Struct, frozen=True):
    """Which of them are listed; "" for all."""

    last: int
    source: str
    namespace: str


def one(options: which.Options, wanted: str, *, as_json: bool) -> None:
    """Print what is known of an answer. Raises Failure with code 2 when nothing is."""
    where = which.mesh(options)
    if isinstance(where, cluster.Target):
        found = _far(where, "", lambda mesh, asked: asked.find(wanted))
    else:
        found = msgspec.convert(_local(where, model.AskResponse(wanted)), told.Told)
    if as_json:
        show.json(found)
        return
    for number, seen in enumerate(found.seen):
        if number:
            print(f"\nand the other proxy of the same request, id {seen.id}:", flush=True)
        _print(seen)


def newest(options: which.Options, choice: Choice, *, as_json: bool) -> None:
    """Print a list. Raises Failure with code 2 for a caller who is not there."""
    where = which.mesh(options)
    request = model.AskFailed(choice.last, choice.source, choice.namespace)
    if isinstance(where, cluster.Target):
        listed = _far(where, choice.namespace, lambda mesh, asked: asked.failed(_of(mesh, request)))
    else:
        listed = msgspec.convert(_local(where, request), told.Listed)
    if as_json:
        show.json(listed)
        return
    if not listed.seen:
        print("nothing has failed", file=sys.stderr, flush=True)
    columns = ("time", "code", "what", "status", "from", "to", "request", "proxy", "id")
    show.table("", columns, [_row(seen) for seen in listed.seen])
    for proxy in () if isinstance(where, cluster.Target) else listed.unanswered:
        print(f"retic: the agent of {proxy} did not answer", file=sys.stderr, flush=True)


def _local(path: pathlib.Path, request: model.Request) -> object:
    try:
        return running.ask(path, request)
    except failure.Failure as error:
        raise failure.Failure(str(error), code=2) from error


def _far(
    target: cluster.Target, namespace: str,
    ask: "Callable[[far.Far, responses.Responses], Awaitable[Answer]]",
) -> Answer:  # fmt: skip
    """What agents on a cluster know. Raises Failure with code 2."""
    from retic.answers import responses
    from retic.explain.request import answer

    async def work(mesh: far.Far) -> Answer:
        try:
            found = await ask(mesh, mesh.traffic.responses(mesh.agents))
        except (responses.Unknown, answer.Unclear) as error:
            mesh.heard()
            ps_cluster.notes(mesh.unseen)
            raise failure.Failure(str(error)) from error
        mesh.heard()
        ps_cluster.notes(mesh.unseen)
        return found

    try:
        return far.run(target, namespace, work)
    except failure.Failure as error:
        raise failure.Failure(str(error), code=2) from error


def _of(mesh: far.Far, asked: model.AskFailed) -> model.AskFailed:
    """The same, of the one namespace that may be looked at, where it is only one."""
    mesh.traffic.check_namespace(asked.namespace)
    return msgspec.structs.replace(asked, namespace=asked.namespace or mesh.traffic.only)


def _row(seen: told.Seen) -> tuple[object, ...]:
    asked = " ".join(filter(None, (seen.method, seen.path))) or seen.protocol
    target = seen.called.service or seen.called.workload or seen.called.address or seen.host
    caller = seen.caller.workload or seen.caller.address
    return seen.time, seen.code, seen.title, seen.status, caller, target, asked, seen.proxy, seen.id


def _print(seen: told.Seen) -> None:
    asked = " ".join(filter(None, (seen.method, seen.host, seen.path))) or "a connection"
    took = f"{seen.ms:.0f} ms" if seen.ms >= 1 else f"{seen.ms:.3f} ms"
    status = f", status {seen.status}" if seen.status else ""
    flags = ", ".join(filter(None, (",".join(seen.flags), seen.details)))
    rows = [
        Step("code", f"{seen.code}: {seen.title}{status}"),
        Step("when", f"{seen.time}, after {took}"),
        Step("request", f"{asked} ({seen.protocol})"),
        Step("from", _party(seen.caller)),
        Step("to", _party(seen.called)),
        Step("proxy", f"{seen.proxy}, {_SIDES.get(seen.side, seen.side)}{f'; Envoy says {flags}' if flags else ''}"),
        *seen.steps,
        Step("change", seen.change),
        Step("more", f"retic explain code {seen.code}"),
    ]
    width = max(len(row.what) for row in rows)
    for row in rows:
        place = f"{show.near(row.file)}:{row.line}" if row.file else ""
        named = row.object if row.object not in row.text else ""
        behind = ", ".join(filter(None, (named, place)))
        print(f"{row.what:{width}}  {row.text}{f'  ({behind})' if behind else ''}", flush=True)


_SIDES = {
    "outbound": "on the caller's side", "gateway": "a gateway", "inbound": "before the application",
    "plaintext": "before the application, without the mesh's TLS",
}  # fmt: skip


def _party(who: told.Party) -> str:
    service = f"Service {who.service}" if who.service else ""
    pod = f"Pod {who.pod}" if who.pod else f"of {who.workload}" if who.workload else ""
    return ", ".join(filter(None, (service, pod, who.identity, who.address))) or "nobody: it was sent nowhere"
