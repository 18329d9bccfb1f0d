"""What comes of a request's token, decided from the values that a proxy's configuration is made of.

Follows Envoy's jwt_authn filter where the standards leave room: `exp` need not be there, clocks may differ by
`token.SKEW_SECONDS`, an audience is compared without its scheme and last slash, claims are numbers of 64 bits.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib import parse

import msgspec
import re2

from retic.explain import signatures
from retic.mesh import token
from retic.mesh.token import Place

Headers = tuple[tuple[str, str], ...]

_IN_TOKEN = re.compile(r"[A-Za-z0-9_.\-]")
_TEXTS = ("iss", "sub", "jti")
_TIMES = ("iat", "nbf", "exp")
_LARGEST = float(2**64)
_UNAUTHORIZED, _FORBIDDEN = 401, 403


class Outcome(msgspec.Struct, frozen=True):
    """`refused`: why the request is answered with `status`, "" when it goes on; then `claims` are those of its token,
    None when it has none, and `headers` and `target` are what policies, routes and the application see."""

    headers: Headers
    target: str
    claims: Mapping[str, Any] | None = None
    refused: str = ""
    status: int = 0


class _Token(msgspec.Struct, frozen=True):
    """A token that was found: whose rules look there, and where it is."""

    text: str
    where: token.Where


class _Parsed(msgspec.Struct, frozen=True):
    algorithm: str
    key_id: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes
    payload: str


class _RefusedError(Exception):
    """The text says why; `status` is the answer's."""

    def __init__(self, why: str, status: int = _UNAUTHORIZED) -> None:
        super().__init__(why)
        self.status = status


def judge(
    issuers: tuple[token.Issuer, ...], headers: Sequence[tuple[str, str]], target: str, now: float, port: int = 0
) -> Outcome:
    """What comes of a request with these headers (in order, any case) and this target (path and query).

    `now`: seconds since 1970; `port`: where it is sent to, of the pod that the rules are for.
    """
    here = token.at(issuers, port)
    forged = [re2.compile(token.forged(name)) for name in token.set_headers(here)]
    given = tuple((name.lower(), value) for name, value in headers)
    left = tuple((name, value) for name, value in given if not any(f.fullmatch(name) for f in forged))
    twice = any(sum(name == each for name, _ in left) > 1 for each in token.once(here))
    if twice or any(all(_holds(seen, left, target) for seen in row) for row in token.refused(here)):
        why = "it has a second token, or a scheme that is spelled in another way"
        return Outcome(left, target, refused=why, status=_UNAUTHORIZED)
    answer = Outcome(left, target)
    try:
        for found in _tokens(here, left, target):
            parsed = _parse(found.text)
            issuer = _issuer(here, found, parsed)
            _check(issuer, parsed, now)
            answer = _taken(answer, issuer, found, parsed)
    except _RefusedError as error:
        return Outcome(left, target, refused=str(error), status=error.status)
    return answer


def _holds(seen: token.Seen, headers: Headers, target: str) -> bool:
    value = target if seen.header == ":path" else dict(headers).get(seen.header)
    return value is not None and bool(re2.fullmatch(seen.regex, value)) is not seen.negated


def _tokens(issuers: tuple[token.Issuer, ...], headers: Headers, target: str) -> Iterator[_Token]:
    """What stands in the places that some rule names."""
    query, cookies, once = _query(target), _cookies(headers), dict(headers)
    for where in dict.fromkeys(where for each in issuers for where in each.where):
        if where.place is Place.QUERY and where.name in query:
            yield _Token(query[where.name], where)
        elif where.place is Place.COOKIE and where.name in cookies:
            yield _Token(cookies[where.name], where)
        elif where.place is Place.HEADER and where.name in once:
            text = once[where.name]
            at = text.find(where.prefix)
            if at >= 0:
                yield _Token(_after(text, at + len(where.prefix)) if where.prefix else text, where)


def _after(text: str, at: int) -> str:
    """From the first character that a token can have."""
    found = _IN_TOKEN.search(text, at)
    return text[found.start() :] if found else text


def _query(target: str) -> dict[str, str]:
    answer: dict[str, str] = {}
    for piece in filter(None, target.partition("?")[2].split("&")):
        name, _, value = piece.partition("=")
        answer.setdefault(parse.unquote(name, errors="replace"), parse.unquote(value, errors="replace"))
    return answer


