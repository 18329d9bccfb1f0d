"""What a token says of itself: read without belief, and whatever is no token is refused without quoting it."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retic.kube import claims


def token(body):
    encoded = base64.urlsafe_b64encode(json.dumps(body).encode()).rstrip(b"=").decode()
    return f"aGVhZA.{encoded}.c2ln"


def test_a_projected_token():
    said = claims.read(token({
        "aud": ["retic.dev"], "exp": 1893456000, "iss": "https://kubernetes.default.svc",
        "kubernetes.io": {
            "namespace": "retic-system", "node": {"name": "n1", "uid": "u0"}, "pod": {"name": "p", "uid": "u1"},
            "serviceaccount": {"name": "retic-node", "uid": "u2"}, "warnafter": 1,
        },
    }))  # fmt: skip
    assert (said.audiences, said.exp, said.account) == (("retic.dev",), 1893456000, "retic-system/retic-node")
    assert (said.kubernetes.pod.uid, said.kubernetes.node.name) == ("u1", "n1")
    assert claims.read(token({"aud": "retic.dev"})).audiences == ("retic.dev",)
    assert claims.read(token({})).audiences == ()


@pytest.mark.parametrize(
    "text",
    ["", "a.b", "a.b.c", "..", "a.b.c.d", token({"exp": "soon"}), token({"aud": 5}), token([1]), token({"aud": None}),
     token({"kubernetes.io": {"pod": "p"}}), "a." + "é" * 8 + ".c", "\ud800.b.c"],
)  # fmt: skip
def test_what_is_no_token(text):
    with pytest.raises(claims.MalformedError) as caught:
        claims.read(text)
    assert str(caught.value) == "this is no service account's token"


def test_a_long_one():
    with pytest.raises(claims.MalformedError, match="at most 16384 bytes, not 16385"):
        claims.read("x" * 16385)


@given(st.text())
def test_any_text(text):
    with contextlib.suppress(claims.MalformedError):
        claims.read(text)
