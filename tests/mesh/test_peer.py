"""Which mode a port has: against a naive oracle, and while a change is on its way."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from retic import findings, graph, wiring
from retic.mesh import network, peer, peers, tables
from retic.objects import meta, pods, security

ROOT = "retic-system"
MODES = [None, "UNSET", "DISABLE", "PERMISSIVE", "STRICT"]
LABELS = [{}, {"app": "a"}, {"app": "b"}, {"app": "a", "tier": "x"}]
NUMBERS = [80, 8080, 9090]

mutual = st.one_of(
    st.none(), st.sampled_from(MODES).map(security.MutualTLS), st.just(security.MutualTLS(unread=("mod",)))
)
BAD = ("x", "0", "70000")


@st.composite
def policies(draw, namespace=None):
    labels = draw(st.sampled_from([None, *LABELS]))
    unread = draw(st.sampled_from([(), (), ("ports",), ("portLevelMtls",)]))
    wrong = draw(st.sampled_from([(), (), (), ("matchLabel",)]))
    ports = draw(st.dictionaries(st.sampled_from(["80", "8080", *BAD]), mutual.filter(bool), max_size=3))
    spec = security.PeerAuthenticationSpec(
        selector=None if labels is None else security.WorkloadSelector(match_labels=labels, unread=wrong),
        mtls=draw(mutual),
        port_level_mtls=ports,
        unread=unread,
    )
    created = draw(st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]))
    where = namespace or draw(st.sampled_from(["shop", ROOT, "other"]))
    name = draw(st.sampled_from(["a", "b", "c"]))
    metadata = meta.Metadata(name=name, namespace=where, creation_timestamp=created)
    return security.PeerAuthentication(metadata=metadata, spec=spec)


def said(mutual_tls):
    if mutual_tls is not None and mutual_tls.unread:
        return "STRICT"
    return None if mutual_tls is None or mutual_tls.mode in (None, "UNSET") else mutual_tls.mode


def naive(default, given_policies, namespace, labels, port):
    """By the words of Istio's reference, one question after the other; what cannot be read is STRICT."""
    ordered = sorted(
        given_policies,
        key=lambda p: (p.metadata.creation_timestamp or "", p.metadata.namespace, p.metadata.name),
    )

    def selector(policy):
        return dict(policy.spec.selector.match_labels) if policy.spec.selector else {}

    def first(where, chosen):
        return next((p for p in ordered if p.metadata.namespace == where and chosen(p)), None)

    def stray(policy):
        whom = policy.spec.selector
        return bool(whom.unread) if whom is not None else "ports" in policy.spec.unread

    if first(ROOT, stray) or first(namespace, stray):
        return "STRICT"
    workload = None
    if namespace != ROOT:
        workload = first(namespace, lambda p: selector(p) and selector(p).items() <= labels.items())
    if workload and (workload.spec.unread or set(BAD) & set(workload.spec.port_level_mtls)):
        return "STRICT"
    if workload and (mode := said(workload.spec.port_level_mtls.get(str(port)))):
        return mode
    for policy in (workload, first(namespace, lambda p: not selector(p)), first(ROOT, lambda p: not selector(p))):
        if policy and policy.spec.unread:
            return "STRICT"
        if policy and (mode := said(policy.spec.mtls)):
            return mode
    return default


def pod(name, namespace, labels):
    metadata = meta.Metadata(name=name, namespace=namespace, uid=f"{namespace}-{name}", labels=labels)
    return pods.Pod(metadata=metadata, spec=pods.PodSpec(containers=(), node_name="node-1"))


def unique(values):
    return list({(v.metadata.namespace, v.metadata.name): v for v in values}.values())


