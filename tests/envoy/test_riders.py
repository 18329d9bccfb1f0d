"""Everything that rides along upstream separates connection pools, or identities leak."""

from retic.envoy import riders

# Part of TransportSocketOptions' own hash, not of filter state.
BY_ENVOY = {"envoy.network.application_protocols"}


def test_every_upstream_rider_is_hashable():
    for rider in riders.Rider:
        assert not rider.upstream or rider.factory in riders.HASHABLE | BY_ENVOY, rider
