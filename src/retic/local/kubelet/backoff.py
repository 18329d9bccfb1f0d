"""How long a container that ended waits until it is started again: kubelet's CrashLoopBackOff.

The first restart is at once, then 10 s, doubling to 5 minutes; ten minutes of life reset it. Reads no
clock: times are seconds of whichever clock the caller has.
"""

import msgspec

FIRST = 10.0
MOST = 300.0
HEALTHY = 600.0


class Backoff(msgspec.Struct, frozen=True):
    """`wait`: seconds until the next start."""

    wait: float = 0.0

    def after(self, lived: float) -> "Backoff":
        """What to wait once a container has ended that lived `lived` seconds: from nothing after a long life."""
        return Backoff() if lived >= HEALTHY else self

    def longer(self) -> "Backoff":
        """What to wait the time after this one."""
        return Backoff(wait=min(self.wait * 2, MOST) if self.wait else FIRST)