@given(st.lists(policies(), max_size=7).map(unique), st.sampled_from(["STRICT", "PERMISSIVE"]))
def test_narrower_wins_and_the_oldest_of_several(given_policies, default):
    everybody = [pod(f"p{i}", ns, labels) for ns in ("shop", ROOT) for i, labels in enumerate(LABELS)]
    db = wiring.offline([*given_policies, *everybody], network.Settings(mode=default))
    for one in everybody:
        key = tables.Key(one.metadata.namespace, one.metadata.name)
        modes, taken = db.ask(peers.modes, key), db.ask(peers.taken, key)
        for port in NUMBERS:
            wanted = naive(default, given_policies, key.namespace, one.metadata.labels, port)
            assert modes.at(port).mode == wanted
            assert taken.at(port) == peer.Terms(
                mtls=wanted != "DISABLE", plaintext=wanted != "STRICT", secured=wanted != "DISABLE"
            )


def test_who_decided_is_known():
    wide = security.PeerAuthentication(
        metadata=meta.Metadata(name="default", namespace=ROOT),
        spec=security.PeerAuthenticationSpec(mtls=security.MutualTLS("PERMISSIVE")),
    )
    db = wiring.offline([wide, pod("p", "shop", {})])
    found = db.ask(peers.modes, tables.Key("shop", "p"))
    assert found.whole == peer.Decided(
        peer.Mode.PERMISSIVE, findings.Ref("PeerAuthentication", ROOT, "default")
    )
    assert wiring.offline([pod("p", "shop", {})]).ask(peers.modes, tables.Key("shop", "p")).whole.origin is None


MODE = st.sampled_from(list(peer.Mode))


@given(MODE, MODE, st.lists(MODE, max_size=3))
def test_whoever_goes_by_any_of_the_modes_is_taken(now, told, before):
    """While callers change over; STRICT and PERMISSIVE are the same to callers, and change at once."""
    terms = peer.terms(now, told, before)
    secured = {one is not peer.Mode.DISABLE for one in (now, told, *before)}
    assert terms.secured == (told is not peer.Mode.DISABLE)
    assert (terms.mtls or True not in secured)
    assert (terms.plaintext or False not in secured)
    if len(secured) == 1:
        assert terms == peer.terms(now, now)


def test_each_step_of_a_change_takes_what_callers_of_the_step_before_do():
    """Of two steps in a row, what callers are told in one is taken in the other: no proxy need hear of it first."""
    for old, new in itertools.product(peer.Mode, repeat=2):
        steps = [peer.terms(old, old), peer.terms(new, old, [old]), peer.terms(new, new, [old]), peer.terms(new, new)]
        for one, other in (*itertools.pairwise(steps), *((b, a) for a, b in itertools.pairwise(steps))):
            assert other.mtls if one.secured else other.plaintext, (old, new, steps)


def set_policy(db, mode, former=None):
    key = tables.Key("shop", "all")
    value = security.PeerAuthentication(
        metadata=meta.Metadata(name="all", namespace="shop"),
        spec=security.PeerAuthenticationSpec(mtls=security.MutualTLS(mode)),
    )
    rows = tables.changes(findings.Ref("PeerAuthentication", "shop", "all"), value if mode else None)
    rows.append(graph.Set(tables.FORMER, key, former) if former else graph.Delete(tables.FORMER, key))
    db.commit(rows)
    return value


def test_a_change_on_its_way():
    db = wiring.offline([pod("p", "shop", {})])
    key = tables.Key("shop", "p")
    strict = peer.Terms(mtls=True, plaintext=False, secured=True)
    assert db.ask(peers.taken, key).whole == strict
    set_policy(db, "DISABLE", tables.Former((None,), is_told=True))
    assert db.ask(peers.taken, key).whole == peer.Terms(mtls=True, plaintext=True, secured=True)
    assert db.ask(peers.modes, key).whole.mode == "DISABLE", "what is decided is said at once"
    old = set_policy(db, "DISABLE", tables.Former((None,), is_told=False))
    assert db.ask(peers.taken, key).whole == peer.Terms(mtls=True, plaintext=True, secured=False)
    set_policy(db, "DISABLE")
    assert db.ask(peers.taken, key).whole == peer.Terms(mtls=False, plaintext=True, secured=False)
    set_policy(db, None, tables.Former((old,), is_told=True))
    assert db.ask(peers.taken, key).whole == peer.Terms(mtls=True, plaintext=True, secured=False)
    set_policy(db, None)
    assert db.ask(peers.taken, key).whole == strict
