"""Both places to count in: in memory, and a real Redis."""

import asyncio
import re
import subprocess

import pytest

from retic.counting import embedded, place, redis_store, store
from retic.testing import clock, redis_server, wait


def want(limit="shop/web/0", key="", requests=3, seconds=3600, enforced=True):
    return store.Want(limit, key, requests, seconds, enforced)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server.running(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(params=["embedded", "redis"])
async def counting(request, monkeypatch):
    monkeypatch.setattr(redis_store, "SECONDS", 5.0)  # what is counted is asked here, not how fast
    if request.param == "embedded":
        made = embedded.Embedded()
    else:
        server = request.getfixturevalue("server")
        made = redis_store.Redis(place.read(server.url, str(server.credentials)), request.node.name)
    yield made
    await made.close()


async def fit(counting, *wants):
    return [taken.fits for taken in await counting.take(wants)]


async def test_a_window_holds_its_requests_and_no_more(counting):
    taken = [(await counting.take([want()]))[0] for _ in range(5)]
    assert [one.fits for one in taken] == [True, True, True, False, False]
    assert [one.remaining for one in taken] == [2, 1, 0, 0, 0]
    assert all(3590 < one.reset <= 3600 for one in taken)


async def test_windows_are_apart_by_limit_and_by_key(counting):
    for each in (want(), want(key="a"), want(key="b"), want(limit="shop/web/1"), want(seconds=60, limit="x")):
        assert [await fit(counting, each) for _ in range(4)] == [[True]] * 3 + [[False]]


async def test_what_one_limit_refuses_no_other_counts(counting):
    narrow, wide = want(limit="narrow", requests=1), want(limit="wide", requests=3)
    assert await fit(counting, narrow, wide) == [True, True]
    for _ in range(5):
        assert await fit(counting, narrow, wide) == [False, True]
    assert [await fit(counting, wide) for _ in range(3)] == [[True], [True], [False]]


async def test_a_dry_run_refuses_nothing(counting):
    dry, real = want(limit="dry", requests=1, enforced=False), want(limit="real", requests=3)
    found = [await fit(counting, dry, real) for _ in range(4)]
    assert found == [[True, True], [False, True], [False, True], [False, False]]


async def test_many_at_once_are_counted_exactly(counting):
    answers = await asyncio.gather(*(fit(counting, want(requests=20)) for _ in range(100)))
    assert answers.count([True]) == 20


async def test_a_window_ends(counting):
    short = want(requests=1, seconds=3)
    assert [await fit(counting, short) for _ in range(2)] == [[True], [False]]

    async def again():
        return await fit(counting, short) == [True]

    await wait.until_async(again, "the next window")


async def test_in_memory_windows_are_bounded_and_forgotten():
    now = clock.Fake()
    counting = embedded.Embedded(now.seconds, most=10)
    for number in range(9):
        assert await fit(counting, want(key=str(number), requests=1)) == [True]
    assert await fit(counting, want(key="9", requests=1)) == [True]
    # Whoever comes beyond shares one, and takes nothing from those who were there.
    assert [await fit(counting, want(key=f"more {n}", requests=1)) for n in range(3)] == [[True], [False], [False]]
    assert await fit(counting, want(key="0", requests=1)) == [False]
    assert len(counting) == 11
    now.advance(3601)
    assert await fit(counting, want(key="0", requests=1)) == [True]
    assert len(counting) == 1


async def test_redis_that_goes_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(redis_store, "SECONDS", 5.0)
    now = clock.Fake()
    with redis_server.running(tmp_path) as server:
        counting = redis_store.Redis(place.read(server.url, str(server.credentials)), "mesh", now.seconds)
        assert await fit(counting, want()) == [True]
        server.stop()
        with pytest.raises(store.StoreError, match="no connection"):
            await counting.take([want()])
        server.start()
        # For a while nobody asks it: who would wait for what is not there is answered at once.
        with pytest.raises(store.StoreError, match="no connection"):
            await counting.take([want()])
        now.advance(redis_store.PAUSE_SECONDS)
        await counting.look()
        assert await fit(counting, want()) == [True]
        await counting.close()


async def test_redis_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(redis_store, "SECONDS", 2.0)
    with redis_server.running(tmp_path) as server:
        counting = redis_store.Redis(place.read(server.url, str(server.credentials)), "mesh")
        assert await fit(counting, want()) == [True]
        server._running.send_signal(19)
        with pytest.raises(store.StoreError, match="no answer"):
            await counting.take([want()])
        await counting.close()


async def test_a_password_is_in_no_message_and_a_new_one_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(redis_store, "SECONDS", 5.0)
    with redis_server.running(tmp_path) as server:
        right = server.credentials.read_text()
        nobody = redis_store.Redis(place.read(server.url), "mesh")
        with pytest.raises(store.StoreError, match="user or password"):
            await nobody.take([want()])
        await nobody.close()
        server.credentials.write_text("shop:wrong-secret\n")
        where = place.read(server.url, str(server.credentials))
        counting = redis_store.Redis(where, "mesh", now=iter(range(100)).__next__)
        with pytest.raises(store.StoreError, match="user or password") as refused:
            await counting.take([want()])
        for text in (str(refused.value), repr(counting), str(counting), repr(place.read(server.url, str(tmp_path)))):
            assert not {"secret", "sesame"} & set(re.split(r"[^a-z]", text))
        server.credentials.write_text(right)
        assert await fit(counting, want()) == [True]
        await counting.close()


async def test_nothing_that_a_client_wrote_is_a_key(tmp_path, monkeypatch):
    monkeypatch.setattr(redis_store, "SECONDS", 5.0)
    with redis_server.running(tmp_path) as server:
        counting = redis_store.Redis(place.read(server.url, str(server.credentials)), "mesh")
        await counting.take([want(key="alice@shop.example")])
        asked = subprocess.run(
            ["redis-cli", "-s", server.url.removeprefix("unix://"), "KEYS", "*"], capture_output=True, text=True,
            env={"REDISCLI_AUTH": server.credentials.read_text().strip(), "PATH": "/usr/bin:/bin"}, check=True,
        )  # fmt: skip
        assert re.fullmatch(r"retic:\{mesh\}:[0-9a-f]{64}\n", asked.stdout)
        await counting.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:secret@redis:6379", "no user and no password"),
        ("redis://redis:6379?password=secret", "no user and no password"),
        ("http://redis:6379", "redis://HOST:PORT"),
        ("redis://", "redis://HOST:PORT"),
    ],
)
def test_addresses_that_cannot_be_used(url, said):
    with pytest.raises(place.PlaceError, match=said) as refused:
        place.read(url)
    assert "secret" not in str(refused.value)


def test_a_folder_of_credentials(tmp_path):
    (tmp_path / "username").write_text("shop\n")
    (tmp_path / "password").write_text("sesame\n")
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    where = place.read("rediss://redis:6379", str(tmp_path))
    assert place.user_and_password(where) == ("shop", "sesame")
    assert where.roots == str(tmp_path / "ca.crt")
    with pytest.raises(place.PlaceError, match="cannot be read"):
        place.read("redis://redis", str(tmp_path / "none"))
