"""Host names of listeners and routes, against a plain reading of the rules, host by host."""

from hypothesis import given
from hypothesis import strategies as st

from retic.mesh import hosts

LABEL = st.sampled_from(["a", "b", "com"])
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
PATTERN = st.one_of(HOST, HOST.map("*.{}".format))
LISTENER = st.one_of(st.just(""), PATTERN)


def takes(pattern, host):
    """Whether a pattern means a host: itself, everything below `*.`, or (without one) every host."""
    if not pattern:
        return True
    if not pattern.startswith("*."):
        return pattern == host
    wanted, labels = pattern[2:].split("."), host.split(".")
    return len(labels) > len(wanted) and labels[-len(wanted):] == wanted


@given(LISTENER, st.lists(PATTERN, max_size=3), HOST)
def test_common_hosts_are_those_that_both_take(listener, wanted, host):
    both = takes(listener, host) and (not wanted or any(takes(w, host) for w in wanted))
    assert any(takes(c, host) for c in hosts.common(listener, tuple(wanted))) == both


@given(st.lists(LISTENER, unique=True, max_size=5), HOST)
def test_the_owner_is_the_most_specific_that_takes_it(listeners, host):
    found = [x for x in listeners if takes(x, host)]
    best = max(found, key=lambda x: (x == host, len(x))) if found else None
    assert hosts.owner(host, listeners) == best


@given(LISTENER, LISTENER, HOST)
def test_to_cover_is_to_take_all_that_the_other_takes(one, other, host):
    if hosts.covers(one, other) and takes(other, host):
        assert takes(one, host)
