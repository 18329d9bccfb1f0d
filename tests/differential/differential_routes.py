"""Makes HTTPRoutes and GRPCRoutes, and requests that may meet them: from few values, so that they often do."""

PATHS = ("/", "/a", "/a/b", "/a/", "/ab", "/a.b", "/b", "/b/c", "/x(y)", "/pkg.Svc", "/pkg.Svc/Get")
REGEXES = ("/a/[^/]+", "/(a|b)(/.*)?", "/a.*", "/.b", "/[a-z]{1,2}/?")
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH")
NAMES = ("x-one", "X-Two", "x-three")
ODD = (
    "x-forwarded-for", "x-forwarded-proto", "Cookie", "x-envoy-original-path", "x-forwarded-client-cert", "te",
    "x-empty", "content-type", "user-agent", "x-retic-destination", "x_forwarded_for", "host", "accept",
)  # fmt: skip
VALUES = ("1", "2", "a,b", "yes", "a b", "1,2")
ODD_VALUES = (".+", ".*", "http", "https", "203.*", "[^,]*", "a=1.*", "URI=.*", ".*/.*", "[a-z.]*")
VALUE_REGEXES = ("1|2", "[a-z]+", ".*,.*", "y.s")
KEYS = ("q", "page", "Q")
PARAMS = ("1", "", "a%20b", "a+b", "x=y")
HOSTS = ("shop", "one.example.com", "deep.one.example.com", "two.test", "EXAMPLE.com", "example.com")
GATEWAY_HOSTS = ("one.example.com", "*.example.com", "deep.one.example.com", "two.test", "*.test")
SESSIONS = (
    {}, {"sessionName": "x", "type": "Header"},
    {"absoluteTimeout": "1h", "cookieConfig": {"lifetimeType": "Permanent"}},
)  # fmt: skip
BACKENDS = (("one", None), ("two", None), ("three", "beta"), ("empty", None), ("missing", None))


def http_route(rng, name, parent, namespace="alpha", hostnames=()):
    spec = {"parentRefs": [parent], "rules": [_http_rule(rng) for _ in range(rng.randint(1, 4))]}
    if hostnames:
        spec["hostnames"] = list(hostnames)
    return _object("HTTPRoute", name, namespace, spec)


def grpc_route(rng, name, parent, namespace="alpha"):
    rules = []
    for _ in range(rng.randint(1, 3)):
        rule = {"backendRefs": _backends(rng)}
        if rng.random() < 0.9:
            rule["matches"] = [_grpc_match(rng) for _ in range(rng.randint(1, 2))]
        rules.append(rule)
    return _object("GRPCRoute", name, namespace, {"parentRefs": [parent], "rules": rules})


def _object(kind, name, namespace, spec):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }  # fmt: skip


def _http_rule(rng):
    rule = {}
    if rng.random() < 0.9:
        rule["matches"] = [_http_match(rng) for _ in range(rng.randint(1, 3))]
    prefixes = all((m.get("path") or {"type": "PathPrefix"})["type"] == "PathPrefix" for m in rule.get("matches", ()))
    filters = _filters(rng, prefixes=prefixes)
    if filters:
        rule["filters"] = filters
    if not any(f["type"] == "RequestRedirect" for f in filters):
        rule["backendRefs"] = _backends(rng)
    if rng.random() < 0.3:
        rule["timeouts"] = {"request": "5s", **({"backendRequest": "4s"} if rng.random() < 0.5 else {})}
    if rng.random() < 0.3:
        rule["retry"] = _retry(rng)
    if rng.random() < 0.1:
        rule["sessionPersistence"] = rng.choice(SESSIONS)
    return rule


def _retry(rng):
    """None of it changes where a request that is answered at once goes."""
    answer = {"attempts": rng.choice((0, 1, 3))} if rng.random() < 0.8 else {}
    if rng.random() < 0.5:
        answer["codes"] = rng.sample((500, 502, 503), rng.randint(1, 2))
    if rng.random() < 0.3:
        answer["backoff"] = "10ms"
    return answer


