"""Rotation as a machine: whatever happens in whatever order, everybody trusts everybody all the time."""

import datetime

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retic.identity import authority, certificate, holdings, rotation
from retic.identity.rotation import Candidate, Phase

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
T0 = int(NOW.timestamp())
LIFE, SLACK = 600, rotation.SLACK
ROOTS = [authority.self_signed("cluster.local", certificate.new_key(), NOW) for _ in range(4)]
PEM = [root.public_bytes(certificate.serialization.Encoding.PEM) for root in ROOTS]
WANTED = [Candidate(rotation.fingerprint(pem), pem) for pem in PEM]


def test_one_rotation_from_end_to_end():
    old, new = WANTED[:2]
    state = rotation.start(old, T0, LIFE)
    assert (state.phase, state.signer, state.bundle, state.serial) == (Phase.STEADY, old.signer, PEM[0], T0)
    assert rotation.step(state, old, T0 + 5, ["node/a"]) is state, "nothing to do"

    spreading = rotation.step(state, new, T0 + 10, [])
    assert (spreading.phase, spreading.signer, spreading.next) == (Phase.SPREADING, old.signer, new.signer)
    assert spreading.bundle == PEM[0] + PEM[1]
    assert spreading.serial > state.serial
    assert rotation.step(spreading, new, T0 + 10**6, ["node/a"]) is spreading, "as long as one is missing"

    retiring = rotation.step(spreading, new, T0 + 20, [])
    assert (retiring.phase, retiring.signer, retiring.next) == (Phase.RETIRING, new.signer, "")
    assert retiring.bundle == spreading.bundle
    assert retiring.until == T0 + 20 + LIFE + SLACK
    assert rotation.step(retiring, new, retiring.until - 1, []) is retiring

    done = rotation.step(retiring, new, retiring.until, ["node/a"])
    assert (done.phase, done.signer, done.bundle) == (Phase.STEADY, new.signer, PEM[1])
    assert done.serial > retiring.serial > spreading.serial


def test_the_old_root_goes_soon_when_all_certificates_are_replaced():
    state = rotation.start(WANTED[0], T0, LIFE)
    spreading = rotation.step(state, WANTED[1], T0, [], reissued=True)
    retiring = rotation.step(spreading, WANTED[1], T0 + 1, [], reissued=True)
    assert retiring.until == T0 + 1 + LIFE + SLACK
    soon = rotation.step(retiring, WANTED[1], T0 + 2, [], reissued=True)
    assert (soon.phase, soon.until) == (Phase.RETIRING, T0 + 2 + rotation.SOON)
    assert soon.serial > retiring.serial
    assert rotation.step(soon, WANTED[1], T0 + 3, [], reissued=True) is soon, "handshakes that have begun may end"
    assert rotation.step(soon, WANTED[1], soon.until, []).phase is Phase.STEADY


def test_a_renewed_intermediate_under_the_same_root_takes_no_time():
    state = rotation.start(Candidate("a", PEM[0]), T0, LIFE)
    wanted = Candidate("b", PEM[0])
    state = rotation.step(state, wanted, T0, [])
    assert state.bundle == PEM[0], "whoever went by the bundle still does"
    assert rotation.step(state, wanted, T0, []).signer == "b"


def test_a_third_root_before_the_second_has_settled():
    state = rotation.start(WANTED[0], T0, LIFE)
    state = rotation.step(state, WANTED[1], T0, [])
    again = rotation.step(state, WANTED[2], T0 + 1, [])
    assert (again.phase, again.signer, again.next) == (Phase.SPREADING, WANTED[0].signer, WANTED[2].signer)
    assert again.bundle == PEM[0] + PEM[1] + PEM[2]
    retiring = rotation.step(rotation.step(state, WANTED[1], T0 + 1, []), WANTED[1], T0 + 1, [])
    back = rotation.step(retiring, WANTED[0], T0 + 2, [])
    assert (back.phase, back.signer, back.bundle) == (Phase.SPREADING, WANTED[1].signer, PEM[0] + PEM[1])


def test_a_longer_life_of_certificates_is_waited_for():
    state = rotation.lived(rotation.start(WANTED[0], T0, 60), LIFE)
    assert state.longest == LIFE
    assert rotation.lived(state, 60) is state, "those of before are still there"
    state = rotation.step(rotation.step(state, WANTED[1], T0, []), WANTED[1], T0, [])
    assert rotation.lived(state, LIFE + 100).until == state.until + 100


