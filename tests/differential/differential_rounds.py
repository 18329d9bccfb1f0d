"""Rounds of the differential test: manifests that replace each other, and requests under each."""

import os
import random

import differential_destination as destination
import differential_policies as policies
import differential_requests as requests
import differential_routes as routes
import differential_virtual as virtual

SEED = os.environ.get("SEED", "4")
ROUNDS, EACH = int(os.environ.get("ROUNDS", "40")), 60
SERVICE = {"group": "", "kind": "Service"}


def manifests(number, addresses):
    """The objects of a round. Their names are new in each, and `round-N` is a Service that says it is there."""
    rng = random.Random(f"{SEED} manifests {number}")
    shop = {**SERVICE, "name": "shop", "namespace": "alpha"}
    found = [
        routes.http_route(rng, f"r{number}-shop", {**shop, **({"port": 80} if rng.random() < 0.5 else {})}),
        routes.grpc_route(rng, f"r{number}-calls", {**SERVICE, "name": "calls"}),
        routes.http_route(
            rng, f"r{number}-door", {"name": "door"}, hostnames=rng.sample(routes.GATEWAY_HOSTS, rng.randint(0, 3))
        ),
        *_virtual(rng, number),
        marker(number),
    ]  # fmt: skip
    if rng.random() < 0.3:
        found.append(routes.http_route(rng, f"r{number}-more", {**shop, "port": 80}))
    if rng.random() < 0.3:
        found.append(routes.http_route(rng, f"r{number}-own", shop, namespace="beta"))
    if rng.random() < 0.5:
        host, parent = [rng.choice(routes.GATEWAY_HOSTS)], {"name": "door", "sectionName": "any"}
        found.append(routes.http_route(rng, f"r{number}-door-2", parent, hostnames=host))
    hosts = rng.sample(routes.GATEWAY_HOSTS, rng.randint(0, 3))
    section = {"sectionName": rng.choice(("one", "any", "test"))} if rng.random() < 0.3 else {}
    found.append(routes.http_route(rng, f"r{number}-safe", {"name": "safe", **section}, hostnames=hosts))
    if rng.random() < 0.6:
        found.append(_grant(number))
    for i in range(rng.choice((0, 2, 3, 4, 5))):
        found.append(destination.destination_rule(rng, f"d{number}-{i}"))
    for i in range(rng.choice((0, 1, 2, 3, 4, 5))):
        found.append(policies.policy(rng, f"p{number}-{i}", _blocks(addresses)))
    if number % 2:
        found.append(policies.misspelt(rng, number // 2, _blocks(addresses)))
    return found


def _virtual(rng, number):
    delegate = f"v{number}-delegate" if rng.random() < 0.4 else None
    hosts = [rng.choice(("virtual", "virtual.alpha.svc.cluster.local"))]
    found = [virtual.virtual_service(rng, f"v{number}-all", hosts, delegate=delegate)]
    if delegate:
        found.append(virtual.virtual_service(rng, delegate, ()))
    if rng.random() < 0.3:
        found.append(virtual.virtual_service(
            rng, f"v{number}-own", ["virtual.alpha.svc.cluster.local"], namespace="beta", export=["."]
        ))
    if rng.random() < 0.3:
        wild = ["*.alpha.svc.cluster.local"]
        found.append(virtual.virtual_service(rng, f"v{number}-wild", wild, namespace="beta", export=["beta"]))
    if rng.random() < 0.7:
        names = rng.sample(routes.GATEWAY_HOSTS, rng.randint(1, 2))
        found.append(virtual.virtual_service(rng, f"v{number}-door", names, gateways=[rng.choice(("door", "safe"))]))
    return found


def marker(number):
    """The Service that says that a round is there."""
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": f"round-{number}", "namespace": "alpha"},
        "spec": {"clusterIP": "None", "selector": {"app": "nobody"}, "ports": [{"port": 1}]},
    }  # fmt: skip


def _blocks(addresses):
    return ("10.244.0.0/16", "203.0.113.0/24", "no address", "10.1.2.3", *addresses.values())


def _grant(number):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": {"name": f"r{number}-grant", "namespace": "beta"},
        "spec": {
            "from": [
                {"group": "gateway.networking.k8s.io", "kind": kind, "namespace": "alpha"}
                for kind in ("HTTPRoute", "GRPCRoute")
            ],
            "to": [{"group": "", "kind": "Service"}],
        },
    }  # fmt: skip


def asked(number, addresses):
    """The requests of a round; `addresses` by pod name."""
    rng = random.Random(f"{SEED} requests {number}")
    servers = [addresses[name] for name in ("one", "two", "three")]
    return [requests.request(rng, servers) for _ in range(EACH)]