def _http_match(rng):
    match = {}
    if rng.random() < 0.8:
        kind = rng.choice(("Exact", "PathPrefix", "PathPrefix", "RegularExpression"))
        match["path"] = {"type": kind, "value": rng.choice(REGEXES if kind == "RegularExpression" else PATHS)}
    if rng.random() < 0.25:
        match["method"] = rng.choice(METHODS)
    if rng.random() < 0.35:
        match["headers"] = [_condition(rng, NAMES, VALUES) for _ in range(rng.randint(1, 2))]
    elif rng.random() < 0.15:
        match["headers"] = [{"name": rng.choice(ODD), "value": rng.choice(ODD_VALUES), "type": "RegularExpression"}]
    if rng.random() < 0.25:
        match["queryParams"] = [_condition(rng, KEYS, PARAMS[:1] + PARAMS[2:]) for _ in range(rng.randint(1, 2))]
    return match


def _grpc_match(rng):
    match = {}
    if rng.random() < 0.8:
        said = {"type": rng.choice(("Exact", "Exact", "RegularExpression"))}
        regex = said["type"] == "RegularExpression"
        if rng.random() < 0.8:
            said["service"] = rng.choice(("pkg.Svc", "pkg.Other") if not regex else ("pkg[.]S.c", "pkg.*"))
        if rng.random() < 0.6 or "service" not in said:
            said["method"] = rng.choice(("Get", "List") if not regex else ("G.t", "[A-Z]\\w+"))
        match["method"] = said
    if rng.random() < 0.4:
        match["headers"] = [_condition(rng, NAMES, VALUES)]
    return match


def _condition(rng, names, values):
    regex = rng.random() < 0.3
    found = {"name": rng.choice(names), "value": rng.choice(VALUE_REGEXES if regex else values)}
    return {**found, "type": "RegularExpression"} if regex else found


def _filters(rng, *, prefixes):
    answer = []
    if rng.random() < 0.3:
        answer.append({"type": "RequestHeaderModifier", "requestHeaderModifier": _edit(rng)})
    if rng.random() < 0.2:
        answer.append({"type": "ResponseHeaderModifier", "responseHeaderModifier": _edit(rng)})
    chance = rng.random()
    if 0.4 <= chance < 0.45:
        answer.append({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "two", "port": 80}}})
    if chance < 0.15:
        answer.append({"type": "RequestRedirect", "requestRedirect": _redirect(rng, prefixes=prefixes)})
    elif chance < 0.19:
        answer.append({"type": "ExtensionRef", "extensionRef": {"group": "a.example", "kind": "B", "name": "c"}})
    elif chance < 0.4:
        answer.append({"type": "URLRewrite", "urlRewrite": _rewrite(rng, prefixes=prefixes)})
    return answer


def _edit(rng):
    answer = {}
    names = list(NAMES)
    rng.shuffle(names)
    if rng.random() < 0.6:
        answer["set"] = [{"name": names[0], "value": rng.choice(VALUES)}]
    if rng.random() < 0.6:
        answer["add"] = [{"name": names[1], "value": rng.choice(VALUES)}]
    if rng.random() < 0.5 or not answer:
        answer["remove"] = [names[2]]
    return answer


def _change(rng, *, prefixes):
    if prefixes and rng.random() < 0.6:
        return {"type": "ReplacePrefixMatch", "replacePrefixMatch": rng.choice(("/", "/new", "/n/", "/a"))}
    return {"type": "ReplaceFullPath", "replaceFullPath": rng.choice(("/all", "/a/b", "/"))}


def _redirect(rng, *, prefixes):
    answer = {"statusCode": rng.choice((301, 302, 303, 307, 308))}
    for key, values in (("scheme", ("http", "https")), ("hostname", ("to.test",)), ("port", (80, 443, 8443))):
        if rng.random() < 0.4:
            answer[key] = rng.choice(values)
    if rng.random() < 0.5:
        answer["path"] = _change(rng, prefixes=prefixes)
    return answer


def _rewrite(rng, *, prefixes):
    answer = {}
    if rng.random() < 0.5:
        answer["hostname"] = rng.choice(("new.test", "one.example.com"))
    if rng.random() < 0.8 or not answer:
        answer["path"] = _change(rng, prefixes=prefixes)
    return answer


def _backends(rng):
    answer = []
    for name, namespace in rng.sample(BACKENDS, rng.choice((1, 1, 1, 2, 3))):
        ref = {"name": name, "port": 80 if rng.random() < 0.95 else 99}
        if namespace:
            ref["namespace"] = namespace
        if rng.random() < 0.4:
            ref["weight"] = rng.choice((0, 1, 5, 20))
        if rng.random() < 0.15:
            kind = rng.choice(("Request", "Response"))
            ref["filters"] = [{"type": f"{kind}HeaderModifier", f"{kind.lower()}HeaderModifier": _edit(rng)}]
        answer.append(ref)
    return answer
