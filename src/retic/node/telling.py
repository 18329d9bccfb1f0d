"""Tells of requests what the control plane wants told (`told`): writes access logs.

Pods of whom nothing is logged are not switched on. What comes faster than can be looked at is not logged; how many
these were is a line of the log.
"""

import contextlib
import time
from collections.abc import Callable

import structlog

from retic.node import access_log, switches, told
from retic.telemetry import access, conditions, entries, intake

_SECONDS = 1.0  # between two lines that say how many are missing
_log = structlog.get_logger("retic.node")


class Telling:
    """`take` is given each state of `told`; `run` goes on until cancelled."""

    def __init__(self, taken: intake.Intake, switch: switches.Switches, log: access_log.AccessLog) -> None:
        self._taken = taken
        self._switch = switch
        self._log = log
        self._told = told.Told()
        self._on = contextlib.ExitStack()
        self._failed = ""

    async def take(self, message: bytes | None) -> None:
        """What is told from now on. told.MalformedError."""
        said = told.decode(message)
        self._told = said
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
                self._write(lambda entry=entry: access.line(entry))  # type: ignore[misc]
                if subscription.dropped != said and time.monotonic() - last > _SECONDS:
                    missing, said, last = subscription.dropped - said, subscription.dropped, time.monotonic()
                    self._write(lambda missing=missing: access.missed(missing, time.time()))  # type: ignore[misc]
        finally:
            subscription.close()

    def close(self) -> None:
        """Tell of nothing any more."""
        self._on.close()
        self._log.close()

    def _wanted(self, entry: entries.Entry) -> bool:
        pod = self._told.pods.get(entry.pod)
        if pod is None:
            return False
        log = (pod.client if entry.source else pod.server).log
        return log is not None and conditions.compiled(log)(entry)

    def _write(self, line: Callable[[], bytes]) -> None:
        try:
            self._log.write(line())
            self._failed = ""
        except OSError as error:
            if str(error) != self._failed:
                _log.warning("the access log cannot be written", reason=str(error))
            self._failed = str(error)


def _logs(pod: told.Pod) -> bool:
    return pod.client.log is not None or pod.server.log is not None
