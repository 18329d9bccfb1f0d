"""Which JSON web tokens are taken, as Envoy-neutral values, and what of a request is refused before any is looked at.

A request carries one token or none: with two, what was checked is not for certain what an application reads. The
places where a token can stand are found by expressions (RE2, whole match) that a proxy and `explain` share.
"""

import enum

import msgspec
import re2

from retic import findings

SKEW_SECONDS = 60
"""By how much a clock may differ from the issuer's (Envoy's JwtProvider.clock_skew_seconds)."""

SPACED = ("scope", "permission")
"""Claims that are lists with spaces between the entries (RFC 8693, section 4.2): policies see lists."""

MOST_PLACES = 24
"""Of so many places each is compared with every other. Of two tokens elsewhere both must be valid, which every proxy
asks for in any case."""

BEARER = "Bearer "
_SPELLINGS = (BEARER, "bearer ", "BEARER ")


class Place(enum.Enum):
    """What part of a request a token is taken from."""

    HEADER = "header"
    QUERY = "query"
    COOKIE = "cookie"


class Where(msgspec.Struct, frozen=True):
    """One place. `name` is a header's (lower case), a query parameter's or a cookie's; `prefix` stands before the
    token in a header."""

    place: Place
    name: str
    prefix: str = ""


DEFAULT = (
    *(Where(Place.HEADER, "authorization", prefix) for prefix in _SPELLINGS),
    Where(Place.QUERY, "access_token"),
)
"""Where tokens are looked for when a rule does not say (JWTRule, fromHeaders and fromParams)."""


class ClaimHeader(msgspec.Struct, frozen=True):
    """A header (lower case) that is set from a claim; of a claim within claims, the path has dots."""

    header: str
    claim: str


class Issuer(msgspec.Struct, frozen=True):
    """Whose tokens are taken. `keys` is a JWKS with public keys only, "" while none is known: every token is refused.

    `audiences` () takes any. `ports`: the workload's ports it is for, () for all. `forward`: whether the application
    gets the token. `payload_header` "" for none.
    """

    origin: findings.Ref
    number: int
    issuer: str
    keys: str
    where: tuple[Where, ...]
    audiences: tuple[str, ...] = ()
    forward: bool = False
    payload_header: str = ""
    claim_headers: tuple[ClaimHeader, ...] = ()
    ports: tuple[int, ...] = ()


class Seen(msgspec.Struct, frozen=True):
    """Holds when the header (":path" for the request's target) is there and matches; `negated`, when it is there and
    does not."""

    header: str
    regex: str
    negated: bool = False


def spelled(prefix: str) -> tuple[str, ...]:
    """The prefixes that are meant: a scheme has no case (RFC 9110, section 11.1)."""
    return _SPELLINGS if prefix == BEARER else (prefix,)


def at(issuers: tuple[Issuer, ...], port: int) -> tuple[Issuer, ...]:
    """The issuers at a port, each once. Of several rules for one, the first counts; those that differ from it in the
    audiences only add theirs."""
    found: dict[str, Issuer] = {}
    for each in issuers:
        if each.ports and port not in each.ports:
            continue
        first = found.setdefault(each.issuer, each)
        if alike(first, each):
            every = not (first.audiences and each.audiences)
            both = () if every else tuple(dict.fromkeys((*first.audiences, *each.audiences)))
            found[each.issuer] = msgspec.structs.replace(first, audiences=both)
    return tuple(found.values())


def alike(one: Issuer, other: Issuer) -> bool:
    """Whether two rules for one issuer can both be carried out."""
    return _bare(one) == _bare(other)


def _bare(of: Issuer) -> Issuer:
    return msgspec.structs.replace(of, origin=findings.Ref("", "", ""), number=0, audiences=(), ports=())


def set_headers(issuers: tuple[Issuer, ...]) -> tuple[str, ...]:
    """The headers that say what was found in a token: nobody else may set them."""
    names = {claim.header for each in issuers for claim in each.claim_headers}
    return tuple(sorted(names | {each.payload_header for each in issuers if each.payload_header}))


def forged(header: str) -> str:
    """RE2 for the spellings (lower case) that an application could take for this header: CGI makes one name of `a-b`
    and `a_b` (RFC 3875, section 4.1.18)."""
    return "[-_]".join(str(re2.escape(part)) for part in header.replace("_", "-").split("-"))


def once(issuers: tuple[Issuer, ...]) -> tuple[str, ...]:
    """The headers that tokens stand in: with two of one name, a request is refused."""
    names = {where.name for each in issuers for where in each.where if where.place is Place.HEADER}
    cookies = any(where.place is Place.COOKIE for each in issuers for where in each.where)
    return tuple(sorted(names | ({"cookie"} if cookies else set())))


def refused(issuers: tuple[Issuer, ...]) -> tuple[tuple[Seen, ...], ...]:
    """Rows of what must all hold for a request to be refused: a second token, or a scheme that is spelled so that a
    proxy would not see the token behind it."""
    places: dict[tuple[Place, str], list[str]] = {}
    for each in issuers:
        for where in each.where:
            places.setdefault((where.place, where.name), []).append(where.prefix)
    present = [_present(place, name, prefixes) for (place, name), prefixes in sorted(places.items(), key=_order)]
    present = present[:MOST_PLACES]
    rows: list[tuple[Seen, ...]] = [(one, other) for i, one in enumerate(present) for other in present[i + 1 :]]
    for place, name in sorted(places, key=lambda key: (key[0].value, key[1])):
        if place is Place.QUERY:
            one = _parameter(name)
            rows.append((Seen(":path", rf"(?s)[^?]*\?(?:.*&)?{one}(?:=[^&]*)?&(?:.*&)?{one}(?:[=&].*)?"),))
        if place is Place.COOKIE:
            one = rf"[ \t]*{re2.escape(name)}[ \t]*="
            rows.append((Seen("cookie", rf"(?s)(?:.*[;,])?{one}[^;,]*[;,](?:.*[;,])?{one}.*"),))
    if BEARER in places.get((Place.HEADER, "authorization"), ()):
        spelling = "|".join(_SPELLINGS)
        rows.append(
            (
                Seen("authorization", r"(?si)(?:.*,)?[ \t]*bearer[ \t].*"),
                Seen("authorization", rf"(?s).*(?:{spelling}).*", negated=True),
            )
        )
    return tuple(rows)


def _order(entry: tuple[tuple[Place, str], list[str]]) -> tuple[str, str]:
    return entry[0][0].value, entry[0][1]


def _present(place: Place, name: str, prefixes: list[str]) -> Seen:
    if place is Place.QUERY:
        return Seen(":path", rf"(?s)[^?]*\?(?:.*&)?{_parameter(name)}(?:[=&].*)?")
    if place is Place.COOKIE:
        return Seen("cookie", rf"(?s)(?:.*[;,])?[ \t]*{re2.escape(name)}[ \t]*=.*")
    if "" in prefixes:
        return Seen(name, "(?s).*")
    return Seen(name, f"(?s).*(?:{'|'.join(re2.escape(prefix) for prefix in sorted(set(prefixes)))}).*")


def _parameter(name: str) -> str:
    """The name of a query parameter, in plain or escaped."""
    return "".join(f"(?:{re2.escape(chr(byte))}|(?i:%{byte:02x}))" if byte < 128 else f"(?i:%{byte:02x})"
                   for byte in name.encode())
