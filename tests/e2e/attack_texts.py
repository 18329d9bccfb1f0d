# ruff: noqa: E501 - texts are easier to read on one line
"""What attackers write, by name. The word FORBIDDEN must reach no application in any of it.

The policies that hold: GET and POST of /open and below, not /open/secret*, not with x-role: evil; /gold with x-tier:
gold; /host at the host `recorder`. Refuses to know what Envoy answers.
"""

WORD = "FORBIDDEN"
HOST = "host: recorder\r\n"


def get(target, headers="", method="GET", host=HOST, version="HTTP/1.1"):
    return f"{method} {target} {version}\r\n{host}{headers}\r\n"


PATHS = [
    f"/{WORD}", f"/open/../{WORD}", f"/open/%2e%2e/{WORD}", f"/open/%2E%2e/{WORD}", f"/open/.%2e/{WORD}",
    f"/open/..%2f{WORD}", f"/open/..%2F{WORD}", f"/open%2f..%2f{WORD}", f"/open//{WORD}", f"//{WORD}", f"//open/{WORD}",
    f"/open/..;/{WORD}", f"/open/;/../{WORD}", f"/open;/{WORD}", f"/open%3b/{WORD}", f"/open/..%3B/{WORD}",
    f"/open\\..\\{WORD}", f"/open/..\\{WORD}", f"/open/%5c..%5C{WORD}", f"/open/%00{WORD}", f"/open/{WORD}%00",
    f"/open/%0d%0a{WORD}", f"/%6fpen/{WORD}", f"/./open/{WORD}", f"/open/./{WORD}", f"/open/sec%72et-{WORD}",
    f"/open/secret-{WORD}", f"/open/%2573ecret-{WORD}", f"/open/%252e%252e/{WORD}", f"/open/%u002e%u002e/{WORD}",
    f"/open/%c0%ae%c0%ae/{WORD}", f"/open/%c0%af..%c0%af{WORD}", f"/open/\xc0\xaf{WORD}", f"/open/\xff{WORD}",
    f"/open#/{WORD}", f"/open/#{WORD}", f"/{WORD}?/open/", f"/{WORD}#/open", f"/{WORD};/open/", f"/OPEN/{WORD}", f"*{WORD}",
    f"open/{WORD}", f"{WORD}", f"/open\t/{WORD}", f"/open /{WORD}", f"/open/%{WORD}", f"/open/%2/{WORD}",
    f"http://recorder/{WORD}", f"http://recorder/open/../{WORD}", f"HTTP://recorder/open//{WORD}", f"//recorder/open/{WORD}",
    f"http://recorder\\{WORD}", f"http:{WORD}", f"file:///{WORD}", f"http:///{WORD}", f"http://recorder?/{WORD}",
    f"/open/{'a' * 70_000}{WORD}", f"/open/{'../' * 50}{WORD}",
]  # fmt: skip

