"""Tells of requests what the control plane wants told (`told`): writes access logs, and has spans sent.

Traced requests are reported by themselves. Pods of whom nothing is logged are not switched on. What comes faster than
can be looked at is not logged; how many these were is a line of the log.
"""

import contextlib
import time

import structlog

from retic.node import access_log, exporting, switches, told
from retic.telemetry import access, conditions, entries, intake, spans

_SECONDS = 1.0  # between two lines that say how many are missing
_NOTHING = told.Pod()
_log = structlog.get_logger("retic.node")


class Telling:
    """`take` is given each state of `told`; `run` goes on until cancelled."""

    def __init__(self, taken: intake.Intake, switch: switches.Switches, log: access_log.AccessLog) -> None:
        self._taken = taken
        self._switch = switch
        self._log = log
        self.exporting = exporting.Exporting()
        self._told = told.Told()
        self._on = contextlib.ExitStack()
        self._failed = ""

    async def take(self, message: bytes | None) -> None:
        """What is told from now on. told.MalformedError."""
        said = told.decode(message)
        self._told = said
        self.exporting.set(said.collectors)
        before, self._on = self._on, contextlib.ExitStack()
        self._on.enter_context(self._switch.on([uid for uid, pod in said.pods.items() if _logs(pod)]))
        before.close()
        await self._switch.settled()

    async def run(self) -> None:
        """Write what comes, for ever."""
        subscription = self._taken.subscribe(self._wanted)
        said, last = 0, 0.0
        try:
            async for entry in subscription:
                side = self._side(entry)
                if side.log is not None and conditions.compiled(side.log)(entry):
                    self._write(access.line(entry))
                if side.traced is not None and side.traced.reported and entry.trace:
                    self.exporting.add(side.traced.collector, spans.Traced(entry, _tags(side.traced, entry)))
                if not self._logs:
                    said = subscription.dropped
                if subscription.dropped != said and time.monotonic() - last > _SECONDS:
                    missing, said, last = subscription.dropped - said, subscription.dropped, time.monotonic()
                    self._write(access.missed(missing, time.time()))
        finally:
            subscription.close()

    def close(self) -> None:
        """Tell of nothing any more."""
        self._on.close()
        self._log.close()

    @property
    def _logs(self) -> bool:
        return any(map(_logs, self._told.pods.values()))

    def _side(self, entry: entries.Entry) -> told.Side:
        pod = self._told.pods.get(entry.pod, _NOTHING)
        return pod.client if entry.source else pod.server

    def _wanted(self, entry: entries.Entry) -> bool:
        side = self._side(entry)
        return side.log is not None or bool(entry.trace and side.traced)

    def _write(self, line: bytes) -> None:
        try:
            self._log.write(line)
            self._failed = ""
        except OSError as error:
            if str(error) != self._failed:
                _log.warning("the access log cannot be written", reason=str(error))
            self._failed = str(error)


def _tags(traced: told.Traced, entry: entries.Entry) -> dict[str, str]:
    found = {tag.name: entry.request_headers.get(tag.header) or tag.value for tag in traced.tags}
    return {name: value for name, value in found.items() if value}


def _logs(pod: told.Pod) -> bool:
    return pod.client.log is not None or pod.server.log is not None
