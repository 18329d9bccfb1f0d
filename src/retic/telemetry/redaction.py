"""What is never shown of a request: credentials in headers and in query parameters, whatever asks for them.

The lists here can be lengthened by a caller and never shortened. Proxies are not even asked to report a header that
`unreported` speaks against; the other rules are for what a client writes into places of its own.
"""

import re
import urllib.parse
from collections.abc import Collection

SHOWN = "[redacted]"
HEADERS = frozenset({
    "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "x-auth-token",
    "x-access-token", "x-csrf-token", "x-amz-security-token", "x-forwarded-client-cert", "x-forwarded-authorization",
    "x-goog-iap-jwt-assertion", "www-authenticate", "proxy-authenticate", "authentication-info",
})  # fmt: skip
"""Headers whose values are never shown, in lower case."""
_WORDS = (
    "token", "secret", "passw", "pwd", "apikey", "accesskey", "privatekey", "signature", "credential", "authorization",
    "session", "jwt", "assertion", "otp", "cookie", "csrf", "nonce",
)  # fmt: skip
"""What the name of a parameter whose value is not shown has in it, without - and _ and in lower case."""
_NAMES = frozenset({"auth", "key", "code", "sig", "pass", "pin", "sid", "state", "hmac", "ticket", "bearer"})
"""Such names that are too short to be looked for within others."""
# Three parts of base64url, the first of which is JSON that begins with {" (RFC 7519).
_JWT = re.compile(r"ey[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*")
_BEARER = re.compile(r"(?i)\b(bearer|basic|negotiate|digest)\s+[A-Za-z0-9+/=._~-]{6,}")
_HEADER = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_USER = re.compile(r"(?<=//)[^/?#@]*@|^[^/?#@]*@")


def is_secret(name: str, more: Collection[str] = ()) -> bool:
    """Whether a header's or a parameter's value is never shown; `more` are names in lower case."""
    lower = name.lower()
    flat = re.sub(r"[^a-z0-9]", "", lower)
    return lower in HEADERS or lower in more or flat in _NAMES or any(word in flat for word in _WORDS)


def unreported(name: str, more: Collection[str] = ()) -> str:
    """Why proxies are not asked to report the request header of that name, in lower case; "" if they may be."""
    if not _HEADER.fullmatch(name):
        return f"{name!r} is no header's name: write up to 64 of a-z, 0-9, - and _"
    if is_secret(name, more):
        return f"the header {name} may hold a credential: proxies never report it"
    if name.startswith(("x-envoy-", "x-retic-", "retic-")):
        return f"the header {name} is the proxies' own"
    return ""


def path(text: str, more: Collection[str] = ()) -> str:
    """A request's target: the values of secret parameters, tokens by their look, and a user in an address are gone."""
    before = re.split("[?&;#]", text, maxsplit=1)[0]
    # A ? is one at the first place only; behind that it belongs to a value.
    parameters = re.split(r"([&;#]|^\?)", text[len(before) :])
    before = _by_look(_USER.sub(f"{SHOWN}@", before, count=1) if "//" in before else before)
    return before + "".join(_parameter(each, more) for each in parameters)


def authority(text: str) -> str:
    """A Host, without a user."""
    return _USER.sub(f"{SHOWN}@", text, count=1)


def value(name: str, text: str, more: Collection[str] = ()) -> str:
    """A header's value."""
    if is_secret(name, more):
        return SHOWN
    return path(text, more) if "?" in text else _by_look(_USER.sub(f"{SHOWN}@", text) if "//" in text else text)


def _parameter(text: str, more: Collection[str]) -> str:
    name, mark, content = text.partition("=")
    if mark and content and is_secret(_plain(name), more):
        return f"{name}={SHOWN}"
    # A parameter may hold an address with parameters of its own, in which & and = are written otherwise.
    inner = _plain(content)
    if "=" in inner and any(
        is_secret(part.partition("=")[0], more) for part in re.split(r"[?&;#]", inner) if "=" in part
    ):
        return f"{name}={SHOWN}"
    return _by_look(text) if _by_look(inner) == inner else f"{name}={SHOWN}"


def _plain(text: str) -> str:
    """Decoded as often as anybody might."""
    for _ in range(3):
        after = urllib.parse.unquote_plus(text)
        if after == text:
            break
        text = after
    return text


def _by_look(text: str) -> str:
    return _BEARER.sub(SHOWN, _JWT.sub(SHOWN, text))
