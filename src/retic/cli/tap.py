"""`retic tap`: single requests as they pass."""

import asyncio
import contextlib
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from retic.cli import cluster, failure, far, ps_cluster, running, target, which
from retic.control import client, model
from retic.telemetry import calls, redaction, words

MOST, LONGEST = 1_000_000, 86_400.0
_KINDS = {"deploy", "deployment", "deployments", "sts", "statefulset", "statefulsets", "ds", "daemonset", "daemonsets",
          "job", "jobs"}  # fmt: skip
_OTHERS = {"pod": "pod", "pods": "pod", "po": "pod", "gateway": "gateway", "gateways": "gateway", "gtw": "gateway",
           "svc": "service", "service": "service", "services": "service"}  # fmt: skip
_PATIENCE = 10.0  # seconds for a control plane that restarts


class Asked(msgspec.Struct, frozen=True):
    """The command line: `most` calls in `seconds` seconds at most."""

    source: str | None
    destination: str | None
    namespace: str | None
    wanted: calls.Wanted
    shown: calls.Shown
    most: int
    seconds: float


def run(options: which.Options, asked: Asked, *, as_json: bool) -> None:
    """Print calls until there are enough, the time is over, or Ctrl-C. Raises Failure."""
    _check(asked)
    where = which.mesh(options)
    told = _Told(as_json=as_json)
    interrupted = False
    try:
        if isinstance(where, cluster.Target):
            _far(where, asked, told)
        else:
            _follow(where, _request(asked, _Local(where)), asked, told)
    except KeyboardInterrupt:
        interrupted = True
    told.end(asked, interrupted=interrupted)


class _There(Protocol):
    """The pods that there are."""

    def has_pod(self, namespace: str, name: str) -> bool:
        """Whether there is one of that name."""
        ...

    def check(self, text: str, namespace: str) -> None:
        """Failure, with what there is instead, for a workload (deploy/NAME) without pods."""
        ...


