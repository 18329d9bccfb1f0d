"""What the authority has done since it started: certificates signed, requests refused and why."""

import collections

from retic.identity import attest


class Counts:
    """Two counters that only grow. `refused` has every reason, also those that have not happened."""

    def __init__(self) -> None:
        self.signed = 0
        self._refused: collections.Counter[attest.Reason] = collections.Counter()

    def __repr__(self) -> str:
        return f"<Counts: {self.signed} signed, {self._refused.total()} refused>"

    @property
    def refused(self) -> dict[attest.Reason, int]:
        """How many were refused, by reason."""
        return {reason: self._refused[reason] for reason in attest.Reason}

    def refuse(self, reason: attest.Reason) -> None:
        """One more."""
        self._refused[reason] += 1
