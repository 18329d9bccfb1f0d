"""Two candidates for one lease, on a clock that a test moves, at a server that can be away."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retic.kube import lease
from retic.testing import clock, kept_objects

TIMES = lease.Times(duration=15, deadline=10.0, retry=2.0)
PATH = "/apis/coordination.k8s.io/v1/namespaces/retic-system/leases/retic-controller"


class Candidate:
    """A lease and what its `lead` does."""

    def __init__(self, objects, name, time):
        self.view = kept_objects.View(objects)
        self.lease = lease.Lease(self.view, "retic-system", "retic-controller", holder=name, times=TIMES, clock=time)
        self.leads, self.began = False, 0
        self.task = None

    async def lead(self):
        self.leads, self.began = True, self.began + 1
        try:
            await asyncio.Event().wait()
        finally:
            self.leads = False

    def start(self):
        self.task = asyncio.create_task(self.lease.run(self.lead))

    async def stop(self):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


class World:
    """Two candidates, one server, one clock."""

    def __init__(self):
        self.objects, self.time = kept_objects.Objects(), clock.Fake()
        self.one, self.two = (Candidate(self.objects, name, self.time) for name in ("one", "two"))

    @property
    def spec(self):
        return self.objects.kept[PATH]["spec"]

    async def pass_(self, seconds):
        """Time passes in small steps, in which everybody does what is due."""
        steps = int(seconds * 4)
        for _ in range(steps):
            self.time.advance(0.25)
            await self.settle()
            assert not (self.one.lease.is_held and self.two.lease.is_held)

    async def settle(self):
        for _ in range(30):
            await asyncio.sleep(0)


@pytest.fixture
async def world():
    async with living() as made:
        yield made


@contextlib.asynccontextmanager
async def living():
    made = World()
    try:
        yield made
    finally:
        for each in (made.one, made.two):
            if each.task is not None:
                await each.stop()


async def test_one_leads_and_renews_and_the_other_waits(world):
    world.one.start()
    await world.settle()
    world.two.start()
    await world.pass_(60)
    assert (world.one.leads, world.two.leads, world.one.began) == (True, False, 1)
    assert world.spec["holderIdentity"] == "one"
    assert world.spec["leaseDurationSeconds"] == 15
    assert world.spec["acquireTime"] < world.spec["renewTime"]


async def test_who_stops_leaves_it_to_the_other_at_once(world):
    world.one.start()
    await world.settle()
    world.two.start()
    await world.pass_(5)
    await world.one.stop()
    assert not world.one.lease.is_held
    assert world.spec["holderIdentity"] == ""
    await world.pass_(3)
    assert world.two.leads
    assert world.spec["leaseTransitions"] == 1


async def test_who_cannot_renew_stops_before_the_other_begins(world):
    world.one.start()
    await world.settle()
    world.two.start()
    await world.pass_(5)
    world.one.view.is_away = True
    await world.pass_(10)
    assert not world.one.leads
    assert not world.two.leads
    await world.pass_(10)
    assert world.two.leads
    world.one.view.is_away = False
    await world.pass_(30)
    assert (world.one.leads, world.two.leads) == (False, True)


async def test_a_new_candidate_waits_for_the_whole_duration_whatever_the_times_in_the_lease_say(world):
    world.one.start()
    await world.settle()
    world.one.view.is_away = True
    world.objects.kept[PATH]["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    world.two.start()
    await world.pass_(14)
    assert not world.two.leads
    await world.pass_(4)
    assert world.two.leads


async def test_a_holder_whose_lease_was_taken_stops_at_once(world):
    world.one.start()
    await world.pass_(5)
    world.spec["holderIdentity"] = "somebody"
    await world.pass_(3)
    assert not world.one.leads
    assert not world.one.lease.is_held


async def test_a_short_absence_of_the_server_changes_nothing(world):
    world.one.start()
    await world.settle()
    world.two.start()
    for _ in range(5):
        world.one.view.is_away = world.two.view.is_away = True
        await world.pass_(4)  # with a pause before and one after, of 2.4 s each, less than the deadline of 10 s
        world.one.view.is_away = world.two.view.is_away = False
        await world.pass_(4)
    assert (world.one.leads, world.one.began, world.two.leads) == (True, 1, False)


async def test_after_a_long_absence_of_the_server_one_leads_again(world):
    world.one.start()
    world.two.start()
    await world.pass_(5)
    world.one.view.is_away = world.two.view.is_away = True
    await world.pass_(60)
    assert not world.one.leads
    assert not world.two.leads
    world.one.view.is_away = world.two.view.is_away = False
    await world.pass_(20)
    assert world.one.leads != world.two.leads


async def test_a_fault_of_the_work_is_not_hidden_and_releases_the_lease(world):
    async def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await world.one.lease.run(fails)
    assert world.spec["holderIdentity"] == ""


class Slow(kept_objects.View):
    """Answers later than a candidate tries again."""

    async def get(self, path):
        await asyncio.sleep(0.5)
        return await super().get(path)


async def test_a_server_that_answers_slowly_still_hears_of_the_release():
    times = lease.Times(duration=60, deadline=40.0, retry=0.1)
    held = lease.Lease(Slow(objects := kept_objects.Objects()), "retic-system", "retic-controller", times=times)

    async def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await held.run(fails)
    assert objects.kept[PATH]["spec"]["holderIdentity"] == ""


async def test_a_lease_that_makes_no_sense_is_not_taken(world):
    world.objects.kept[PATH] = {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": 3}}
    world.one.start()
    await world.pass_(5)
    assert not world.one.leads


def test_times_that_could_make_two_leaders_are_refused():
    for wrong in ({"deadline": 15.0}, {"deadline": 2.0}, {"retry": 0.0}):
        with pytest.raises(ValueError, match="retry < deadline < duration"):
            lease.Times(**wrong)


def test_no_two_processes_have_the_same_name():
    assert len({lease.identity() for _ in range(100)}) == 100


STEPS = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.sampled_from(["away", "back", "stop", "start"]), st.integers(0, 25)),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_there_are_never_two_leaders_and_in_the_end_there_is_one(steps):
    asyncio.run(_never_two(steps))


async def _never_two(steps):
    async with living() as world:
        for who, what, seconds in steps:
            each = getattr(world, who)
            match what:
                case "away" | "back":
                    each.view.is_away = what == "away"
                case "stop" if each.task is not None:
                    await each.stop()
                    each.task = None
                case "start" if each.task is None:
                    each.start()
            await world.pass_(seconds)
        for each in (world.one, world.two):
            each.view.is_away = False
            if each.task is None:
                each.start()
        await world.pass_(25)
        assert world.one.leads != world.two.leads
