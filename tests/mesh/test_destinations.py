"""Which DestinationRule holds, what it comes to at a port, and in which order endpoints are called."""

import itertools

import msgspec
import pytest
import yaml

from retic import findings, wiring
from retic.envoy import names, resources
from retic.mesh import destination, destination_localities, destinations, network, services, tables
from retic.objects import discovery, meta
from retic.sources import manifest_file

BASE = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, name: http}, {port: 90, name: tcp}]}
"""
CART = "cart.shop.svc.cluster.local"
ROBIN, RANDOM = {"loadBalancer": {"simple": "ROUND_ROBIN"}}, {"loadBalancer": {"simple": "RANDOM"}}


def rule(name, namespace="shop", host=CART, policy=ROBIN, created=None, **spec):
    metadata = {"name": name, "namespace": namespace, **({"creationTimestamp": created} if created else {})}
    body = {"host": host, **({"trafficPolicy": policy} if policy else {}), **spec}
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata, "spec": body}


def mesh(*values):
    text = "\n---\n".join([BASE, *(yaml.safe_dump(value) for value in values)])
    entries = list(manifest_file.parse("mesh.yaml", text.encode()))
    assert not [found for entry in entries for found in entry.found]
    return wiring.offline([entry.located.object for entry in entries], network.Settings())


def held(db, client):
    found = db.ask(destinations.held, destinations.Called(client, tables.Key("shop", "cart")))
    return [f"{ref.namespace}/{ref.name}" for ref in found.origins] if found else None


def policy(db, client="web", port=80, subset=""):
    where = services.PortKey("shop", "cart", port)
    return db.ask(destinations.policy, destinations.View(client, where, subset))


def algorithm(db, **more):
    found = policy(db, **more)
    return found.balancer.algorithm.value if found and found.balancer else None


def test_the_callers_namespace_goes_before_the_services_and_that_before_the_meshs():
    rules = [rule("r", "web"), rule("r", "shop"), rule("r", "retic-system")]
    for left in itertools.product([True, False], repeat=3):
        there = [one for one, kept in zip(rules, left, strict=True) if kept]
        wanted = [f"{one['metadata']['namespace']}/r" for one in there[:1]] or None
        assert held(mesh(*there), "web") == wanted


def test_callers_of_the_meshs_namespace_take_its_rules_last_unless_they_are_theirs_alone():
    assert held(mesh(rule("r", "retic-system"), rule("r", "shop")), "retic-system") == ["shop/r"]
    own = rule("r", "retic-system", exportTo=["."])
    assert held(mesh(own, rule("r", "shop")), "retic-system") == ["retic-system/r"]
    assert held(mesh(own), "web") is None


@pytest.mark.parametrize(
    ("exported", "callers"),
    [
        ([], "web shop other"), (["*"], "web shop other"), (["."], "shop"), (["web"], "web shop"),
        ([".", "web"], "web shop"),
    ],
)  # fmt: skip
def test_a_rule_is_seen_where_it_is_exported_to(exported, callers):
    db = mesh(rule("r", exportTo=exported))
    assert [client for client in ("web", "shop", "other") if held(db, client)] == callers.split()


@pytest.mark.parametrize(
    ("host", "namespace", "meant"),
    [
        (CART, "web", True), ("cart", "shop", True), ("cart", "web", False), ("cart.shop", "shop", False),
        ("*", "shop", True), ("*.local", "shop", True), ("*.shop.svc.cluster.local", "web", True),
        ("*.web.svc.cluster.local", "web", False), ("*.svc.cluster.local", "web", True),
    ],
)  # fmt: skip
def test_hosts_are_names_of_services_and_ends_of_them(host, namespace, meant):
    assert (held(mesh(rule("r", namespace, host)), namespace) is not None) is meant


def test_the_most_specific_host_of_a_namespace_counts():
    db = mesh(rule("a", host="*"), rule("b", host="*.shop.svc.cluster.local"), rule("c", host="*.svc.cluster.local"))
    assert held(db, "web") == ["shop/b"]
    db = mesh(rule("a", host="*"), rule("z", host="cart"), rule("b", host="*.shop.svc.cluster.local"))
    assert held(db, "web") == ["shop/z"]
    # What is for others only does not hide a less specific one.
    db = mesh(rule("a", host="*"), rule("z", host="cart", exportTo=["."]))
    assert held(db, "web") == ["shop/a"]


def test_rules_of_one_host_are_one_with_the_oldest_policy_and_all_subsets():
    v1, v2 = {"name": "v1", "labels": {"v": "1"}}, {"name": "v2", "labels": {"v": "2"}}
    db = mesh(
        rule("a", host="cart", policy=RANDOM, created="2026-02-02T00:00:00Z", subsets=[v2, {**v1, "labels": {}}]),
        rule("b", policy=None, created="2026-01-01T00:00:00Z", subsets=[v1]),
        rule("c", policy=ROBIN, created="2026-03-03T00:00:00Z"),
    )
    found = db.ask(destinations.held, destinations.Called("web", tables.Key("shop", "cart")))
    assert [ref.name for ref in found.origins] == ["b", "a", "c"]
    assert (found.policy.name, algorithm(db)) == ("a", "random")
    assert {s.name: dict(s.labels) for s in found.subsets} == {"v1": {"v": "1"}, "v2": {"v": "2"}}


def test_what_a_port_says_replaces_all_and_a_subset_what_it_says_itself():
    pool = {"connectionPool": {"tcp": {"maxConnections": 5}}}
    top = {**ROBIN, **pool, "portLevelSettings": [{"port": {"number": 90}, **RANDOM}]}
    own = {**RANDOM, "portLevelSettings": [{"port": {"number": 90}, **pool}]}
    db = mesh(rule("r", policy=top, subsets=[{"name": "v1", "trafficPolicy": own}, {"name": "v2"}]))
    assert (algorithm(db), policy(db).pool.connections) == ("round robin", 5)
    assert (algorithm(db, port=90), policy(db, port=90).pool) == ("random", None)
    assert (algorithm(db, subset="v1"), policy(db, subset="v1").pool.connections) == ("random", 5)
    alone = policy(db, port=90, subset="v1")
    assert (alone.balancer, alone.pool.connections) == (None, 5)
    assert (algorithm(db, subset="v2"), algorithm(db, port=90, subset="v2")) == ("round robin", "random")
    assert policy(db, subset="v3") is None
    assert policy(mesh()) == destination.Policy()
    assert policy(mesh(), subset="v1") is None


def test_a_rule_for_some_pods_of_its_callers_holds_for_nobody():
    db = mesh(rule("a", workloadSelector={"matchLabels": {"app": "x"}}), rule("b", host="*"))
    assert held(db, "web") == ["shop/b"]
    assert held(mesh(rule("a", workloadSelector={})), "web") == ["shop/a"]


def test_a_cluster_leads_back_to_the_rule_that_holds():
    db = mesh(rule("a", host="cart"), rule("b", host="*", namespace="retic-system"))
    name = "vip/web/10.96.0.1:80"
    read = db.inputs(resources.resource, resources.Key(names.CLUSTER, name))
    assert tables.Key("shop", "a") in {row.key for row in read if row.table == "destinationrules"}


def test_a_pod_that_becomes_ready_touches_no_cluster_of_a_rule():
    db = mesh(rule("a", policy={"loadBalancer": {"localityLbSetting": {"enabled": False}}}))
    watches = [
        db.watch(resources.resource, resources.Key(names.TYPE_URL[kind], name))
        for kind, name in (
            (names.Kind.VIRTUAL, "vip/web/10.96.0.1:80"), (names.Kind.VIEW, names.view("web", "shop", "cart", 80)),
        )
    ]  # fmt: skip
    before, counted = [watch.latest for watch in watches], db.counters
    piece = discovery.EndpointSlice(
        metadata=meta.Metadata(name="x", namespace="shop", labels={tables.SERVICE_LABEL: "cart"}), address_type="IPv4",
        endpoints=(discovery.Endpoint(("192.0.2.1",)),), ports=(discovery.EndpointPort(name="http", port=8080),),
    )
    db.commit(tables.changes(findings.Ref("EndpointSlice", "shop", "x"), piece))
    here = [watch.latest for watch in watches]
    db.commit(tables.changes(
        findings.Ref("EndpointSlice", "shop", "x"), msgspec.structs.replace(piece, endpoints=(
            discovery.Endpoint(("192.0.2.1",), discovery.EndpointConditions(ready=False)),
        ))
    ))  # fmt: skip
    assert (watches[0].latest, watches[1].latest) == (here[0], before[1])
    assert (db.counters - counted).run < 30
    for watch in watches:
        watch.close()


PLACES = {"a": ("r1", "z1"), "b": ("r1", "z2"), "c": ("r2", "z3"), "d": ("r3", "z4"), "e": ("", "")}


def groups(said, caller=("r1", "z1"), places=PLACES, labels=None):
    """Priority and weight of each endpoint, by name."""
    setting, wrong = destination_localities.of(said)
    assert wrong == []
    placed = [
        destination_localities.Placed(
            destinations.service.Endpoint(name, 80, zone, "", "", secured=True),
            destination.Locality(region, zone), (labels or {}).get(name, {}),
        )
        for name, (region, zone) in places.items()
    ]  # fmt: skip
    made = destination_localities.grouped(setting, destination.Locality(*caller), placed)
    assert {g.priority for g in made} == set(range(len({g.priority for g in made})))
    return {e.address: (g.priority, g.weight) for g in made for e in g.endpoints}


def setting(**said):
    return destinations.objects.LocalitySetting(**said)


def priorities(said, **more):
    return {name: priority for name, (priority, _) in groups(said, **more).items()}


def test_zones_go_in_the_order_that_is_asked_for():
    assert priorities(setting()) == {"a": 0, "b": 1, "c": 1, "d": 1, "e": 0}
    assert set(priorities(setting(enabled=False)).values()) == {0}
    assert priorities(setting(enabled=True)) == {"a": 0, "b": 1, "c": 2, "d": 2, "e": 2}
    failover = (destinations.objects.Failover("r1", "r3"),)
    assert priorities(setting(failover=failover)) == {"a": 0, "b": 1, "d": 2, "c": 3, "e": 3}
    without = {name: place for name, place in PLACES.items() if name not in "ab"}
    assert priorities(setting(failover=failover), places=without) == {"d": 0, "c": 1, "e": 1}


def test_labels_go_in_their_order():
    region, zone = destination_localities.REGION, destination_localities.ZONE
    assert priorities(setting(failover_priority=(region, zone))) == {"a": 0, "b": 1, "c": 2, "d": 2, "e": 2}
    labels = {"c": {"tier": "gold"}, "b": {"tier": "gold"}, "a": {"tier": "tin"}}
    found = priorities(setting(failover_priority=("tier=gold", zone)), labels=labels)
    assert found == {"b": 0, "c": 0, "a": 1, "d": 1, "e": 1}


def test_shares_are_parted_by_numbers_and_go_to_the_narrowest_pattern():
    share = destinations.objects.Distribute("r1/*", {"r1/z1": 60, "r1/*": 30, "r2/z3/*": 10})
    places = {**PLACES, "a2": ("r1", "z1"), "b2": ("r1", "z5")}
    found = groups(setting(distribute=(share,)), places=places)
    assert found == {
        "a": (0, 60_000), "a2": (0, 60_000), "b": (0, 15_000), "b2": (0, 15_000), "c": (0, 10_000),
    }  # fmt: skip
    # Callers of whom nothing is said call their own zone first.
    assert priorities(setting(distribute=(share,)), caller=("r2", "z3"))["c"] == 0
    assert priorities(setting(distribute=(share,)), caller=("r2", "z3"))["a"] == 1
