"""When keys are fetched, fetched anew and given up, by a clock of the test's own."""

import asyncio

import pytest

from retic.sources import keys
from retic.sources.keys import fetch, fetcher


class World:
    """A clock that only the test moves, and answers that it gives."""

    def __init__(self):
        self.answers, self.asked, self.reported = {}, [], []
        self.time, self.sleeping = 0.0, []
        self.fetcher = keys.Fetcher(
            self._get, lambda uri, outcome: self.reported.append((uri, outcome)), sleep=self._sleep,
            now=lambda: self.time,
        )  # fmt: skip

    async def _get(self, uri, seconds):
        self.asked.append((self.time, uri, seconds))
        answer = self.answers[uri]
        if isinstance(answer, str):
            raise keys.FetchError(answer)
        return answer

    async def _sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        self.sleeping.append((self.time + seconds, woken))
        await woken

    async def settle(self):
        for _ in range(20):
            await asyncio.sleep(0)

    async def until(self, time):
        await self.settle()
        while due := sorted((x for x in self.sleeping if x[0] <= time and not x[1].done()), key=lambda x: x[0]):
            self.time = due[0][0]
            due[0][1].set_result(None)
            await self.settle()
        self.time = time


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.fetcher.close()


async def test_a_document_is_fetched_anew_when_its_time_is_over(world):
    world.answers["u"] = keys.Document("one", 100)
    world.fetcher.want({"u": 3.0})
    await world.until(350)
    assert world.asked == [(0, "u", 3.0), (100, "u", 3.0), (200, "u", 3.0), (300, "u", 3.0)]
    assert world.reported == [("u", keys.Outcome("one"))]
    world.answers["u"] = keys.Document("two", 100)
    await world.until(400)
    assert world.reported[1:] == [("u", keys.Outcome("two"))]


async def test_a_failure_is_tried_again_ever_more_seldom_and_said_once(world):
    world.answers["u"] = "away"
    world.fetcher.want({"u": 3.0})
    await world.until(200)
    times = [time for time, _, _ in world.asked]
    assert times == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert world.reported == [("u", keys.Outcome("", "away"))]
    world.answers["u"] = keys.Document("one", 100)
    await world.until(243)
    assert world.reported[1:] == [("u", keys.Outcome("one"))]


async def test_the_last_good_document_stands_for_a_day(world):
    world.answers["u"] = keys.Document("one", 100)
    world.fetcher.want({"u": 3.0})
    await world.until(50)
    world.answers["u"] = "away"
    await world.until(fetcher.KEPT_SECONDS - 100)
    assert world.reported == [("u", keys.Outcome("one")), ("u", keys.Outcome("one", "away"))]
    await world.until(fetcher.KEPT_SECONDS + 200)
    assert world.reported[2:] == [("u", keys.Outcome("", "away"))]


async def test_only_what_is_wanted_is_fetched(world):
    world.answers |= {name: keys.Document(name, 100) for name in ("a", "b")}
    world.fetcher.want({"a": 1.0})
    await world.until(10)
    world.fetcher.want({"b": 1.0})
    await world.until(500)
    assert {uri for time, uri, _ in world.asked if time > 10} == {"b"}
    assert world.reported == [("a", keys.Outcome("a")), ("a", None), ("b", keys.Outcome("b"))]


async def test_there_is_a_bound_on_uris(world):
    names = [f"u{number}" for number in range(fetcher.MOST + 1)]
    world.answers |= {name: keys.Document(name) for name in names}
    world.fetcher.want(dict.fromkeys(names, 1.0))
    await world.until(10)
    assert len(world.asked) == fetcher.MOST
    assert ("u200", keys.Outcome("", "more than 200 URIs are named")) in world.reported


async def test_the_first_outcomes_are_waited_for(world):
    world.answers["u"] = "away"
    world.fetcher.want({"u": 1.0})
    await world.fetcher.first(5)
    assert world.reported == [("u", keys.Outcome("", "away"))]
    await world.fetcher.first(5)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 1200), ("max-age=60", 60), ("public, Max-Age=90, must-revalidate", 90), ("max-age=1", 5),
        ("max-age=999999999", 3600), ("no-store", 5), ("no-cache, max-age=600", 5), ("s-maxage=7", 1200),
        ("max-age=soon", 1200),
    ],
)  # fmt: skip
def test_how_long_a_document_stands(said, seconds):
    assert fetch.kept(said) == seconds
