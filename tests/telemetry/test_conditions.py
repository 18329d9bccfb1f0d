"""Expressions over requests: as Envoy's attributes have them, and never in the way of a log."""

import pytest

from retic.mesh import expressions
from retic.telemetry import conditions, entries

ENTRY = entries.Entry(
    id="1", side="inbound", protocol="HTTP/1.1", time=1_700_000_000.25, ms=1500.0, workload="shop/api", caller="spiffe://a",
    upstream="10.0.0.7:8080", code=503, method="GET", authority="api", path="/items?x=1", remote="10.0.0.1:4000",
    local="10.0.0.7:80", request_headers={"x-user": "anna"}, flags=("UF",), details="why", user_agent="curl",
    response_headers={"server": "s"}, scheme="http", request_id="r", attempts=2, cluster="c", route="r",
    transport_failure="t", server="spiffe://b",
)  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("", True),
        ("response.code >= 500", True),
        ("response.code >= 400 && request.method == 'POST'", False),
        ("connection.mtls && request.url_path.contains('items')", True),
        ("!has(request.useragent) || request.useragent.startsWith('curl')", True),
        ("request.headers['x-user'] == 'anna'", True),
        ("request.headers['x-none'] == 'anna'", False),
        ("!('x-none' in request.headers)", True),
        ("request.duration > duration('1s')", True),
        ("request.time < timestamp('2020-01-01T00:00:00Z')", False),
        ("request.path.matches('^/it.*x=[0-9]$')", True),
        ("request.path.matches('((')", False),
        ("request.size / 0 == 1", False),
        ("response.code", False),
    ],
)
def test_conditions(expression, holds):
    assert conditions.compiled(expression)(ENTRY) is holds


def test_the_mesh_judges_by_the_attributes_that_there_are():
    outbound = entries.Entry(**{**{name: getattr(ENTRY, name) for name in ENTRY.__struct_fields__}, "side": "outbound"})
    tcp = entries.Entry(id="", side="inbound", protocol="TCP", time=1.0, ms=1.0, details="d")
    found = {}
    for entry in (ENTRY, outbound, tcp):
        for name, values in conditions.attributes(entry).items():
            found.setdefault(name, set()).update(values)
    assert {name: set(values) for name, values in expressions.ATTRIBUTES.items()} == found


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("response.code >=", "no expression of CEL"),
        ("response.status > 1", "no attribute status"),
        ("foo == 1", "no attribute foo"),
        ("request.headers.map(x, x)", "map is not carried out"),
        ("[1].all(x, [2].exists(y, y == x))", "is not carried out"),
        ("response.code", "no condition"),
        ("request.path + 1 == 2", "cannot be evaluated"),
        ("frob(request.path)", "cannot be evaluated"),
        ("(" * 500, "no expression"),
    ],
)
def test_what_cannot_be_used_is_said(expression, words):
    found = expressions.problem(expression)
    assert found is not None
    assert words in found[0]
    assert found[1]


def test_headers_that_are_read():
    text = "request.headers['X-User'] == 'a' || \"x-b\" in request.headers || response.headers['server'] == 's'"
    assert expressions.headers(text) == {"x-user", "x-b"}
    assert expressions.problem(text) is None
