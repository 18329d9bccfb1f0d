"""Makes requests, each as text for a connection and as a question to `explain`."""

import differential_routes as routes
import differential_virtual as virtual
import msgspec

from retic.explain.request import answer

# Sender pods: namespace, name.
SENDERS = (("alpha", "a"), ("alpha", "b"), ("beta", "c"))
TARGETS = (
    ("shop.alpha", 80), ("shop.alpha", 80), ("shop.alpha", 80),
    ("calls.alpha", 80), ("shop.alpha", 81), ("one.alpha", 80),
    ("virtual.alpha", 80), ("virtual.alpha", 80), ("virtual.alpha", 81),
    ("empty.alpha", 80), ("raw.alpha", 83), ("each.alpha", 8080),
)  # fmt: skip
PATHS = (
    *routes.PATHS, "/a/b/c", "/a//b", "/a/../b", "/a/./b", "/%61", "/a%2fb", "/a;x", "/a/b/", "/pkg.Svc/List",
    "/pkg.Other/Get", "/a%20b", "/A", "/a/B%2F", "/a/..", "/..", "/a/b?", "/x%28y)",
)  # fmt: skip
ODD_PATHS = (
    "/a%", "/%zz", "/a%00", "/a%2e%2e/b", "/%2E%2e/x", "/a\\b", "/a%5Cb", "/a//../b", "/.", "/./a", "/a/.", "/...",
    "/a/..;/b", "/a/.;x", "/a/%2e%2e;/b", "/a\\..;/b", "//a", "//", "/a?x=/../b", "/%41%7e", "/a^b|c", "/{x}", '/a"b',
    "/a<b>", "/a`b", "/a/%2e/b", "/a/%2e%2E", "/a/../..", "/../../a", "/a/b/../../c", "/a%2Fb/../c", "/a;x=1/../b",
    "/a/b/%2e%2e%2fc", "/a/?", "/a??b", "/a%3Fb", "/a%c3%a9", "/a%C3%A9", "/~a", "/%7Ea", "/a+b", "/a%2Bb", "/a'(b)",
    "/a*", "/a,b", "/a:b@c", "/a!$&=", "/a%25", "/a%252e", "/a[b]",
)  # fmt: skip
PORT, SAFE_PORT = 18541, 18542


MORE = (
    ("x-envoy-original-path", "/a"), ("X-Retic-Destination", "1.2.3.4:80"), ("x-forwarded-proto", "https"),
    ("x-forwarded-proto", "gopher"), ("te", "trailers"),
    ("te", "gzip"), ("TE", "gzip, Trailers"), ("TE", "x, trailers"),
    ("X-Forwarded-Client-Cert", "URI=spiffe://x"),
    ("x_forwarded_for", "203.0.113.9"), ("Cookie", "a=1"), ("cookie", "b=2"), ("User-Agent", "x"), ("accept", "*/*"),
    ("x-empty", ""), ("x-one", ""), ("x-request-id", "1"), ("proxy-connection", "x"), ("forwarded", "for=1.2.3.4"),
)  # fmt: skip


class Request:
    """`sender` None: from the host to the gateway."""

    def __init__(self, sender, host, port, kind, asked, text, server_name=""):
        self.server_name = server_name
        self.sender, self.host, self.port, self.kind, self.asked, self.text = sender, host, port, kind, asked, text

    def wire(self):
        """For the sender."""
        more = {"server_name": self.server_name} if self.server_name else {}
        return {"host": self.host, "port": self.port, "kind": self.kind, "text": self.text, **more}

    def __repr__(self):
        return f"{self.sender} -> {self.host}:{self.port} {self.text!r}"


def asked(request, outside):
    """The question; whoever calls a gateway from the host has the address `outside` there."""
    return request.asked if request.sender else msgspec.structs.replace(request.asked, address=outside)


