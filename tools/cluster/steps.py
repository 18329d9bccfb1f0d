"""The parts of a long job, each printed with its duration, all within one budget.

`with steps.part("etcd"):` prints the part when it ends. A part that runs past the budget fails, and says its name.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

BUDGET = 40 * 60.0
"""Seconds for everything from nothing, unless RETIC_CLUSTER_BUDGET says otherwise."""


class OverBudgetError(Exception):
    """The budget was used up; the message names the part that was running."""


class FailedError(Exception):
    """A part could not be had; the message says which, why, and what it printed last."""


class Steps:
    """Runs parts one after another; `clock` counts from the start of the first."""

    def __init__(self, budget: float | None = None) -> None:
        self.budget = float(os.environ.get("RETIC_CLUSTER_BUDGET") or BUDGET) if budget is None else budget
        self._begin = time.monotonic()
        self._part = ""

    @property
    def elapsed(self) -> float:
        """Seconds since the first part began."""
        return time.monotonic() - self._begin

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Print `name` and how long the block took. Raises OverBudgetError where it ended too late."""
        begin, outer = time.monotonic(), self._part
        self._part = name
        try:
            yield
            self.remaining()
        finally:
            self._part = outer
        print(f"cluster: {name}  {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)

    def remaining(self) -> float:
        """Seconds left, for a wait's own limit. Raises OverBudgetError when there are none."""
        left = self.budget - self.elapsed
        if left <= 0:
            raise OverBudgetError(f"{self._part}: the budget of {self.budget:.0f} s is used up")
        return left

    def command(
        self, *words: str | pathlib.Path, env: Mapping[str, str] | None = None, cwd: pathlib.Path | None = None
    ) -> str:
        """Run to the end, within the budget; what it wrote to stdout. Raises FailedError with its last lines."""
        try:
            done = subprocess.run(
                [str(word) for word in words], env=None if env is None else {**os.environ, **env}, cwd=cwd,
                capture_output=True, text=True, check=False, timeout=self.remaining(), stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise OverBudgetError(f"{self._part}: the budget of {self.budget:.0f} s is used up") from None
        except FileNotFoundError as missing:
            raise FailedError(f"{self._part}: {missing.filename} is not installed") from None
        if done.returncode != 0:
            raise FailedError(f"{self._part}: {shown(words)} ended with {done.returncode}\n{_last(done.stderr)}")
        return done.stdout


def shown(words: Sequence[object]) -> str:
    """A command for a message: its first words."""
    return " ".join(str(word) for word in words[:6]) + (" ..." if len(words) > 6 else "")


def _last(text: str, lines: int = 20) -> str:
    return "\n".join(text.splitlines()[-lines:])
