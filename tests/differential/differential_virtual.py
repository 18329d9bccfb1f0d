"""Makes VirtualServices: from the same few values as the other routes, so that requests often meet them."""

import differential_destination as destination
import differential_routes as routes

BACKENDS = (
    ("one", None), ("two.alpha.svc.cluster.local", 80), ("three.beta.svc.cluster.local", None), ("empty", None),
    ("missing", None), ("virtual", None),
)  # fmt: skip
ORIGINS = ("https://one.test", "https://two.test", "http://one.test")


def virtual_service(rng, name, hosts, *, namespace="alpha", gateways=(), export=(), delegate=None):
    http = [_route(rng) for _ in range(rng.randint(1, 5))]
    if delegate:
        http.insert(rng.randint(0, len(http)), {"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": delegate}})
    spec = {"http": http}
    for key, value in (("hosts", hosts), ("gateways", gateways), ("exportTo", export)):
        if value:
            spec[key] = list(value)
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }  # fmt: skip


def _route(rng):
    route = {}
    if rng.random() < 0.9:
        route["match"] = [_match(rng) for _ in range(rng.randint(1, 2))]
    chance = rng.random()
    if chance < 0.1:
        route["redirect"] = _redirect(rng)
    elif chance < 0.2:
        route["directResponse"] = {"status": rng.choice((200, 404, 503))}
        if rng.random() < 0.5:
            route["directResponse"]["body"] = rng.choice(({"string": "told"}, {"bytes": "dG9sZA=="}))
    else:
        route["route"] = _destinations(rng)
        if rng.random() < 0.3:
            route["rewrite"] = _rewrite(rng)
        if rng.random() < 0.1:
            to = {"host": "two", **rng.choice(({}, {"subset": "v1"}))}
            route["mirrors"] = [{"destination": to, "percentage": {"value": rng.choice((50, 100))}}]
        if rng.random() < 0.1:
            route["timeout"], route["retries"] = "5s", {"attempts": 1, "retryOn": "connect-failure"}
    if rng.random() < 0.15:
        route["fault"] = _fault(rng)
    if rng.random() < 0.2:
        route["corsPolicy"] = _cors(rng)
    if rng.random() < 0.3:
        route["headers"] = _headers(rng)
    return route


def _match(rng):
    match = {}
    if rng.random() < 0.75:
        how = rng.choice(("exact", "prefix", "prefix", "regex"))
        match["uri"] = {how: rng.choice(routes.REGEXES if how == "regex" else routes.PATHS)}
        if rng.random() < 0.2:
            match["ignoreUriCase"] = True
    if rng.random() < 0.15:
        match["method"] = rng.choice(({"exact": rng.choice(routes.METHODS)}, {"prefix": "P"}, {"regex": "GET|PUT"}))
    if rng.random() < 0.1:
        match["scheme"] = rng.choice(({"exact": "http"}, {"exact": "https"}, {"prefix": "http"}))
    if rng.random() < 0.15:
        match["authority"] = rng.choice(({"prefix": "virtual"}, {"exact": "one.example.com"}, {"regex": ".*[.]test"}))
    for key, names, values in (
        ("headers", routes.NAMES, routes.VALUES), ("withoutHeaders", routes.NAMES, routes.VALUES),
        ("queryParams", routes.KEYS, routes.PARAMS[:1] + routes.PARAMS[2:]),
    ):  # fmt: skip
        if rng.random() < 0.2:
            match[key] = {rng.choice(names): _text(rng, values)}
    if rng.random() < 0.1:
        match["port"] = rng.choice((80, 81))
    if rng.random() < 0.12:
        match["sourceLabels"] = {"app": rng.choice(("a", "b"))}
    if rng.random() < 0.06:
        match["sourceNamespace"] = rng.choice(("alpha", "beta"))
    if rng.random() < 0.06:
        match["gateways"] = [rng.choice(("mesh", "door"))]
    return match


def _text(rng, values):
    how = rng.choice(("exact", "exact", "prefix", "regex", "present"))
    if how == "present":
        return {}
    return {how: rng.choice(routes.VALUE_REGEXES if how == "regex" else values)}


def _destinations(rng):
    picked = rng.sample(BACKENDS, rng.choice((1, 1, 1, 2, 3)))
    answer = []
    for i, (host, port) in enumerate(picked):
        to = {"destination": {"host": host}}
        if port:
            to["destination"]["port"] = {"number": port}
        if rng.random() < 0.35:
            to["destination"]["subset"] = rng.choice(destination.NAMED)
        if len(picked) > 1:
            to["weight"] = 10 if i == 0 else rng.choice((0, 1, 20))
        if rng.random() < 0.15:
            to["headers"] = _headers(rng)
        answer.append(to)
    return answer


def _headers(rng):
    return {rng.choice(("request", "response")): _operations(rng)}


def _operations(rng):
    names = list(routes.NAMES)
    rng.shuffle(names)
    answer = {"remove": [names[2]]}
    if rng.random() < 0.6:
        answer["set"] = {names[0]: rng.choice(routes.VALUES)}
    if rng.random() < 0.6:
        answer["add"] = {names[1]: rng.choice(routes.VALUES)}
    if rng.random() < 0.1:
        answer.setdefault("set", {})["Host"] = "set.test"
    return answer


def _redirect(rng):
    answer = {}
    for key, values in (
        ("uri", ("/new", "/new?z=1")), ("authority", ("to.test",)), ("scheme", ("http", "https")),
        ("redirectCode", (301, 302, 303, 307, 308)),
    ):  # fmt: skip
        if rng.random() < 0.5:
            answer[key] = rng.choice(values)
    chance = rng.random()
    if chance < 0.3:
        answer["port"] = rng.choice((80, 443, 8443))
    elif chance < 0.5:
        answer["derivePort"] = rng.choice(("FROM_REQUEST_PORT", "FROM_PROTOCOL_DEFAULT"))
    return answer if set(answer) - {"redirectCode"} else {**answer, "uri": "/new"}


def _rewrite(rng):
    chance = rng.random()
    if chance < 0.4:
        return {"uri": rng.choice(("/", "/new", "/n/", "/a"))}
    if chance < 0.8:
        change = rng.choice((("/a", "/x"), ("^/([^/]+)", r"/\1/of"), ("b|c", r"\\")))
        return {"uriRegexRewrite": {"match": change[0], "rewrite": change[1]}}
    return {"authority": "new.test"}


def _fault(rng):
    answer = {}
    if rng.random() < 0.4:
        answer["delay"] = {"fixedDelay": "2ms", "percentage": {"value": rng.choice((50, 100))}}
    if not answer or rng.random() < 0.7:
        # UNKNOWN is also what a proxy makes of an HTTP status that no status of gRPC stands for.
        code = rng.choice(({"httpStatus": 418}, {"httpStatus": 503}, {"grpcStatus": "UNKNOWN"}))
        answer["abort"] = {**code, "percentage": {"value": rng.choice((50, 100))}}
    return answer


def _cors(rng):
    origins = rng.sample(({"exact": ORIGINS[0]}, {"prefix": "https://t"}, {"regex": "http://.*"}), rng.randint(1, 3))
    answer = {"allowOrigins": origins}
    for key, value in (
        ("allowMethods", ["GET", "PUT"]), ("allowHeaders", ["x-one"]), ("exposeHeaders", ["x-two"]), ("maxAge", "60s"),
        ("allowCredentials", True), ("unmatchedPreflights", "IGNORE"),
    ):  # fmt: skip
        if rng.random() < 0.4:
            answer[key] = value
    return answer
