"""What the mesh does by itself when things fail, and what routes ask for: retries, and endpoints that are left out."""

import collections

from retic.envoy import failures, limits
from retic.testing import wait


def ask(client, host, times=1, **more):
    """Who answered, or with which status."""
    answers = (client.http(f"http://{host}/", **more) for _ in range(times))
    return [got["text"] if got["status"] == 200 else got["status"] for got in answers]


def both(client, host, method="POST", body="x"):
    """Ask until two kinds of answers were seen; what there was."""
    seen = set()

    def two():
        seen.update(ask(client, host, limits.EJECT_FAILURES, method=method, body=body))
        return len(seen) >= 2

    wait.until(two, f"{host} answers in two ways", seconds=20)
    return seen


def all_of_service(mesh, name):
    """The statistics of the client's cluster of a Service that has no route."""
    done = mesh.exec("client", "getent", "ahostsv4", name)
    begin = f"cluster.vip/default/{done.stdout.split()[0]}_80."
    found = mesh.stats("node-1").items()
    return collections.Counter({stat.removeprefix(begin): value for stat, value in found if stat.startswith(begin)})


def of_service(mesh, name, stat):
    return all_of_service(mesh, name)[stat]


def test_an_idempotent_request_goes_to_another_pod_when_one_does_not_listen(client):
    for method in limits.RETRY_METHODS:
        if method not in ("HEAD", "TRACE"):
            assert ask(client, "pair", 3, method=method) == ["good"] * 3


def test_a_request_that_is_not_idempotent_is_sent_once(client):
    assert both(client, "posted") == {"good", 503}


def test_an_endpoint_that_fails_is_left_out_for_a_while(failing, client):
    def left_out():
        assert ask(client, "pair", 5) == ["good"] * 5
        return of_service(failing, "pair", "outlier_detection.ejections_active") == 1

    wait.until(left_out, "the pod that does not listen is left out", seconds=60)

    def alone():
        """Nothing was sent again, though it was left out all the time: else it is looked at once more."""
        left_out()
        before = all_of_service(failing, "pair")
        assert ask(client, "pair", 20) == ["good"] * 20
        after = all_of_service(failing, "pair")
        active, times = "outlier_detection.ejections_active", "outlier_detection.ejections_enforced_total"
        same = all(before[stat] == after[stat] for stat in (active, times, "upstream_rq_retry"))
        return same and after[active] == 1

    wait.until(alone, "no request is sent to it", seconds=150)


def test_the_only_endpoint_is_never_left_out(failing, client):
    assert ask(client, "lone", 3 * limits.EJECT_FAILURES) == [503] * 3 * limits.EJECT_FAILURES
    assert of_service(failing, "lone", "outlier_detection.ejections_active") == 0


def test_an_answer_that_never_came_is_asked_for_elsewhere(failing, client):
    """The pod's proxy has the connection that ended, and the caller's is told."""

    def retried():
        assert ask(client, "dropped", 4) == ["good"] * 4
        return of_service(failing, "dropped", "upstream_rq_retry")

    wait.until(retried, "one of them went to the pod that does not answer", seconds=40)
    assert both(client, "dropped-posted") == {"good", 503}


def test_a_pod_that_stops_listening_behind_kept_connections(failing, client):
    """Its proxy still takes requests, and says that they have not been answered; only proxies hear of that."""
    wait.until(lambda: {"good", "ending"} <= set(ask(client, "ending", 10)), "both answer", seconds=30)
    wait.until(lambda: client.http("http://ending/end/ending")["text"] == "ending", "it has ended", seconds=30)
    assert ask(client, "ending", 12) == ["good"] * 12
    got = client.http("http://lone/")
    assert got["status"] == 503
    assert failures.HEADER not in got["headers"]


def test_the_budget_holds_when_everything_fails(failing, client):
    before = of_service(failing, "held", "upstream_rq_retry")
    # Fifty at once, each of which is held for two seconds and then dropped: so is whatever is sent again.
    assert client.count("held", times=50, connections=50) == {"503": 50}
    retried = of_service(failing, "held", "upstream_rq_retry") - before
    # Of what is under way, retries among it (CircuitBreakers.Thresholds.RetryBudget, budget_percent); each of Envoy's
    # two workers may look before the other has counted. And a machine that stands still for two seconds makes two times
    # of it, each with a budget of its own.
    budget = max(limits.RETRY_AT_A_TIME, (50 + retried) * limits.RETRY_BUDGET_PERCENT / 100)
    assert 0 < retried <= 2 * budget + 2
    assert of_service(failing, "held", "upstream_rq_retry_overflow") > 0


def test_a_tcp_connection_is_made_to_another_pod_when_one_does_not_listen(client):
    text = "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    found = [client.say("by-tcp", 80, text)["lines"] for _ in range(12)]
    # Two attempts, each to any of two: a quarter fails until the closed one is left out.
    assert sum(bool(lines and lines[0]) for lines in found) >= 7


def test_retries_by_codes_and_none(client):
    assert ask(client, "codes", 12) == ["good"] * 12
    assert ask(client, "codes", 6, method="POST", body="x") == ["good"] * 6
    assert both(client, "never", "GET", None) == {"good", 503}


def test_every_attempt_has_its_own_time(client):
    def slow():
        """Whether this one went to the late pod first, which answers after three seconds."""
        got = client.http("http://late/")
        assert got["text"] == "good"
        return 0.25 < got["seconds"] < 1.5

    wait.until(slow, "one goes to the late pod first, and soon to the other", seconds=20)


def test_no_request_is_lost_to_a_server_that_closes_idle_connections(client):
    """The first closes after a second, and a second is what requests are apart; with the second, every request crosses
    with its close. One at a time: of several at once, one that is sent again may meet another connection like that."""
    assert client.bursts("brief", pauses=[0.98, 0.99, 1.0, 1.01, 1.02], at_once=10) == {"200": 60}
    assert client.bursts("stale", pauses=[0.6] * 9, at_once=1) == {"200": 10}


def test_idle_peers_are_asked_whether_they_are_there(failing, client):
    assert ask(client, "zone-first", 4)
    for pod in ("client", "near"):
        lines = failing.exec(pod, "ss", "-tnoH", "state", "established").stdout.splitlines()
        mesh = [line for line in lines if ":15006" in line or ":15001" in line or "10.244." in line]
        assert mesh
        assert any("timer:(keepalive" in line for line in mesh), lines


def test_an_endpoint_that_was_left_out_comes_back(failing, client):
    seconds = limits.EJECT_SECONDS + limits.EJECT_LOOK_SECONDS + 5
    wait.until(
        lambda: of_service(failing, "pair", "outlier_detection.ejections_active") == 0, "it is back", seconds=seconds
    )
    before = of_service(failing, "pair", "upstream_rq_retry")
    wait.until(
        lambda: ask(client, "pair", 4) and of_service(failing, "pair", "upstream_rq_retry") > before,
        "it is tried again", seconds=10,
    )