def _cookies(headers: Headers) -> dict[str, str]:
    answer: dict[str, str] = {}
    for piece in (piece for name, value in headers if name == "cookie" for piece in value.split(";")):
        name, equals, value = piece.strip(" \t").partition("=")
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if equals:
            answer.setdefault(name, value)
    return answer


def _parse(text: str) -> _Parsed:
    parts = [part for part in text.split(".") if part]
    if len(parts) != 3:
        raise _RefusedError("its token does not have three parts")
    header, claims = _object(parts[0], "header"), _object(parts[1], "payload")
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(key_id, str):
        raise _RefusedError("its token's header says no algorithm, or no key that could be one")
    if algorithm not in signatures.ALGORITHMS:
        raise _RefusedError("its token is not signed with an algorithm that is known")
    for name in _TEXTS:
        if not isinstance(claims.get(name, ""), str):
            raise _RefusedError(f"its token's claim {name} is no text")
    for name in _TIMES:
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LARGEST:
            raise _RefusedError(f"its token's claim {name} is no time")
    audience = claims.get("aud", "")
    if not isinstance(audience, str) and not (
        isinstance(audience, list) and all(isinstance(each, str) for each in audience)
    ):
        raise _RefusedError("its token's claim aud is neither a text nor a list of texts")
    return _Parsed(algorithm, key_id, claims, f"{parts[0]}.{parts[1]}".encode(), _decoded(parts[2]), parts[1])


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(_decoded(text), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _RefusedError(f"its token's {what} is no JSON object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if abs(value) < float("inf") else _no_number(text)


def _decoded(text: str) -> bytes:
    plain = "".join(text.split()).rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]*", plain):
        raise _RefusedError("its token is not written in base64url")
    try:
        return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        raise _RefusedError("its token is not written in base64url") from None


def _issuer(issuers: tuple[token.Issuer, ...], found: _Token, parsed: _Parsed) -> token.Issuer:
    for each in issuers:
        if each.issuer == parsed.claims.get("iss", "") and found.where in each.where:
            return each
    raise _RefusedError("its token is of an issuer whose tokens are not taken there")


def _check(issuer: token.Issuer, parsed: _Parsed, now: float) -> None:
    begins, ends = int(parsed.claims.get("nbf", 0)), int(parsed.claims.get("exp", 0))
    if int(now) + token.SKEW_SECONDS < begins:
        raise _RefusedError("its token is not valid yet")
    if ends and int(now) > ends + token.SKEW_SECONDS:
        raise _RefusedError("its token has expired")
    said = parsed.claims.get("aud", [])
    audiences = [said] if isinstance(said, str) else said
    wanted = {_audience(each) for each in issuer.audiences}
    if wanted and not any(_audience(each) in wanted for each in audiences):
        raise _RefusedError("its token is for another audience", _FORBIDDEN)
    why = signatures.fault(issuer.keys, parsed.algorithm, parsed.key_id, parsed.signed, parsed.signature)
    if why:
        raise _RefusedError(why)


def _audience(text: str) -> str:
    for scheme in ("http://", "https://"):
        if text.startswith(scheme):
            text = text[len(scheme) :]
            break
    return text.removesuffix("/")


def _taken(before: Outcome, issuer: token.Issuer, found: _Token, parsed: _Parsed) -> Outcome:
    headers, target = before.headers, before.target
    if not issuer.forward and found.where.place is Place.HEADER:
        headers = tuple((name, value) for name, value in headers if name != found.where.name)
    if not issuer.forward and found.where.place is Place.QUERY:
        target = _without(target, found.where.name)
    if issuer.payload_header:
        headers += ((issuer.payload_header, parsed.payload),)
    for each in issuer.claim_headers:
        text = _said(parsed.claims, each.claim)
        if text:
            headers += ((each.header, text),)
    spaced = {
        name: value.split() if name in token.SPACED and isinstance(value, str) else value
        for name, value in parsed.claims.items()
    }
    return Outcome(headers, target, spaced)


def _without(target: str, name: str) -> str:
    path, _, query = target.partition("?")
    left = [piece for piece in query.split("&") if parse.unquote(piece.partition("=")[0], errors="replace") != name]
    return f"{path}?{'&'.join(left)}" if left else path


def _said(claims: Mapping[str, Any], path: str) -> str:
    """A claim as a header's value: texts as they are, lists and objects as JSON in base64; "" for none."""
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        whole = 0 <= value < _LARGEST and value == int(value)
        return str(int(float(value))) if whole else f"{value:f}"
    if isinstance(value, list | dict):
        return base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()
    return value if isinstance(value, str) else ""
