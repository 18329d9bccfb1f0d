"""Rows of `retic top` from two readings: each request once, restarts, quantiles."""

import pytest

from retic.telemetry import table
from retic.telemetry.readings import Histogram, Labels, Reading
from retic.telemetry.words import Stat

WEB = "spiffe://d/ns/shop/sa/web"


def arrived(code="200", details="via_upstream", **more):
    return Labels("destination", "shop/api", peer="shop/web", service="shop/api", protocol="http", code=code,
                  details=details, peer_principal=WEB, **more)  # fmt: skip


def left(code="200", details="via_upstream", flags="", **more):
    fields = {"service": "shop/api", "protocol": "http", **more}
    return Labels("source", "shop/web", principal=WEB, code=code, details=details, flags=flags, **fields)


def reading(counts, stat=Stat.REQUESTS):
    return Reading(counters={stat: counts})


def test_a_request_that_both_sides_counted_is_one():
    now = reading({arrived(): 20, left(): 20, left("503", "no_healthy_upstream", "UH"): 5})
    rows = table.rows([Reading()], [now], 10.0)
    assert [(row.source, row.destination, row.service, row.rps) for row in rows] == [
        ("shop/web", "shop/api", "shop/api", 2.0), ("shop/web", "", "shop/api", 0.5),
    ]  # fmt: skip
    assert [row.success for row in rows] == [1.0, 0.0]
    assert rows[0].identity == WEB


def test_of_a_service_that_is_partly_outside_the_mesh_all_requests_count():
    inside, outside = left(peer="shop/api"), left(peer="shop/old")
    rows = table.rows([Reading()], [reading({arrived(): 20, inside: 20, outside: 10})], 10.0)
    assert [(row.destination, row.rps) for row in rows] == [("shop/api", 2.0), ("shop/old", 1.0)]


def test_a_request_that_was_cut_on_the_way_is_the_receivers():
    now = reading({arrived("0", "downstream_remote_disconnect", flags="DC"): 2,
                   left("503", "upstream_reset{remote}", "UC"): 2})  # fmt: skip
    (row,) = table.rows([Reading()], [now], 1.0)
    assert (row.rps, row.success) == (2.0, 0.0)


def test_where_no_proxy_received_the_callers_side_counts():
    (row,) = table.rows([Reading()], [reading({left(service=""): 3})], 1.0)
    assert (row.destination, row.service, row.rps) == ("", "", 3.0)


def test_refusals_are_named():
    denied = arrived("403", "rbac_access_denied_matched_policy[shop/no/0]")
    other = arrived("401", "jwt_authn_access_denied{x}")
    (row,) = table.rows([Reading()], [reading({arrived(): 5, denied: 4, other: 1})], 1.0)
    assert (row.success, row.refused_rps, row.refused_by) == (0.5, 5.0, "shop/no")


def test_only_what_has_grown_counts_and_a_restart_begins_anew():
    before, after = reading({arrived(): 100}), reading({arrived(): 104})
    assert table.rows([before], [after], 2.0)[0].rps == 2.0
    assert table.rows([before], [before], 2.0) == []
    assert table.rows([before], [reading({arrived(): 6})], 2.0)[0].rps == 3.0


def test_connections_are_told_by_the_caller_and_refused_ones_by_the_called():
    tcp = {"protocol": "tcp"}
    both = {
        left("", "", **tcp): 4,
        Labels("destination", "shop/api", peer_principal=WEB, **tcp): 4,
        Labels("destination", "shop/api", peer_principal=WEB, details="rbac_access_denied_matched_policy[shop/x/0]",
               **tcp): 1,
    }  # fmt: skip
    rows = table.rows([Reading()], [reading(both, Stat.CONNECTIONS)], 1.0)
    assert [(row.source, row.rps, row.refused_by) for row in rows] == [("shop/web", 4.0, ""), ("", 1.0, "shop/x")]


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 1.0), (0.75, 1.5), (1.0, 2.0)])
def test_quantiles_are_linear_within_a_bucket(share, wanted):
    histogram = Histogram([1000, 2000, float("inf")], [2, 4, 4], 0.0)
    assert table.quantile(histogram, share) == wanted


def test_quantiles_of_the_window_only():
    def timed(counts):
        return Reading(
            counters={Stat.REQUESTS: {arrived(): counts[-1]}},
            histograms={Stat.DURATION: {arrived("", ""): Histogram([1000, 2000, float("inf")], counts, 0.0)}},
        )

    (row,) = table.rows([timed([50, 50, 50])], [timed([50, 60, 60])], 1.0)
    assert 1 < row.p50_ms <= row.p99_ms <= 2
    assert table.quantile(None, 0.5) is None
    assert table.quantile(Histogram([1000, float("inf")], [0, 3], 0.0), 0.5) == 1.0


def test_of_one_namespace():
    rows = table.rows([Reading()], [reading({arrived(): 1, left(service="other/x"): 1})], 1.0)
    assert len(list(table.of_namespace(rows, "other"))) == 1
    assert len(list(table.of_namespace(rows, "shop"))) == 2
    assert not list(table.of_namespace(rows, "sho"))
