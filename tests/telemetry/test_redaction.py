"""What is never shown: whoever writes a credential, wherever a client may put it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retic.telemetry import redaction, words

SECRET = "hunter2-s3cr3t"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "path",
    [
        f"/a?token={SECRET}",
        f"/a?x=1&access_token={SECRET}&y=2",
        f"/a?ACCESS-TOKEN={SECRET}",
        f"/a?acce%73s_token={SECRET}",
        f"/a?acce%2573s_token={SECRET}",
        f"/a;b?x=1;api_key={SECRET}",
        f"/a?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}",
        f"/a?client_secret={SECRET}",
        f"/a?code={SECRET}&state={SECRET}",
        f"/a?user[password]={SECRET}",
        f"/a?next=%2Flogin%3Fsession%3D{SECRET}",
        f"/a?token={SECRET}=={SECRET}",
        f"/a?token={SECRET}?again={SECRET}",
        f"/a;token={SECRET}/b",
        f"/a?x=1?token={SECRET}",
        f"/a;v=1?token={SECRET}",
        f"/a#access_token={SECRET}",
        f"/a?x=1#access_token={SECRET}",
        f"http://anna:{SECRET}@host/a",
    ],
)
def test_no_parameter_shows_a_secret(path):
    shown = redaction.path(path)
    assert SECRET not in shown
    assert redaction.SHOWN in shown


def test_tokens_are_known_by_their_look():
    for text in (f"/magic/{JWT}/open", f"/a?x={JWT}", f"/a?x={JWT.replace('.', '%2E')}", f"/a?x=Bearer%20{JWT}"):
        assert JWT not in redaction.path(text).replace("%2E", "."), text
    assert redaction.value("x-note", f"see {JWT}") == f"see {redaction.SHOWN}"
    assert SECRET not in redaction.value("x-note", f"Basic {SECRET}")
    assert SECRET not in redaction.value("referer", f"https://h/a?token={SECRET}")
    assert SECRET not in redaction.value("referer", f"https://anna:{SECRET}@h/a")
    assert redaction.authority(f"anna:{SECRET}@h:80") == f"{redaction.SHOWN}@h:80"


@pytest.mark.parametrize("path", ["/", "/items?page=2&sort=up", "/a?keyboard=1&postcode=2", "/monkey?q=key", "*", ""])
def test_what_is_no_secret_is_as_it_was(path):
    assert redaction.path(path) == path


@pytest.mark.parametrize(
    "name",
    ["authorization", "cookie", "set-cookie", "x-api-key", "proxy-authorization", "x-access-token", "x-my-secret"],
)
def test_credentials_are_not_asked_for(name):
    assert "credential" in redaction.unreported(name)
    assert redaction.value(name, SECRET) == redaction.SHOWN


def test_the_list_can_be_lengthened_and_not_shortened():
    assert SECRET in redaction.path(f"/a?customer={SECRET}")
    assert SECRET not in redaction.path(f"/a?Customer={SECRET}", ["customer"])
    assert SECRET not in redaction.path(f"/a?token={SECRET}", ["customer"])
    assert redaction.unreported("x-user", ["x-user"])
    assert not redaction.unreported("x-user")
    for name in ("x-user%", "", "X-User", "a:b", "x-retic-peer", "retic-peer"):
        assert redaction.unreported(name)
    assert not any(map(redaction.unreported, words.REPORTED_RESPONSE_HEADERS))


@given(st.text(max_size=60), st.sampled_from(["token", "api_key", "password", "sig"]))
def test_whatever_stands_before_it(before, name):
    assert SECRET not in redaction.path(f"/{before}?{before}&{name}={SECRET}&{before}")