def request(rng, addresses):
    """One request of some sender; `addresses` are those of the server pods."""
    chance = rng.random()
    if chance < 0.3:
        return _to_gateway(rng)
    sender = rng.choice(SENDERS)
    if chance < 0.38:
        return _tcp(sender, "shop.alpha", 82)
    if chance < 0.45:
        address = rng.choice(addresses)
        port = rng.choice((8080, 8081, 8082))
        return _tcp(sender, address, port) if port == 8082 else _http(rng, sender, address, port)
    return _http(rng, sender, *rng.choice(TARGETS))


def _tcp(sender, host, port):
    asked = answer.Asked(f"pod/{sender[1]}", f"{host}:{port}", sender[0], tcp=True)
    return Request(sender, host, port, "tcp", asked, "hello\n")


def _http(rng, sender, host, port):
    short = host.removesuffix(".alpha") if sender[0] == "alpha" and rng.random() < 0.5 else host
    others = (*routes.HOSTS, "SHOP", "shop.", "shop:", "10.96.0.1:80")
    written = rng.choice((short, f"{host}:{port}", rng.choice(others)))
    method, path, headers = _head(rng, grpc=host.startswith("calls"))
    if host.startswith("virtual") and rng.random() < 0.25:
        method, headers = _crossing(rng, method, headers)
    asked = answer.Asked(f"pod/{sender[1]}", f"{short}:{port}", sender[0], method, path, (("Host", written), *headers))
    return Request(sender, short, port, "http", asked, _text(method, path, written, headers))


def _to_gateway(rng):
    host = rng.choice(routes.HOSTS)
    safe = rng.random() < 0.35
    port, scheme = (SAFE_PORT, "https") if safe else (PORT, "http")
    name = host if not safe or rng.random() < 0.8 else rng.choice(routes.HOSTS)
    written = rng.choice((name, f"{name}:{port}", f"{name}.", f"{name}:80"))
    method, path, headers = _head(rng, grpc=False)
    asked = answer.Asked("", f"{scheme}://{host}:{port}/", "alpha", method, path, (("Host", written), *headers))
    text = _text(method, path, written, headers)
    return Request(None, "127.0.0.1", port, "http", asked, text, host.lower() if safe else "")


def _head(rng, *, grpc):
    headers = []
    for name in routes.NAMES:
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            headers.append((rng.choice((name, name.upper())), rng.choice(routes.VALUES)))
    if rng.random() < 0.15:
        headers.append(("X-Forwarded-For", rng.choice(("203.0.113.7", "203.0.113.7, 10.1.2.3", "no address"))))
    headers += [pair for pair in MORE if rng.random() < 0.04]
    if rng.random() < (0.85 if grpc else 0.05):
        kind = rng.choice(("application/grpc", "application/grpc+proto", "application/grpc-web"))
        headers.append(("content-type", kind))
    method = "POST" if grpc and rng.random() < 0.9 else rng.choice(routes.METHODS[:1] * 3 + routes.METHODS)
    path = rng.choice(PATHS[PATHS.index("/pkg.Svc") :] if grpc and rng.random() < 0.6 else PATHS)
    if rng.random() < 0.2:
        path = rng.choice(ODD_PATHS)
    if rng.random() < 0.4 and "?" not in path:
        pairs = [f"{rng.choice(routes.KEYS)}={rng.choice(routes.PARAMS)}" for _ in range(rng.randint(1, 2))]
        path = f"{path}?{'&'.join(pairs)}"
    return method, path, tuple(headers)


def _crossing(rng, method, headers):
    """As a script of another site sends it, or asks before it does."""
    headers = (*headers, ("Origin", rng.choice((*virtual.ORIGINS, "null"))))
    if rng.random() < 0.7:
        method, headers = "OPTIONS", (*headers, ("Access-Control-Request-Method", rng.choice(("GET", "PUT"))))
    return method, headers


def _text(method, path, host, headers):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if method in ("POST", "PUT", "PATCH"):
        lines.append("Content-Length: 0")
    return "\r\n".join(lines) + "\r\n\r\n"
