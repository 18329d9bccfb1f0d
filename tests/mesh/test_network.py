"""Prefixes cover a network exactly; unfit endpoints are refused."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retic.mesh import network


@given(st.integers(8, 32), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_prefixes_match_exactly_the_addresses_of_the_network(bits, base, probe):
    net = ipaddress.IPv4Network((base, bits), strict=False)
    prefixes = network.octet_prefixes(str(net))
    assert 1 <= len(prefixes) <= 256
    inside = ipaddress.IPv4Address(int(net.network_address) + probe % net.num_addresses)
    for address in (inside, ipaddress.IPv4Address(probe)):
        matched = any(
            str(address) == p or (p.endswith(".") and str(address).startswith(p)) for p in prefixes
        )
        assert matched == (address in net)


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("127.0.0.1", 80), ("127.9.9.9", 80), ("::1", 80), ("0.0.0.0", 80), ("::", 80), ("169.254.1.1", 80),
        ("fe80::1", 80), ("224.0.0.1", 80), ("255.255.255.255", 80), ("10.1.1.1", 15001),
        ("10.1.1.1", 15002), ("10.1.1.1", 15006), ("10.1.1.1", 15101), ("10.1.1.1", 15106), ("localhost", 80), ("", 80),
    ],
)  # fmt: skip
def test_unfit(address, port):
    assert network.unfit(address, port)


def test_fit():
    assert network.unfit("10.244.1.2", 8080) is None
