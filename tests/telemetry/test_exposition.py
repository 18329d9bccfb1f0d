"""Prometheus' text: names and labels, escaping, and how many series there are at most."""

import pytest

from retic.telemetry import exposition
from retic.telemetry.readings import Histogram, Labels, Reading
from retic.telemetry.words import Stat

ONE = Labels("destination", "shop/api", "spiffe://d/ns/shop/sa/api", peer="shop/web", service="shop/api",
             protocol="http", code="200", details="via_upstream", method="read")  # fmt: skip


def lines(reading, begin):
    return [each for each in exposition.text({"node-1": reading}).splitlines() if each.startswith(begin)]


def test_series_that_differ_only_in_details_are_one():
    other = Labels("destination", "shop/api", "spiffe://d/ns/shop/sa/api", peer="shop/web", service="shop/api",
                   protocol="http", code="200", details="direct_response", method="read")  # fmt: skip
    (line,) = lines(Reading(counters={Stat.REQUESTS: {ONE: 3, other: 4}}), "istio_requests_total")
    assert line.endswith(" 7")
    for said in ('destination_service="api.shop.svc.cluster.local"', 'source_principal="unknown"', 'node="node-1"',
                 'connection_security_policy="none"', 'response_code="200"', 'method_class="read"'):  # fmt: skip
        assert said in line
    assert "details" not in line


def test_durations_are_told_in_milliseconds_without_what_clients_gave_up():
    given_up = Labels("destination", "shop/api", flags="DC")
    histogram = Histogram([500, 1000, float("inf")], [1, 2, 2], 1400.0)
    made = Reading(histograms={Stat.DURATION: {ONE: histogram, given_up: histogram}})
    found = lines(made, "istio_request_duration_milliseconds")
    assert [line.rpartition(",")[2].split("}")[0] for line in found[:3]] == ['le="0.5"', 'le="1"', 'le="+Inf"']
    assert [line.rpartition(" ")[2] for line in found] == ["1", "2", "2", "1.4", "2"]


def test_too_many_series_are_other(monkeypatch):
    monkeypatch.setattr(exposition, "MOST_SERIES", 5)
    many = {Labels("source", f"shop/w{number}", service="shop/api", protocol="http"): 1 for number in range(20)}
    made = Reading(counters={Stat.REQUESTS: many})
    found = lines(made, "istio_requests_total")
    assert len(found) == 6
    assert found[-1].endswith(" 15")
    assert 'source_workload="other"' in found[-1]
    assert lines(made, "retic_series_over") == ['retic_series_over{node="node-1"} 15']


@pytest.mark.parametrize("odd", ['a"b', "a\\b", "a\nb"])
def test_values_are_escaped(odd):
    (line,) = lines(Reading(counters={Stat.REQUESTS: {Labels("source", "a/b", principal=odd): 1}}), "istio_requests")
    assert odd not in line
