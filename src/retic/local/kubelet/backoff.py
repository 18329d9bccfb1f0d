"""How long a container that ended waits until it is started again: kubelet's CrashLoopBackOff.

The first restart is at once, then 10 s, doubling to 5 minutes; ten minutes of life reset it. Reads no
clock: times are seconds of whichever clock the caller has.
"""

import msgspec

FIRST = 10.0
MOST = 300.0
HEALTHY = 600.0


class Backoff(msgspec.Struct, frozen=True):
    """The wait before the next start, in seconds."""

    wait: float = 0.0

    def after(self, lived: float) -> "Backoff":
        """The wait that follows a start after which the container lived `lived` seconds."""
        if lived >= HEALTHY:
            return Backoff(wait=0.0)
        return Backoff(wait=min(self.wait * 2, MOST) if self.wait else FIRST)
