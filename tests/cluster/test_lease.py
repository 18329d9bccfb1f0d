"""Two candidates in processes of their own, at a real API server; the leader is killed, frozen, stopped."""

import asyncio
import contextlib
import json
import pathlib
import signal
import sys

import pytest

from retic.sources import api
from retic.testing import wait

SCRIPT = pathlib.Path(__file__).with_name("candidate.py")
PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases/test"


class Candidate:
    """One process, and what it said."""

    def __init__(self, name, process):
        self.name, self.process = name, process
        self.held, self.moments = False, []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name, config, times):
        command = (sys.executable, str(SCRIPT), str(config), name, *map(str, times))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        return cls(name, process)

    async def _read(self):
        async for line in self.process.stdout:
            said = json.loads(line) if line.startswith(b"{") else {}
            self.held = said.get("held", self.held)
            if "at" in said:
                self.moments.append(said["at"])

    def signal(self, number):
        self.process.send_signal(number)

    async def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading


@pytest.fixture
async def pair(apiserver, request):
    """Two candidates, the first of which leads; a test may give their times."""
    times = getattr(request, "param", ())
    async with await api.connect(apiserver) as server:
        await server.delete(PATH)
        first = await Candidate.start("first", apiserver, times)
        await leads(first)
        second = await Candidate.start("second", apiserver, times)
        yield first, second, server
        for each in (first, second):
            await each.end()


async def leads(candidate):
    await wait.until_async(lambda: candidate.held, f"{candidate.name} leads", 60)


def never_two(first, second):
    """Moments of the two do not mix: every time one leads, the other has stopped before."""
    both = sorted([(at, "first") for at in first.moments] + [(at, "second") for at in second.moments])
    changes = [who for (_, who), (_, last) in zip(both[1:], both, strict=False) if who != last]
    assert len(changes) <= 1, changes
    return both


async def test_when_the_leader_is_killed_the_other_takes_over_after_the_duration(pair):
    first, second, server = pair
    first.signal(signal.SIGKILL)
    await leads(second)
    both = never_two(first, second)
    assert second.moments[0] - first.moments[-1] > 0.5, both[-1]
    spec = (await server.get(PATH))["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 1)


async def test_a_leader_that_was_frozen_knows_that_it_leads_no_more(pair):
    first, second, server = pair
    first.signal(signal.SIGSTOP)
    await leads(second)
    first.signal(signal.SIGCONT)
    await wait.until_async(lambda: not first.held, "the first has noticed")
    held = len(second.moments)
    await wait.until_async(lambda: len(second.moments) > held + 20, "the second goes on")
    never_two(first, second)
    assert (await server.get(PATH))["spec"]["holderIdentity"] == "second"


@pytest.mark.parametrize("pair", [(180, 120, 5)], indirect=True)
async def test_a_leader_that_ends_leaves_the_lease_to_the_other(pair):
    """The other leads long before the lease would have ended by itself."""
    first, second, _ = pair
    first.signal(signal.SIGTERM)
    await leads(second)
    never_two(first, second)
