"""A candidate for a lease, as a process that a test can kill or freeze.

`candidate.py KUBECONFIG NAME [DURATION DEADLINE RETRY]`, all three in seconds.

Says on a line of its own when it leads and when it does not; between, all the time, which spans of CLOCK_BOOTTIME
it was a leader in by its own clock.
"""

import asyncio
import contextlib
import json
import pathlib
import signal
import sys
import time

from retic.kube import lease
from retic.sources import api

TIMES = lease.Times(duration=8, deadline=6.0, retry=0.3)


def say(**what):
    print(json.dumps(what), flush=True)


async def watch(candidate):
    """Report spans in which the lease was surely held: from one look to the next one, both true, less than 50 ms."""
    last = None
    while True:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        held = candidate.is_held
        if held:
            say(at=now)
        if last is not held:
            say(held=held)
            last = held
        await asyncio.sleep(0.02)


async def main():
    config, name, *given = sys.argv[1:]
    times = lease.Times(int(given[0]), *map(float, given[1:])) if given else TIMES
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    async with await api.connect(pathlib.Path(config)) as server:
        candidate = lease.Lease(server, "default", "test", holder=name, times=times)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(candidate))
            tasks.create_task(candidate.run(asyncio.Event().wait))


with contextlib.suppress(asyncio.CancelledError):
    asyncio.run(main())
