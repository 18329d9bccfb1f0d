"""A header that is sent twice is one value with a comma, for routes and for policies: who may send a second one gets
no further by it."""

import differential_requests as requests
import differential_rounds as rounds
import pytest

TEXTS = (("1",), ("1", "2"), ("2", "1"), ("1,2",), ("2", "3"), ())


def sent(mesh, values):
    lines = "".join(f"X-One: {value}\r\n" for value in values)
    text = f"GET / HTTP/1.1\r\nHost: shop\r\n{lines}\r\n"
    return mesh.send([requests.Request(("alpha", "a"), "shop", 80, "http", None, text)])[0]


def route(*rules):
    parent = {"group": "", "kind": "Service", "name": "shop"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "repeated", "namespace": "alpha"},
        "spec": {"parentRefs": [parent], "rules": list(rules)},
    }  # fmt: skip


def test_for_routes(mesh):
    matches = [{"headers": [{"name": "x-one", "value": "1"}]}]
    rules = (
        {"matches": matches, "backendRefs": [{"name": "one", "port": 80}]},
        {"backendRefs": [{"name": "two", "port": 80}]},
    )
    mesh.write("repeated", [route(*rules), rounds.marker("repeated")])
    met = [values for values in TEXTS if sent(mesh, values)["headers"]["x-answered-by"] == "alpha/one"]
    assert met == [("1",)]


@pytest.mark.parametrize(
    ("action", "field", "let_in"),
    [
        ("ALLOW", "values", [("1",)]),
        ("DENY", "values", [("2", "3"), ()]),
        ("ALLOW", "notValues", [("2", "3"), ()]),
        ("DENY", "notValues", [("1",)]),
    ],
)
def test_for_policies(mesh, action, field, let_in):
    name = f"{action}-{field}".lower()
    policy = {
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "alpha"},
        "spec": {"action": action, "rules": [{"when": [{"key": "request.headers[x-one]", field: ["1"]}]}]},
    }  # fmt: skip
    mesh.write(name, [route({"backendRefs": [{"name": "two", "port": 80}]}), policy, rounds.marker(name)])
    assert [values for values in TEXTS if sent(mesh, values)["status"] == 200] == let_in
