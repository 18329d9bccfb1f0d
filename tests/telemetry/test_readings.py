"""An Envoy's page read: packed labels, those that a caller forged, refusals."""

import pytest

from retic.telemetry import readings
from retic.telemetry.readings import Labels
from retic.telemetry.words import Stat

WEB, API = "spiffe://d/ns/shop/sa/web", "spiffe://d/ns/shop/sa/api"
AT_API = f"destination shop/api {API} {WEB} shop/web;shop/api HTTP/2 -"


def page(*lines):
    return readings.parse("\n".join(lines))


def test_a_request_with_both_ends():
    found = page(f'envoy_retic_requests{{l="{AT_API} 200 via_upstream G 0"}} 7', "envoy_server_live{} 1", "# HELP x")
    ((labels, value),) = found.counters[Stat.REQUESTS].items()
    assert value == 7
    assert labels == Labels(
        "destination", "shop/api", API, WEB, "shop/web", "shop/api", "grpc", "", "200", "via_upstream", "read", "0"
    )
    assert (labels.source, labels.destination) == ("shop/web", "shop/api")
    assert (labels.source_principal, labels.destination_principal) == (WEB, API)
    assert found.server == {"server_live": 1}


@pytest.mark.parametrize(
    ("link", "destination", "service"),
    [
        ("shop/api-2;shop/api", "shop/api-2", "shop/api"),
        ("shop/api-2;-", "shop/api-2", ""),  # by the pod's address
        ("-;shop/api", "", "shop/api"),  # sent to nobody
        ("-;-", "", ""),
    ],
)
def test_the_callers_side_knows_whom_the_endpoint_belongs_to(link, destination, service):
    line = f"source shop/web {WEB} {API} {link} HTTP/1.1 UC 503 upstream_reset{{a|b}} P "
    labels = readings.unpack(Stat.REQUESTS, line)
    assert (labels.source, labels.destination, labels.service) == ("shop/web", destination, service)
    assert (labels.flags, labels.details, labels.method) == ("UC", "upstream_reset{a|b}", "write")


@pytest.mark.parametrize(
    ("middle", "peer", "service", "principal"),
    [
        (f"{WEB} shop/web;shop/api HTTP/1.1", "shop/web", "shop/api", WEB),
        (f"{WEB} shop/web;- HTTP/1.1", "shop/web", "", WEB),
        (f"{WEB} - HTTP/1.1", "", "", WEB),
        (f"{WEB} x y;z HTTP/1.1", "", "", WEB),  # what no proxy of ours writes
        (f"{WEB} <b>/a;A/B HTTP/1.1", "", "", WEB),
        ("", "", "", ""),  # nothing was remembered: the request was none
        ("  HTTP/1.1", "", "", ""),  # without the mesh's TLS
    ],
)
def test_what_a_caller_says_of_itself_is_taken_as_a_name_or_not_at_all(middle, peer, service, principal):
    line = f"destination shop/api {API} {middle} - 200 via_upstream G "
    labels = readings.unpack(Stat.REQUESTS, line)
    assert (labels.peer, labels.service, labels.peer_principal) == (peer, service, principal)
    assert labels.code == "200"


def test_connections_of_requests_are_no_connections():
    own = f"source shop/web {WEB} {API} shop/api;shop/api"
    assert readings.unpack(Stat.CONNECTIONS, f"{own} HTTP/2 -  ") is None
    assert readings.unpack(Stat.SENT, f"{own} HTTP/1.1 -") is None
    assert readings.unpack(Stat.SENT, f"{own}  -").protocol == "tcp"
    refused = readings.unpack(Stat.CONNECTIONS, f"{own}  -  rbac_access_denied_matched_policy[shop/no/0]")
    assert readings.refused_by(refused) == "shop/no"


@pytest.mark.parametrize("text", ["", "source", "nobody a b c d e f", "destination shop/api"])
def test_what_is_no_label_is_passed_over(text):
    assert readings.unpack(Stat.REQUESTS, text) is None
    assert page(f'envoy_retic_requests{{l="{text}"}} 1', 'envoy_retic_other{l="a"} 1').counters == {}


@pytest.mark.parametrize(
    ("code", "details", "said"),
    [
        ("403", "rbac_access_denied_matched_policy[shop/deny/3]", "shop/deny"),
        ("403", "rbac_access_denied_matched_policy[none]", "no policy allows it"),
        ("403", "ext_authz_denied", "an external authorizer"),
        ("401", "jwt_authn_access_denied{Jwt_is_expired}", "a token was missing or wrong"),
        ("403", "via_upstream", None),
        ("403", "direct_response", None),
        ("200", "via_upstream", None),
        ("503", "no_healthy_upstream", None),
    ],
)
def test_who_refused(code, details, said):
    assert readings.refused_by(Labels("destination", "shop/api", code=code, details=details)) == said


def test_histograms_and_what_was_not_begun():
    found = page(
        f'envoy_retic_duration_bucket{{l="{AT_API} 0",le="1000"}} 3',
        f'envoy_retic_duration_bucket{{l="{AT_API} 0",le="+Inf"}} 4',
        f'envoy_retic_duration_sum{{l="{AT_API} 0"}} 5000.5',
        f'envoy_retic_duration_count{{l="{AT_API} 0"}} 4',
        "envoy_server_stats_overflow_counter{} 2",
        "envoy_server_stats_overflow_histogram{} 3",
    )
    ((labels, histogram),) = found.histograms[Stat.DURATION].items()
    assert (labels.protocol, labels.flags) == ("grpc", "")
    assert readings.unpack(Stat.DURATION, f"{AT_API} -").protocol == "http"
    assert (histogram.bounds, histogram.counts, histogram.count) == ([1000.0, float("inf")], [3, 4], 4)
    assert histogram.sum == 5000.5
    assert found.folded == 5
