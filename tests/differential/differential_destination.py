"""Makes DestinationRules whose subsets VirtualServices name: of Services alone and of many, of the callers' namespace,
the Service's and the mesh's own, for some to see and for all."""

SUBSETS = ("v1", "v2", "v3")
"""What may be made. Destinations also name one that nobody makes."""
NAMED = (*SUBSETS, "v9")

LABELS = ({}, {"app": "one"}, {"app": "two"}, {"app": "three"}, {"tier": "back"}, {"app": "nobody"})
HOSTS = {
    "alpha": (
        "one", "two", "virtual", "one.alpha.svc.cluster.local", "two.alpha.svc.cluster.local", "empty", "missing",
        "*.alpha.svc.cluster.local", "*.svc.cluster.local", "*",
    ),
    "beta": (
        "three", "three.beta.svc.cluster.local", "one.alpha.svc.cluster.local", "two.alpha.svc.cluster.local",
        "virtual.alpha.svc.cluster.local", "*.beta.svc.cluster.local", "*.local", "one",
    ),
    "retic-system": ("*", "*.local", "one.alpha.svc.cluster.local", "three.beta.svc.cluster.local"),
}  # fmt: skip
EXPORTS = ([], [], [], ["*"], ["."], ["alpha"], ["beta", "."], ["none"])
# None of these changes which pods a request may come to.
BALANCERS = (
    {"simple": "ROUND_ROBIN"}, {"simple": "RANDOM"}, {"simple": "LEAST_REQUEST"},
    {"consistentHash": {"httpHeaderName": "x-one"}}, {"consistentHash": {"useSourceIp": True, "maglev": {}}},
    {"simple": "ROUND_ROBIN", "localityLbSetting": {"enabled": False}},
)  # fmt: skip


def destination_rule(rng, name):
    """One rule."""
    namespace = rng.choice(("alpha", "alpha", "alpha", "beta", "retic-system"))
    spec = {"host": rng.choice(HOSTS[namespace])}
    if rng.random() < 0.3:
        spec["trafficPolicy"] = _policy(rng)
    if rng.random() < 0.9:
        names = rng.sample(SUBSETS, rng.choice((1, 2, 2, 3)))
        spec["subsets"] = [_subset(rng, each) for each in names]
    if export := rng.choice(EXPORTS):
        spec["exportTo"] = export
    if rng.random() < 0.08:  # for some callers' pods only, which is not carried out
        spec["workloadSelector"] = {"matchLabels": {"app": "a"}}
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }  # fmt: skip


def _subset(rng, name):
    subset = {"name": name}
    if labels := rng.choice(LABELS):
        subset["labels"] = labels
    if rng.random() < 0.3:
        subset["trafficPolicy"] = _policy(rng)
    return subset


def _policy(rng):
    policy = {"loadBalancer": rng.choice(BALANCERS)}
    if rng.random() < 0.2:
        policy["tls"] = {"mode": "ISTIO_MUTUAL"}
    if rng.random() < 0.3:
        port = {"port": {"number": rng.choice((80, 81))}, "loadBalancer": rng.choice(BALANCERS)}
        policy["portLevelSettings"] = [port]
    return policy