OTHERS = {
    "method in small letters": get(f"/open/{WORD}", method="get"), "method of mixed letters": get(f"/open/{WORD}", method="Get"),
    "PUT": get(f"/open/{WORD}", method="PUT"), "TRACE": get(f"/open/{WORD}", method="TRACE"),
    "a method of one's own": get(f"/open/{WORD}", method="OPEN"), "method with a tab": f"GET\t/{WORD} HTTP/1.1\r\n{HOST}\r\n",
    "CONNECT": f"CONNECT {WORD}:80 HTTP/1.1\r\nhost: {WORD}:80\r\n\r\n",
    "CONNECT with a path": get(f"/open/{WORD}", method="CONNECT"),
    "HTTP/0.9": f"GET /{WORD}\r\n", "HTTP/1.0": f"GET /{WORD} HTTP/1.0\r\n\r\n", "HTTP/2 as text": get(f"/{WORD}", version="HTTP/2.0"),
    "HTTP/1.9": get(f"/open/{WORD}", "x-role: evil\r\n", version="HTTP/1.9"),
    "role": get(f"/open/{WORD}", "x-role: evil\r\n"), "ROLE": get(f"/open/{WORD}", "X-ROLE: evil\r\n"),
    "role, no space": get(f"/open/{WORD}", "x-role:evil\r\n"), "role, many": get(f"/open/{WORD}", "x-role: \t evil \t\r\n"),
    "role, second of two": get(f"/open/{WORD}", "x-role: good\r\nx-role: evil\r\n"),
    "role, first of two": get(f"/open/{WORD}", "x-role: evil\r\nx-role: good\r\n"),
    "role, in a list": get(f"/open/{WORD}", "x-role: good, evil\r\n"), "role, tight": get(f"/open/{WORD}", "x-role: a,evil,b\r\n"),
    "role, folded": get(f"/open/{WORD}", "x-role: good,\r\n evil\r\n"), "role, folded all": get(f"/open/{WORD}", "x-role:\r\n\tevil\r\n"),
    "role, space before the colon": get(f"/open/{WORD}", "x-role : evil\r\n"),
    "no tier": get(f"/gold/{WORD}"), "tier, underscore": get(f"/gold/{WORD}", "x_tier: gold\r\n"),
    "tier, two": get(f"/gold/{WORD}", "x-tier: silver\r\nx-tier: gold\r\n"),
    "tier, list": get(f"/gold/{WORD}", "x-tier: gold, silver\r\n"), "tier, other case": get(f"/gold/{WORD}", "x-tier: GOLD\r\n"),
    "tier, said to hop": get(f"/gold/{WORD}", "connection: x-tier\r\n"),
    "host, none": f"GET /host/{WORD} HTTP/1.1\r\n\r\n", "host, other": get(f"/host/{WORD}", host="host: other\r\n"),
    "host, two": get(f"/host/{WORD}", host="host: recorder\r\nhost: other\r\n"),
    "host, two, swapped": get(f"/host/{WORD}", host="host: other\r\nHost: recorder\r\n"),
    "host, folded": get(f"/host/{WORD}", host="host: other\r\n recorder\r\n"),
    "host, user": get(f"/host/{WORD}", host="host: recorder@other\r\n"), "host, list": get(f"/host/{WORD}", host="host: recorder,other\r\n"),
    "host, dots": get(f"/host/{WORD}", host="host: recorder..\r\n"), "host, escaped": get(f"/host/{WORD}", host="host: %72ecorder\r\n"),
    "host, space": get(f"/host/{WORD}", host="host : recorder\r\n"), "host, path": get(f"/host/{WORD}", host="host: recorder/x\r\n"),
    "host, absolute": get(f"http://other/host/{WORD}"), "host, absolute with user": get(f"http://recorder@other/host/{WORD}"),
    "host, forwarded": get(f"/host/{WORD}", "x-forwarded-host: recorder\r\n", host="host: other\r\n"),
    "upgrade to a refused path": get(f"/{WORD}", "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n"),
    "upgrade, h2c": get(f"/{WORD}", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"),
    "upgrade, other": get(f"/open/{WORD}", "connection: upgrade\r\nupgrade: else\r\n"),
    "many headers": get(f"/open/{WORD}", "".join(f"x-{n}: {n}\r\n" for n in range(400))),
    "a large header": get(f"/open/{WORD}", f"x-large: {'a' * 200_000}\r\n"),
    "a large name": get(f"/open/{WORD}", f"x-{'a' * 200_000}: 1\r\n"),
    "a null": get("/open", f"x-a: a\0{WORD}\r\n"), "a bare CR": get("/open", "x-a: a\rx-bare: 1\r\n"),
    "a null in a name": get("/open", f"x\0-a: {WORD}\r\n"), "a name of nothing": get("/open", f": {WORD}\r\n"),
    "the proxy's own": get("/open", f"x-forwarded-client-cert: {WORD}\r\nx-envoy-original-path: /{WORD}\r\n"
                           f"x-envoy-decorator-operation: {WORD}\r\nx-retic-destination: {WORD}\r\n"
                           f"x_forwarded_client_cert: {WORD}\r\nx-forwarded_client_cert: {WORD}\r\n"),
}  # fmt: skip

SECOND = f"GET /{WORD} HTTP/1.1\r\n{HOST}\r\n"


def post(headers, body):
    return f"POST /open HTTP/1.1\r\n{HOST}{headers}\r\n{body}"


# What one server takes for the end of a request and another does not. Of each, what is behind the end is forbidden.
SMUGGLED = {
    "CL.TE": post(f"content-length: {5 + len(SECOND)}\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n" + SECOND),
    "TE.CL": post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", f"{len(SECOND):x}\r\n{SECOND}\r\n0\r\n\r\n"),
    **{
        f"TE.TE {n}": post(f"{te}content-length: 5\r\n", "0\r\n\r\n" + SECOND)
        for n, te in enumerate((
            "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n", "transfer-encoding: xchunked\r\n",
            "transfer-encoding : chunked\r\n", "transfer-encoding: chunked, identity\r\n", "transfer-encoding: \x0bchunked\r\n",
            "transfer-encoding:\r\n chunked\r\n", "transfer-encoding: identity\r\n", "transfer_encoding: chunked\r\n"
            "transfer-encoding: chunked\r\n", "Transfer-Encoding: CHUNKED,\r\n", "transfer-encoding: \"chunked\"\r\n",
        ))
    },
    "two lengths": post(f"content-length: 0\r\ncontent-length: {len(SECOND)}\r\n", SECOND),
    "two lengths in one": post(f"content-length: 0, {len(SECOND)}\r\n", SECOND),
    "length with a sign": post("content-length: +0\r\n", SECOND), "length below nothing": post("content-length: -1\r\n", SECOND),
    "length of another base": post("content-length: 0x0\r\n", SECOND), "length, huge": post(f"content-length: {2**64}\r\n", SECOND),
    "bare LF": f"GET /open HTTP/1.1\n{HOST[:-2]}\n\n{SECOND}", "bare LF in the head": f"GET /open HTTP/1.1\r\n{HOST}x: y\n\nGET /{WORD} HTTP/1.1\r\n\r\n",
    "chunk too large to count": post("transfer-encoding: chunked\r\n", f"{'F' * 17}\r\n{SECOND}"),
    "chunk, base written": post("transfer-encoding: chunked\r\n", "0x0\r\n\r\n" + SECOND),
    "chunk, below nothing": post("transfer-encoding: chunked\r\n", "-1\r\n" + SECOND),
    "chunk extension, large": post("transfer-encoding: chunked\r\n", f"0;{'a' * 200_000}\r\n\r\n{SECOND}"),
    "chunk extension, LF": post("transfer-encoding: chunked\r\n", f"0;\n{SECOND}"),
    "chunk, LF": post("transfer-encoding: chunked\r\n", f"0\n\n{SECOND}"),
    "second in line": get("/open") + SECOND, "third in line": get("/open") * 2 + SECOND,
    "GET with a body": get("/open", "content-length: 2\r\n") + "ok" + SECOND,
    "upgrade, then another": get("/open", "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n") + SECOND,
    "expecting to go on": post("expect: 100-continue\r\ncontent-length: 0\r\n", SECOND),
    "trailers": post("transfer-encoding: chunked\r\ntrailer: x-forwarded-client-cert\r\n", f"0\r\nx-forwarded-client-cert: {WORD}\r\n\r\n"),
}  # fmt: skip


def h2(*more, path="/open", method="GET", authority="recorder", scheme="http", body=""):
    pseudo = {":method": method, ":scheme": scheme, ":authority": authority, ":path": path}
    return {"h2": [[[n, v] for n, v in pseudo.items() if v is not None] + [list(m) for m in more], body]}


END = f" HTTP/1.1\r\nhost: recorder\r\n\r\nGET /{WORD} HTTP/1.1\r\nx: "
HTTP2 = {
    "refused": h2(path=f"/{WORD}"), "dots": h2(path=f"/open/../{WORD}"), "no slash": h2(path=f"open/{WORD}"),
    "absolute": h2(path=f"http://recorder/{WORD}"), "path with CR LF": h2(path=f"/open{END}"),
    "path with a space": h2(path=f"/open {WORD}"), "path with a null": h2(path=f"/open\0{WORD}"), "fragment": h2(path=f"/open#{WORD}"),
    "no path": h2((WORD, "x"), path=None), "empty path": h2(("x", WORD), path=""), "two paths": h2((":path", f"/{WORD}")),
    "two methods": h2((":method", "PUT"), path=f"/open/{WORD}"), "path after headers": h2(("x", "1"), (":path", f"/{WORD}"), path=None),
    "method in small letters": h2(method="get", path=f"/open/{WORD}"), "PUT": h2(method="PUT", path=f"/open/{WORD}"),
    "method with CR LF": h2(method=f"GET /{WORD} HTTP/1.1\r\nx: "), "method with a path": h2(method=f"GET /{WORD}"),
    "scheme with CR LF": h2(scheme=f"http\r\n{WORD}"), "authority with CR LF": h2(authority=f"recorder\r\nx: {WORD}"),
    "value with CR LF": h2(("x", f"y\r\nx-role: {WORD}")), "value with LF": h2(("x", f"y\n{WORD}")), "value with a null": h2(("x", f"y\0{WORD}")),
    "name with CR LF": h2((f"x\r\n{WORD}", "y")), "name with a colon": h2((f"x: {WORD}", "y")), "name in capitals": h2((f"X-{WORD}", "y")),
    "name of nothing": h2(("", WORD)), "a pseudo header of one's own": h2((":role", WORD)),
    "host beside authority": h2(("host", "recorder"), authority="other", path=f"/host/{WORD}"),
    "authority beside host": h2(("host", "other"), authority=None, path=f"/host/{WORD}"),
    "two authorities": h2((":authority", "recorder"), authority="other", path=f"/host/{WORD}"),
    "connection": h2(("connection", "x-role"), ("x-role", "evil"), path=f"/open/{WORD}"),
    "transfer-encoding": h2(("transfer-encoding", "chunked"), method="POST", body=f"0\r\n\r\n{SECOND}"),
    "upgrade": h2(("upgrade", "websocket"), ("connection", "upgrade"), path=f"/open/{WORD}"),
    "te": h2(("te", "trailers, chunked"), path=f"/{WORD}"),
    "length too small": h2(("content-length", "0"), method="POST", body=SECOND),
    "two lengths": h2(("content-length", "0"), ("content-length", str(len(SECOND))), method="POST", body=SECOND),
    "CONNECT": h2(method="CONNECT", authority=f"{WORD}:80", path=None, scheme=None),
    "CONNECT for a WebSocket": h2((":protocol", "websocket"), method="CONNECT", path=f"/{WORD}"),
    "role in two": h2(("x-role", "good"), ("x-role", "evil"), path=f"/open/{WORD}"),
    "cookies": h2(("x-role", "evil"), ("cookie", "a"), ("cookie", "b"), path=f"/open/{WORD}"),
    "many headers": h2(*((f"x-{n}", "y") for n in range(400)), path=f"/open/{WORD}"),
    "a large header": h2(("x-large", "a" * 100_000), path=f"/open/{WORD}"),
    "the proxy's own": h2(("x-forwarded-client-cert", WORD), ("x-envoy-original-path", WORD), ("x_forwarded_client_cert", WORD)),
}  # fmt: skip
