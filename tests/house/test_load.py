"""The load generator: what it says is what happened."""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time

import pytest

from retic.testing.load import __main__ as command
from retic.testing.load import cpu, http1, pace, record, run


def load(*arguments: str) -> tuple[int, dict]:
    done = subprocess.run(
        [sys.executable, "-m", "retic.testing.load", "--warm-up", "0.2", "--seconds", "1", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_poisson_has_the_rate_and_the_spread_of_one():
    times = list(pace.poisson(1000, 5.0, 20.0, seed=3))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert 5.0 < times[0] < times[-1] < 25.0
    assert statistics.mean(gaps) == pytest.approx(0.001, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(0.001, rel=0.05)


async def test_the_timer_never_wakes_early():
    timer = pace.Timer()
    try:
        for ahead in (0.0003, 0.0017, -1.0, 0.01):
            due = time.monotonic() + ahead
            await timer.until(due)
            assert time.monotonic() >= due - 1e-6
    finally:
        timer.close()


def test_percentiles_are_nearest_rank():
    values = sorted(float(n) for n in range(1, 101))
    assert record.percentile(values, 50) == 50
    assert record.percentile(values, 99) == 99
    assert record.percentile(values, 99.9) == 100
    assert record.percentile([], 50) == 0


def test_cpu_of_a_process_and_of_none():
    meter = cpu.Meter([os.getpid()])
    before = cpu.seconds(os.getpid())
    while cpu.seconds(os.getpid()) - before < 0.05:
        sum(range(10000))
    assert meter.used()[os.getpid()] >= 0.05
    with pytest.raises(ProcessLookupError):
        cpu.seconds(2**22 + 1)


@pytest.mark.parametrize(
    ("server", "scheme", "path"),
    [
        ("fast_http1", "http", "/"),
        ("echo_http", "http", "/stream/2"),
        ("echo_h2", "h2c", "/"),
        ("fast_tcp", "tcp", ""),
    ],
)
def test_an_open_loop_asks_at_its_rate(start, server, scheme, path):
    code, result = load(f"{scheme}://127.0.0.1:{start(server)}{path}", "--rate", "100", "--connections", "10")
    assert (code, result["mode"], result["failed"]) == (0, "open", 0)
    assert 60 < result["answered"] < 140
    assert 0 < result["percentiles_ms"]["p50"] <= result["percentiles_ms"]["p99"] <= result["max_ms"]


def test_a_closed_loop_asks_as_fast_as_it_is_answered(start):
    url = f"http://127.0.0.1:{start('echo_http')}/delay/100"

    def answered():
        code, result = load(url, "--connections", "3", "--cpu", str(os.getpid()))
        assert (code, result["mode"]) == (0, "closed")
        assert list(result["cpu_us_per_request"]) == [str(os.getpid())]
        assert result["answered"] <= 33
        return result["answered"]

    assert any(answered() >= 15 for _ in range(6)), "one after the other would be ten"


def test_latency_counts_from_when_a_request_was_due(start):
    # One connection, 100 ms each, 20 due a second: the queue grows, and its wait belongs to the latency.
    port = start("echo_http")
    _, result = load(f"http://127.0.0.1:{port}/delay/100", "--rate", "20", "--connections", "1")
    assert result["max_ms"] > 300
    assert 200 < result["queued_ms"] < result["max_ms"]

    def queued():
        _, result = load(f"http://127.0.0.1:{port}/delay/100", "--rate", "20", "--connections", "40")
        assert result["max_ms"] > 100
        return result["queued_ms"]

    assert any(queued() < 100 for _ in range(8))


def test_failures_are_counted_by_kind(start):
    port = start("echo_http")
    code, result = load(f"http://127.0.0.1:{port}/status/503", "--rate", "50")
    assert (code, result["answered"], set(result["failures"])) == (1, 0, {"status 503"})
    _, result = load(f"http://127.0.0.1:{port}/close", "--rate", "50")
    assert set(result["failures"]) == {"closed"}
    _, result = load(f"http://127.0.0.1:{port}/delay/5000", "--rate", "50", "--timeout", "0.1")
    assert set(result["failures"]) == {"timeout"}
    _, result = load("tcp://127.0.0.1:1", "--rate", "50")
    assert set(result["failures"]) == {"refused"}


def test_processes_share_a_load(start):
    port = start("fast_http1")
    _, result = load(f"http://127.0.0.1:{port}/", "--rate", "100", "--processes", "2", "--connections", "2")
    assert (result["connections"], result["wanted_rate"]) == (4, 100)
    assert 60 < result["answered"] < 140


async def test_a_broken_connection_is_opened_anew(start):
    port = start("echo_http")
    client = http1.Client("127.0.0.1", port, http1.request("a", "/close", []), keep_alive=True)
    for _ in range(2):
        with pytest.raises(EOFError):
            await client.once()
    client.close()


def test_cpu_time_is_divided_by_the_requests():
    plan = run.Plan("http://a:1", cpu=(1,))
    total = record.Record()
    total.good(0.001)
    total.cpu = {1: 0.5}
    assert command.report([plan], total).cpu_us_per_request == {"1": 500000.0}


def test_a_load_that_is_told_to_end_reports_what_it_measured(start):
    words = [f"http://127.0.0.1:{start('fast_http1')}/", "--rate", "100", "--seconds", "60", "--warm-up", "0.2"]
    with subprocess.Popen(
        [sys.executable, "-m", "retic.testing.load", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr.readline() == "measuring\n"
        process.terminate()
        result = json.loads(process.communicate(timeout=10)[0])
    assert process.returncode == 0
    assert result["failed"] == 0
    assert result["seconds"] < 10


def test_the_first_failures_say_when(start):
    begun = time.time()
    _, result = load(f"http://127.0.0.1:{start('echo_http')}/status/503", "--rate", "50")
    assert len(result["first_failures"]) == record.MOST_DATED
    when, kind = result["first_failures"][0]
    assert kind == "status 503"
    assert begun < when < time.time()
