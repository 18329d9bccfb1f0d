"""The first process of the agent's container: it keeps the agent running, and ends when that was told to end.

An agent that dies is started again; its Envoy, which belongs to this process then, lives on and is adopted. SIGTERM,
SIGINT, SIGHUP and SIGUSR1 are passed on. Ended children are reaped, whoever started them. Needs the standard library
only, so that it stays small.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds between starts of an agent that does not last
STEADY = 30.0  # seconds after which an agent counts as having run
UNUSABLE = 2  # an agent's exit status: its configuration is of no use, and will not be at the next start either
_PR_SET_CHILD_SUBREAPER = 36
_ENDING = (signal.SIGTERM, signal.SIGINT)
_PASSED = (*_ENDING, signal.SIGHUP, signal.SIGUSR1)


class Supervisor:
    """Runs `command` until it is told to end."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._pid = 0
        self._ending = False

    def run(self) -> int:
        """The exit status: the agent's own when it was told to end, or cannot be started at all."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number in _PASSED:
            signal.signal(number, self._pass_on)
        pause = FIRST_PAUSE
        while True:
            started = time.monotonic()
            if not self._start():
                return 0
            status = self._wait()
            if self._ending or status == UNUSABLE:
                return status
            if time.monotonic() - started > STEADY:
                pause = FIRST_PAUSE
            said = f'{{"event": "the agent ended", "status": {status}, "restart_in": {pause}}}'
            print(said, file=sys.stderr, flush=True)
            self._pause(pause)
            if self._ending:
                return 0
            pause = min(LONGEST_PAUSE, pause * 2)

    def _start(self) -> bool:
        """False when it was told to end meanwhile."""
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED)
        try:
            if self._ending:
                return False
            self._pid = os.posix_spawn(
                sys.executable, self._command, os.environ, setsigmask=blocked, setsigdef=_PASSED
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return True

    def _wait(self) -> int:
        """Reap whatever ends, until the agent has."""
        while True:
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                return 1
            if pid == self._pid:
                self._pid = 0
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ending and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                continue

    def _pass_on(self, number: int, _frame: object) -> None:
        if number in _ENDING:
            self._ending = True
        if self._pid:
            with contextlib.suppress(ProcessLookupError):  # it has just been reaped
                os.kill(self._pid, number)


def main() -> int:
    """Run the agent with the arguments given."""
    return Supervisor([sys.executable, "-m", "retic.node", *sys.argv[1:]]).run()


if __name__ == "__main__":
    sys.exit(main())
