"""A probe over time: its delay, period and thresholds. Reports changes of the verdict, and nothing else.

Until a container has answered well for the first time, it is asked more often than its period says; such
an early try counts only when it succeeds. So a container that listens after 0.3 s is not ready after 10 s.
"""

from collections.abc import Callable

from retic.identity import clock
from retic.local.kubelet import probing
from retic.objects import pods as structs

_EARLY = 0.2  # seconds to the first early try; doubles up to
_EARLIEST = 1.0

Tell = Callable[[bool, str], None]


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


class Prober:
    """One probe of one life of a container. `begin` is the verdict before the first result.

    `answer` is the last try's, also of one that does not count; None before the first.
    """

    def __init__(
        self, target: probing.Target, probe: structs.Probe, *, begin: bool, time: clock.Clock, tell: Tell
    ) -> None:
        """`tell(verdict, message)` at each change, and when failing each time the threshold is met."""
        self._target, self._probe, self._time, self._tell = target, probe, time, tell
        self._verdict = self._last = begin
        self._run = 0
        self._early = not begin
        self._period = max(1, _or(probe.period_seconds, 10))
        self.answer: probing.Answer | None = None

    async def watch(self) -> None:
        """Try for ever; never returns."""
        await self._time.sleep(_or(self._probe.initial_delay_seconds, 0))
        answer = await self._try()
        while True:
            self._count(answer)
            answer = await self._next()

    async def _try(self) -> probing.Answer:
        self.answer = await probing.attempt(self._target, self._probe, max(1, _or(self._probe.timeout_seconds, 1)))
        return self.answer

    async def _next(self) -> probing.Answer:
        left, gap = float(self._period), _EARLY
        while self._early and left > gap:
            await self._time.sleep(gap)
            left -= gap
            gap = min(2 * gap, _EARLIEST)
            answer = await self._try()
            if answer.ok:
                return answer
        await self._time.sleep(left)
        return await self._try()

    def _count(self, answer: probing.Answer) -> None:
        self._run = self._run + 1 if answer.ok == self._last else 1
        self._last = answer.ok
        failures = max(1, _or(self._probe.failure_threshold, 3))
        wanted = max(1, _or(self._probe.success_threshold, 1)) if answer.ok else failures
        if self._run < wanted:
            return
        if answer.ok:
            self._early = False
        if answer.ok != self._verdict or (not answer.ok and self._run % failures == 0):
            self._verdict = answer.ok
            self._tell(answer.ok, answer.message)
