"""Makes AuthorizationPolicies of every kind, from few values, so that they often match. `addresses` are the mesh's."""


import differential_routes as routes

NAMESPACES = ("alpha", "beta", "retic-system")
ACTIONS = ("ALLOW", "ALLOW", "DENY", "DENY", "AUDIT")
ACCOUNTS = ("a", "b", "alpha/a", "alpha/b", "beta/c", "alpha/*")
PRINCIPALS = (
    "cluster.local/ns/alpha/sa/a", "cluster.local/ns/beta/sa/c", "*", "cluster.local/ns/alpha/*", "*/sa/b",
    "spiffe://cluster.local/ns/alpha/sa/b", "other.test/ns/alpha/sa/a", "alpha/a",
)  # fmt: skip
SPACES = ("alpha", "beta", "*", "al*", "*ta", "none")
HOSTS = (
    "shop", "one.example.com", "*.example.com", "one.*", "*", "EXAMPLE.com", "two.test", "shop.alpha", "shop:81",
    "10.*",
)  # fmt: skip
PORTS = ("80", "8080", "8081", "8082", "18541", "http", "99999")
METHODS = ("GET", "POST", "*", "P*", "*T", "get")
PATHS = (
    "/a", "/a/*", "*/b", "*", "/a/{*}", "/a/{**}", "/{*}/b", "/pkg.Svc/*", "/a/b", "/x(y)", "/{bad", "/a%2Fb", "/b*",
    "/a%20b", "/new*", "/*", "/*",
)  # fmt: skip
SELDOM = ("destination.ip", "connection.sni", "source.ip", "remote.ip")
ODD = tuple(f"request.headers[{name}]" for name in routes.ODD if name != "host")
HEADER_VALUES = ("http*", "*y", "203*", "1", "2", "yes", "*", "a*", "*b", "a,b", "1,*")
SERVER_NAMES = ("one.example.com", "*.example.com", "*")
KEYS = (
    "request.headers[x-one]", "request.headers[X-Two]", "source.ip", "remote.ip", "source.namespace",
    "source.principal", "source.serviceAccount", "destination.ip", "destination.port", "connection.sni",
    "request.auth.principal", "request.auth.audiences", "request.auth.presenter", "request.auth.claims[group]",
    "request.auth.claims[a][b]", "no.such.key",
)  # fmt: skip


def policy(rng, name, addresses):
    """One policy. Most have rules that are easily met, else nobody would ever be let in."""
    namespace = rng.choice(NAMESPACES)
    spec = {"action": rng.choice(ACTIONS)}
    if spec["action"] == "ALLOW" and rng.random() < 0.3:
        del spec["action"]
    _scope(rng, spec, namespace)
    if rng.random() < 0.95:
        spec["rules"] = [_rule(rng, addresses) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    meta = {"name": name, "namespace": namespace}
    if rng.random() < 0.1:
        meta["annotations"] = {"istio.io/dry-run": "true"}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": meta, "spec": spec}


WORDS = ("rule", "from", "source", "to", "operation", "when", "spec", "selector", "target", "object")
"""What is misspelt in turn. The last three are policies for a whole namespace then, one that few are called in."""


def misspelt(rng, number, addresses):
    """A policy with a field that nobody can read; `number` says where."""
    where = WORDS[number % len(WORDS)]
    rule = {"from": [{"source": _source(rng, addresses)}], "to": [{"operation": _operation(rng)}],
            "when": [_condition(rng, addresses)]}  # fmt: skip
    spec = {"action": rng.choice(ACTIONS), "selector": {"matchLabels": {"app": "two"}}, "rules": [rule]}
    namespace = "beta" if where in WORDS[-3:] else "alpha"
    made = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "spec": spec,
            "metadata": {"name": f"misspelt-{number}", "namespace": namespace}}  # fmt: skip
    if where == "target":
        spec["targetRefs"] = [{"group": "", "kind": "Service", "name": "three", "sort": "Service"}]
        del spec["selector"]
        return made
    part, name = {
        "rule": (rule, rng.choice(("from", "to", "when"))), "from": (rule["from"][0], "source"),
        "source": (rule["from"][0]["source"], None), "to": (rule["to"][0], "operation"),
        "operation": (rule["to"][0]["operation"], None), "when": (rule["when"][0], "key"), "spec": (spec, "action"),
        "selector": (spec["selector"], "matchLabels"), "object": (made, "spec"),
    }[where]  # fmt: skip
    name = name or rng.choice(list(part))
    part[f"{name}x"] = part.pop(name)
    return made


def _scope(rng, spec, namespace):
    chance = rng.random()
    if chance < 0.3:
        spec["selector"] = {"matchLabels": rng.choice(({"app": "one"}, {"app": "two"}, {"tier": "back"}, {"app": "x"}))}
        return
    if chance > 0.6:
        return
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "door"}
    service = {"group": "", "kind": "Service", "name": rng.choice(("shop", "one", "two", "raw"))}
    if namespace == "retic-system":
        targets = [{"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "retic"}]
    elif namespace == "alpha":
        targets = rng.choice(([gateway], [service], [service, gateway]))
    else:
        targets = [{"group": "", "kind": "Service", "name": "three"}]
    if rng.random() < 0.2:
        targets = [{**each, "namespace": namespace} for each in targets]
    if len(targets) == 1 and rng.random() < 0.3:
        spec["targetRef"] = targets[0]
    else:
        spec["targetRefs"] = targets


def _rule(rng, addresses):
    rule = {}
    if rng.random() < 0.6:
        rule["from"] = [{"source": _source(rng, addresses)} for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < 0.6:
        rule["to"] = [{"operation": _operation(rng)} for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < 0.5:
        rule["when"] = [_condition(rng, addresses) for _ in range(rng.choice((1, 1, 2)))]
    return rule


def _some(rng, values):
    return rng.sample(values, min(len(values), rng.choice((1, 2, 3))))


def _fields(rng, table):
    """One or two of the fields, each as it is or as its opposite."""
    answer = {}
    for name in rng.sample(list(table), rng.choice((1, 1, 2))):
        negative = rng.random() < 0.35
        answer[f"not{name[0].upper()}{name[1:]}" if negative else name] = _some(rng, table[name])
    return answer


def _source(rng, addresses):
    return _fields(rng, {
        "principals": PRINCIPALS, "requestPrincipals": ("*", "issuer/subject", "issuer/*", "*/subject"),
        "namespaces": SPACES, "serviceAccounts": ACCOUNTS, "ipBlocks": addresses, "remoteIpBlocks": addresses,
    })  # fmt: skip


def _operation(rng):
    return _fields(rng, {"hosts": HOSTS, "ports": PORTS, "methods": METHODS, "paths": PATHS})


def _condition(rng, addresses):
    chance = rng.random()
    key = rng.choice(SELDOM) if chance < 0.25 else rng.choice(ODD) if chance < 0.33 else rng.choice(KEYS)
    said = key.partition("[")[0]
    values = {
        "request.headers": HEADER_VALUES, "source.ip": addresses, "remote.ip": addresses,
        "source.namespace": SPACES, "source.principal": PRINCIPALS, "source.serviceAccount": ACCOUNTS,
        "destination.ip": addresses, "destination.port": PORTS, "connection.sni": SERVER_NAMES,
    }.get(said, ("*", "group", "x*"))  # fmt: skip
    answer = {"key": key}
    if rng.random() < 0.55:
        answer["values"] = _some(rng, values)
    if "values" not in answer or rng.random() < 0.2:
        answer["notValues"] = _some(rng, values)
    return answer