def test_bundles_without_repeats():
    assert rotation.union(PEM[0] + PEM[1], PEM[1], PEM[2] + PEM[0]) == PEM[0] + PEM[1] + PEM[2]
    with pytest.raises(ValueError):
        rotation.union(b"nothing")


class Agent:
    """A proxy: the bundle it goes by, and its leaf: who signed it, and until when it holds."""

    def __init__(self, state, root):
        self.bundle, self.serial, self.issuer, self.ends = state.bundle, state.serial, root, 0
        self.says = holdings.digest(state.bundle)


class Replica:
    """A control plane and the state that it has seen last."""

    def __init__(self, state, now):
        self.state, self.seen = state, now


@settings(max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
class Rotations(RuleBasedStateMachine):
    """Two control planes that see the state late, agents that go, come and renew when they like."""

    @initialize()
    def begin(self):
        self.now, self.wanted = T0, 0
        self.state = rotation.start(WANTED[0], self.now, LIFE)
        self.replicas = [Replica(self.state, self.now), Replica(self.state, self.now)]
        self.agents = [Agent(self.state, WANTED[0].signer) for _ in range(2)]
        for agent in self.agents:
            agent.ends = self.now + LIFE

    @rule(seconds=st.sampled_from([1, 29, 45, LIFE // 2, LIFE]))
    def pass_time(self, seconds):
        # A control plane that has lost the API server stays where it is; others see it within half the slack.
        self.now += seconds

    @rule()
    @precondition(lambda self: self.state.phase is Phase.RETIRING)
    def pass_the_time_of_the_old_root(self):
        self.now = max(self.now, self.state.until)

    @rule(only=st.sampled_from([(0,), (0, 1)]))
    def everybody_learns(self, only):
        """A quiet while, in which one of the control planes may not reach the API server."""
        for which in only:
            self.see(which)
        for agent in range(len(self.agents)):
            self.learn(agent, 0)

    @rule(which=st.integers(0, 1))
    def see(self, which):
        self.replicas[which] = Replica(self.state, self.now)

    @rule(which=st.integers(0, 3))
    @precondition(lambda self: self.state.phase is Phase.STEADY)
    def want(self, which):
        self.wanted = which

    @rule(which=st.integers(0, 3))
    def want_another_in_between(self, which):
        self.wanted = which

    @rule(tells=st.booleans())
    def step(self, tells):
        """`tells`: the control plane hears from everybody whose certificates they have."""
        wanted = holdings.digest(self.state.bundle)
        missing = [str(i) for i, agent in enumerate(self.agents) if agent.says != wanted]
        reissued = tells and all(agent.issuer == self.state.signer for agent in self.agents)
        self.state = rotation.step(self.state, WANTED[self.wanted], self.now, missing, reissued=reissued)

    @rule(agent=st.integers(0, 1), which=st.integers(0, 1))
    def learn(self, agent, which):
        """The stream Roots, of whichever control plane."""
        seen, one = self.replicas[which].state, self.agents[agent]
        if seen.serial < one.serial:
            return
        one.bundle, one.serial = seen.bundle, seen.serial
        one.says = holdings.digest(one.bundle)

    @rule(agent=st.integers(0, 1), which=st.integers(0, 1))
    def renew(self, agent, which):
        """Sign, of whichever control plane."""
        replica, one = self.replicas[which], self.agents[agent]
        if replica.state.phase is Phase.SPREADING and self.now > replica.seen + SLACK / 2:
            return  # StaleError
        if replica.state.serial < one.serial:
            return  # BehindError
        self.learn(agent, which)
        one.issuer, one.ends = replica.state.signer, self.now + LIFE

    @rule(agent=st.integers(0, 1), which=st.integers(0, 1))
    def come_anew(self, agent, which):
        """A new node. It begins with the ConfigMap, and counts from the moment it is there."""
        del which
        self.agents[agent] = Agent(self.state, self.state.signer)
        self.agents[agent].ends = self.now + LIFE

    @invariant()
    def everybody_trusts_everybody(self):
        by_signer = {each.signer: each.roots for each in WANTED}
        for one in self.agents:
            if one.ends <= self.now:
                continue  # it has no certificate to show
            for other in self.agents:
                assert by_signer[one.issuer] in other.bundle, (one.issuer, self.state)

    @invariant()
    def the_bundle_has_no_more_than_it_needs(self):
        if self.state.phase is Phase.STEADY:
            assert self.state.bundle.count(b"BEGIN") == 1


TestRotations = Rotations.TestCase
