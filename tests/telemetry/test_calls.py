"""Calls as they are shown: both ends, filters that see no more than is shown."""

import pytest

from retic.cli import tap
from retic.telemetry import calls, entries

ENTRY = entries.Entry(
    id="1", side="outbound", protocol="HTTP/2", time=1_700_000_000.25, ms=1.23456, workload="shop/web",
    service="shop/api", upstream="10.0.0.7:8080", code=503, method="GET", authority="u:p@api",
    path="/items?token=abc&x=1", request_headers={"x-user": "anna", "x-note": "no"}, flags=("UF",), details="why",
    response_headers={"server": "s"},
)  # fmt: skip
SHOWN = calls.Shown(("x-user",))


def whose(address):
    return {"10.0.0.7": "shop/api"}.get(address, "")


def made(**changes):
    return calls.call(ENTRY, calls.Shown(**changes), whose)


def test_both_ends_and_only_what_is_asked_for():
    call = made(headers=("x-user",))
    assert (call.source, call.destination, call.time) == ("shop/web", "shop/api", "2023-11-14T22:13:20.250+00:00")
    assert call.request_headers == {"x-user": "anna"}
    assert call.response_headers == {}
    assert call.path == "/items?token=[redacted]&x=1"
    assert call.authority == "[redacted]@api"
    line = tap.line(call)
    assert line == (
        "22:13:20.250  shop/web -> shop/api  HTTP/2  GET  [redacted]@api/items?token=[redacted]&x=1  503  1.2 ms  "
        "0 B in, 0 B out  plain  UF why  x-user='anna'"
    )


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ({}, True),
        ({"method": "get"}, True),
        ({"method": "POST"}, False),
        ({"path": "/items"}, True),
        ({"path": "/item"}, False),
        ({"path": "/it*s"}, True),
        ({"path": "/.tems"}, False),
        ({"path": "/items?*x=1"}, True),
        ({"path": "/items?token=abc*"}, False),
        ({"statuses": ("404", "5xx")}, True),
        ({"statuses": ("404",)}, False),
        ({"headers": {"x-user": "a*"}}, True),
        ({"headers": {"x-user": "b*"}}, False),
        ({"headers": {"x-none": "*"}}, False),
        ({"protocol": "http2"}, True),
        ({"protocol": "http1"}, False),
        ({"protocol": "tcp"}, False),
    ],
)
def test_filters(wanted, holds):
    assert calls.matcher(calls.Wanted(**wanted))(made(headers=("x-user",))) is holds


def test_nothing_steers_a_terminal():
    assert tap.plain("a\x1b[31m\x9bb\u202e\n") == "a\\x1b[31m\\x9bb\\u202e\\n"
