"""Machines for the tests of kubelet."""

import asyncio

import kubelet_machine
import pytest

from retic.identity import clock
from retic.testing import clock as clocks


@pytest.fixture
async def machine(tmp_path):
    made = kubelet_machine.Machine(tmp_path, clock.System())
    yield made
    await made.kubelet.close()


@pytest.fixture
async def stopped(tmp_path):
    """A machine whose clock stands, and the clock."""
    time = clocks.Fake()
    made = kubelet_machine.Machine(tmp_path, time)
    yield made, time
    made.fabric_task = asyncio.create_task(made.kubelet.close())
    while not made.fabric_task.done():
        time.advance(1)
        await asyncio.sleep(0.01)
