"""Names of gateways' agents: one for each Gateway, short enough for the sockets in their folders."""

from hypothesis import given
from hypothesis import strategies as st

from retic import findings
from retic.local import state
from retic.local.cluster import gateways

WORD = st.text(alphabet="ab-", min_size=1, max_size=12).filter(lambda t: t[0] != "-" != t[-1])
NAME = st.one_of(WORD, st.lists(WORD, min_size=1, max_size=30).map(".".join))
REF = st.builds(findings.Ref, st.just("Gateway"), WORD, NAME)


@given(REF, REF)
def test_two_gateways_never_share_an_agent(one, other):
    names = [gateways.agent_name(ref) for ref in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    assert all(len(name) <= state.LONGEST_AGENT and "/" not in name for name in names)


def test_usual_names_can_be_read():
    assert gateways.agent_name(findings.Ref("Gateway", "shop", "front-door")) == "gw-shop-front-door"
