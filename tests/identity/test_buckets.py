"""Buckets: a burst, then a rate, each name for itself, in bounded memory."""

from retic.identity import buckets


def test_a_burst_and_then_a_rate():
    now = [100.0]
    made = buckets.Buckets(buckets.Rate(burst=3, per_second=2), lambda: now[0])
    assert [made.take("a") for _ in range(4)] == [True, True, True, False]
    assert made.take("b"), "another one is not concerned"
    now[0] += 0.5
    assert [made.take("a"), made.take("a")] == [True, False]
    now[0] += 1000
    assert [made.take("a") for _ in range(4)] == [True, True, True, False], "no more than the burst is saved up"


def test_who_was_away_the_longest_is_forgotten():
    made = buckets.Buckets(buckets.Rate(burst=1, per_second=0.1), lambda: 0.0, most=2)
    assert [made.take(name) for name in "abcb"] == [True, True, True, False]
    assert len(made) == 2
    assert made.take("a"), "its bucket is a new one"
