"""SPIFFE ids: what is formatted parses to the same, and nothing else parses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retic.identity import spiffe

DOMAIN = st.from_regex(r"[a-z0-9._-]{1,60}", fullmatch=True)
SEGMENT = st.from_regex(r"[A-Za-z0-9._-]{1,60}", fullmatch=True).filter(lambda text: text not in {".", ".."})
IDS = st.one_of(
    st.builds(spiffe.Workload, DOMAIN, SEGMENT, SEGMENT),
    st.builds(spiffe.Node, DOMAIN, SEGMENT),
    st.builds(spiffe.Gateway, DOMAIN, SEGMENT, SEGMENT),
    st.builds(spiffe.Control, DOMAIN),
)


@given(IDS)
def test_an_id_comes_back_from_its_text(identity):
    assert spiffe.parse(str(identity)) == identity


@given(st.one_of(st.text(), st.from_regex(r"spiffe://[a-z.]{1,8}/(ns|retic)/.{0,20}", fullmatch=True)))
def test_what_parses_is_written_in_one_way_only(text):
    try:
        parsed = spiffe.parse(text)
    except spiffe.InvalidIdError as error:
        advice = str(error)
        parsed = None
    assert str(parsed) == text if parsed else "write" in advice


CLIENTS = IDS.filter(lambda identity: isinstance(identity, spiffe.Node | spiffe.Gateway))


@given(CLIENTS)
def test_a_client_id_comes_back(identity):
    assert spiffe.client(identity.trust_domain, identity.client_id) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe:///ns/a/sa/b",
        "SPIFFE://td/ns/a/sa/b",
        "spiffe://TD/ns/a/sa/b",
        "spiffe://td:8080/ns/a/sa/b",
        "spiffe://user@td/ns/a/sa/b",
        "spiffe://td/ns/a/sa/b/",
        "spiffe://td/ns//sa/b",
        "spiffe://td/ns/a/sa/..",
        "spiffe://td/ns/a/sa/b?q",
        "spiffe://td/ns/a/sa/b#f",
        "spiffe://td/ns/a/sa/%62",
        "spiffe://td/ns/a/sa/b\n",
        "spiffe://td\n/ns/a/sa/b",
        "spiffe://td/ns/a/sa/ö",
        "spiffe://td/ns/a/sa",
        "spiffe://td/retic/control/x",
        "spiffe://td",
        "https://td/ns/a/sa/b",
        "spiffe://" + "a" * 256 + "/ns/a/sa/b",
        "spiffe://td/ns/a/sa/" + "b" * 2048,
    ],
)
def test_refused(text):
    with pytest.raises(spiffe.InvalidIdError):
        spiffe.parse(text)


@pytest.mark.parametrize("client_id", ["node", "node/a/b", "gateway/a", "node/..", "control", "node/a b", ""])
def test_client_ids_refused(client_id):
    with pytest.raises(spiffe.InvalidIdError):
        spiffe.client("td", client_id)