class _Local:
    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def has_pod(self, namespace: str, name: str) -> bool:
        objects = running.objects(self._folder)
        there = {(one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects if one["kind"] == "Pod"}
        return (namespace, name) in there

    def check(self, text: str, namespace: str) -> None:
        target.pod(running.objects(self._folder), text, namespace)


class _OnCluster:
    def __init__(self, mesh: far.Far) -> None:
        self._mesh = mesh

    def has_pod(self, namespace: str, name: str) -> bool:
        return self._mesh.traffic.has_pod(namespace, name)

    def check(self, text: str, namespace: str) -> None:
        """Ends of calls are looked up as a whole later."""


def _request(asked: Asked, there: _There) -> model.AskTap:
    namespace = asked.namespace or "default"
    ends = [_end(each, namespace, there) if each else None for each in (asked.source, asked.destination)]
    if asked.source and ends[0] is not None and ends[0].kind == "service":
        raise failure.Failure("--from names who calls, and a Service calls nobody: write deploy/ or pod/NAME", code=2)
    return model.AskTap(
        source=ends[0], destination=ends[1], namespace="" if any(ends) else asked.namespace or "",
        wanted=asked.wanted, shown=asked.shown,
    )  # fmt: skip


def _check(asked: Asked) -> None:
    if not 1 <= asked.most <= MOST:
        raise failure.Failure(f"--max is from 1 to {MOST}, not {asked.most}", code=2)
    if not 0 < asked.seconds <= LONGEST:
        raise failure.Failure(f"--for is up to {LONGEST:g} seconds, not {asked.seconds:g}", code=2)
    if asked.wanted.protocol and asked.wanted.protocol not in calls.protocols():
        raise failure.Failure(f"--protocol is one of {', '.join(calls.protocols())}", code=2)
    for each in asked.wanted.statuses:
        if not (len(each) == 3 and each[0] in "12345" and (each[1:].isdecimal() or each[1:] == "xx")):
            raise failure.Failure(f"--status {plain(each)}: write a code like 404, or a class like 5xx", code=2)
    names = (*asked.wanted.headers, *asked.shown.headers)
    for name in names:
        if reason := redaction.unreported(name, asked.shown.secret):
            raise failure.Failure(reason, code=2)
    if len(set(names)) > words.MOST_HEADERS:
        raise failure.Failure(f"up to {words.MOST_HEADERS} headers can be looked at, not {len(set(names))}", code=2)


def _end(text: str, namespace: str, there: _There) -> model.End:
    """An end by its words; a bare name is a pod's, if there is one of that name, else a workload's."""
    word, slash, name = text.partition("/")
    if not slash:
        return model.End("pod" if there.has_pod(namespace, text) else "workload", namespace, text)
    kind = word.lower()
    if not name or (kind not in _KINDS and kind not in _OTHERS):
        raise failure.Failure(
            f"{plain(text)} is no end of a call: write deploy/, sts/, ds/, job/, pod/, svc/ or gateway/ with a NAME",
            code=2,
        )
    if kind in _KINDS:
        there.check(text, namespace)
        return model.End("workload", namespace, name)
    return model.End(_OTHERS[kind], namespace, name)


def _follow(where: Any, request: model.AskTap, asked: Asked, told: "_Told") -> None:
    """Until it is enough; a control plane that restarts is asked again."""
    end = time.monotonic() + asked.seconds
    away = 0.0
    while (left := end - time.monotonic()) > 0:
        try:
            for value in _values(where, request, left):
                away = 0.0
                told.take(value)
                if told.shown >= asked.most:
                    return
        except client.Refused as error:
            raise failure.Failure(str(error)) from error
        except TimeoutError:
            return
        except client.Away:
            pass
        away = away or time.monotonic()
        if time.monotonic() - away > _PATIENCE:
            raise failure.Failure(f"the control plane does not answer: see {where / 'logs' / 'control.log'}")
        time.sleep(0.1)


def _values(where: Any, request: model.AskTap, seconds: float) -> Iterator[model.Tapped]:
    with contextlib.closing(client.follow(where / running.CONTROL, request, seconds=seconds)) as answers:
        for value in answers:
            yield msgspec.convert(value, model.Tapped)


def _far(where: cluster.Target, asked: Asked, told: "_Told") -> None:
    """Until it is enough, on a cluster."""

    async def work(mesh: far.Far) -> None:
        request = _request(asked, _OnCluster(mesh))
        ps_cluster.notes(mesh.unseen)
        following = asyncio.create_task(mesh.traffic.follow(mesh.api), name="objects")
        try:
            async with (
                asyncio.timeout(asked.seconds),
                contextlib.aclosing(mesh.traffic.taps(mesh.agents, mesh.news).tap(request)) as tapped,
            ):
                async for value in tapped:
                    mesh.heard()
                    for reason in mesh.traffic.unfollowed:
                        mesh.unasked.once(f"what changes is not seen: {reason}")
                    told.take(value)
                    if told.shown >= asked.most:
                        return
        except TimeoutError:
            return
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    far.run(where, asked.namespace or "", work)


class _Told:
    """What was printed, and what was not."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._said: int | None = None
        self.shown = 0
        self.missed = 0

    def take(self, value: model.Tapped) -> None:
        """One answer of the control plane."""
        if value.pods is not None and value.pods != self._said:
            self._said = value.pods
            _say(f"looking at {value.pods} proxied pods and gateways")
        self.missed += value.missed
        if value.missed:
            _say(f"{value.missed} requests were not shown: they came too fast")
        if value.call is not None:
            self.shown += 1
            print(_json(value.call) if self._as_json else line(value.call), flush=True)

    def end(self, asked: Asked, *, interrupted: bool) -> None:
        """Say how it ended."""
        if self.shown >= asked.most:
            _say(f"stopped after {self.shown} requests (--max)")
        elif not self.shown:
            hint = "make some, or ask for fewer conditions" if _narrow(asked) else "make some meanwhile"
            _say(f"no request passed{' yet' if interrupted else f' within {asked.seconds:g} s (--for)'}: {hint}")
        elif not interrupted:
            _say(f"stopped after {asked.seconds:g} s (--for): {self.shown} requests")


def _narrow(asked: Asked) -> bool:
    return bool(asked.source or asked.destination) or asked.wanted != calls.Wanted()


def _json(call: calls.Call) -> str:
    # As ASCII: a path may hold what steers a terminal, in one letter beyond it (U+009B) or turned around (U+202E).
    return json.dumps(msgspec.to_builtins(call), separators=(", ", ": "))


def line(call: calls.Call) -> str:
    """A call as one line; every letter of it can be printed."""
    ends = f"{call.source or call.remote} -> {call.destination or call.service or call.upstream or '?'}"
    parts = [call.time[11:23], ends]
    if call.method:
        parts += [call.protocol, call.method, f"{call.authority}{call.path}", str(call.code) if call.code else "-"]
        sizes = f"{call.received} B in, {call.sent} B out"
    else:
        parts += [call.protocol, call.service]
        sizes = f"{call.received} B sent, {call.sent} B received"
    parts += [f"{call.ms:.1f} ms", sizes, "mTLS" if call.caller or call.server else "plain"]
    if call.flags or (call.details and call.details != "via_upstream"):
        parts.append(" ".join((",".join(call.flags), call.details)).strip())
    for mark, headers in (("", call.request_headers), ("<", call.response_headers)):
        parts += [f"{mark}{name}={value!r}" for name, value in sorted(headers.items())]
    return plain("  ".join(part for part in parts if part))


def plain(text: str) -> str:
    """The text with everything that no terminal should be sent written as an escape."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def header(text: str) -> tuple[str, str]:
    """`name: value` as both; Failure without a colon."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise failure.Failure(f"--header {plain(text)}: write 'NAME: VALUE'; a * in VALUE is for any letters", code=2)
    return name.strip().lower(), value.strip()


def lower(names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of headers as they are compared."""
    return tuple(name.strip().lower() for name in names or ())
