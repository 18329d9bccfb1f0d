"""The foreground of `retic up`: what happens is printed as it happens, until Ctrl-C or the mesh's end."""

import contextlib
import os
import pathlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from retic import findings
from retic.cli import failure, ps, running, show, up
from retic.control import client, model

if TYPE_CHECKING:
    from retic.local import outer

_DERIVED = frozenset({"Pod", "EndpointSlice", "ReplicaSet", "Node"})  # made by controllers, not by edits


def run(
    mesh: "outer.Mesh", path: pathlib.Path, timeout: float, *, shown: Sequence[findings.Finding]
) -> None:
    """Print until the mesh ends. Ctrl-C (or SIGTERM) ends it; a second one at once. Raises Failure."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts its background jobs deaf to SIGINT
        signal.signal(number, signal.default_int_handler)
    for what in (_ready, _follow_findings, _follow_edits):
        arguments = (path, timeout, shown)
        threading.Thread(target=_quietly, args=(what, *arguments), daemon=True).start()
    try:
        code = mesh.wait()
    except KeyboardInterrupt:
        _end(mesh)
        return
    if code != 0:
        raise failure.Failure(up.ended(path))
    print("the mesh was ended from elsewhere", flush=True)


def _end(mesh: "outer.Mesh") -> None:
    print("\nending ...", flush=True)
    for _ in range(3):
        mesh.stop()
        try:
            mesh.wait()
            break
        except KeyboardInterrupt:
            print("at once", flush=True)


def _quietly(what: Any, *arguments: Any) -> None:
    """A follower ends with the mesh; what goes wrong then is no news."""
    with contextlib.suppress(client.Away, client.Refused, failure.Failure, OSError, TimeoutError):
        what(*arguments)


def _ready(path: pathlib.Path, timeout: float, _shown: Sequence[findings.Finding]) -> None:
    begun = time.monotonic()
    reasons = list(up.waiting(path, begun + timeout))
    if reasons:
        for reason in dict.fromkeys(reasons):
            up.say(f"not ready: {reason}")
    state = msgspec.convert(running.ask(path, model.AskPs()), model.Ps)
    ps.addresses(state)
    seconds = time.monotonic() - begun
    up.say(f"{ps.count(state.pods)} after {seconds:.1f} s; edits of the files are live. Ctrl-C ends the mesh")


def _follow_findings(path: pathlib.Path, _timeout: float, shown: Sequence[findings.Finding]) -> None:
    before = {_identity(one): one for one in shown}
    while (path / "outer.json").exists():
        with contextlib.suppress(client.Away, client.Refused):
            for raw in client.follow(path / running.CONTROL, model.AskFollow()):
                now = {_identity(one): one for one in msgspec.convert(raw, list[findings.Finding])}
                for identity in now.keys() - before.keys():
                    up.say(show.finding(now[identity]))
                for identity in before.keys() - now.keys():
                    up.say(f"no longer: {show.finding(before[identity])}")
                before = now
        time.sleep(0.2)  # not there yet, or it went away and is being restarted


def _identity(one: findings.Finding) -> tuple[str, int, str, str, str]:
    """The same finding, whether the file's path was written in full or not."""
    return (os.path.abspath(one.file) if one.file else "", one.line, one.code, one.object, one.message)


def _follow_edits(path: pathlib.Path, _timeout: float, _shown: Sequence[findings.Finding]) -> None:
    """Name each object that an edit makes, changes or removes, once the first state is complete."""
    known: dict[tuple[str, str, str], object] = {}
    synced = False
    for event in _events(path):
        if event["type"] == "SYNCED":
            synced = True
        if event["type"] not in {"ADDED", "MODIFIED", "DELETED"} or event["object"]["kind"] in _DERIVED:
            continue
        thing, place = event["object"], event.get("position")
        meta = thing["metadata"]
        key = (thing["kind"], meta.get("namespace", ""), meta["name"])
        bare = {field: value for field, value in thing.items() if field not in {"metadata", "status"}}
        same = known.get(key) == (bare, meta.get("labels"), meta.get("annotations"))
        known[key] = (bare, meta.get("labels"), meta.get("annotations"))
        if event["type"] == "DELETED":
            del known[key]
        elif same:
            continue
        if synced and place:
            verb = {"ADDED": "added", "MODIFIED": "changed", "DELETED": "removed"}[event["type"]]
            up.say(f"{findings.Ref(*key)} {verb} ({show.near(place['file'])}:{place['line']})")


def _events(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    def first() -> tuple[Iterator[bytes], bytes]:
        lines = client.lines(path / running.CLUSTER, {"watch": True}, seconds=None)
        return lines, next(lines, b"")

    rest, line = running.patiently(first, seconds=60.0)
    while line:
        yield msgspec.json.decode(line)
        line = next(rest, b"")
