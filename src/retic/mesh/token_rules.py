"""One RequestAuthentication as `mesh.token` values, with the faults found on the way.

Where a rule cannot be carried out as it is written, its issuer's tokens are refused: nobody gets in by a mistake.
"""

import re
from collections.abc import Callable

import msgspec

from retic import findings
from retic.mesh import jwks, tables, token
from retic.mesh.token import Place, Where
from retic.objects import guarded, security

SECONDS = 5.0
"""How long a fetch may take when a rule does not say (JWTRule, timeout)."""

SHORTEST, LONGEST = 0.1, 30.0
_URI = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?(/[!-~]*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:h|ms|m|s))+")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
# What the connection, the route or the mesh itself is made of (RFC 9110, section 7.6.1): no claim says that.
_RESERVED = frozenset(
    {
        "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive",
        "proxy-connection", "expect", "cookie", "x-request-id",
    }
)  # fmt: skip
_OURS = ("x-envoy-", "x-retic-", "x-forwarded-", "x_forwarded")
_NOBODY = "(nobody)"
"""Stands for an issuer that is not named; no such issuer has keys."""


Look = Callable[[str], tables.KeySet | None]
"""What is known of a URI; None while nothing is."""


class Wanted(msgspec.Struct, frozen=True, order=True):
    """A URI whose document is to be fetched, in so many seconds at most."""

    uri: str
    seconds: float


class Reading:
    """Reads the rules of one object, and collects its faults and the URIs that it names.

    `closed`: more of the object cannot be read than parts of its rules, so that it takes no token.
    """

    def __init__(self, ref: findings.Ref, look: Look, *, closed: bool = False) -> None:
        self._closed = closed
        self._ref = ref
        self._look = look
        self.faults: list[findings.Fault] = []
        self.wanted: list[Wanted] = []

    def rules(self, given: tuple[security.JWTRule, ...]) -> tuple[token.Issuer, ...]:
        """All rules, in their order; of two for one issuer the first."""
        answer: dict[str, token.Issuer] = {}
        for number, rule in enumerate(given):
            made = self._rule(rule, number)
            if made.issuer in answer:
                first = answer[made.issuer].number
                self._fault(
                    "RT0413", f"spec.jwtRules[{number}].issuer",
                    f"spec.jwtRules[{first}] is for the issuer {rule.issuer!r} too: this rule is not looked at",
                    "put both into one rule; audiences, fromHeaders, fromParams and fromCookies are lists",
                )
            answer.setdefault(made.issuer, made)
        if self._closed and not answer:
            return (token.Issuer(self._ref, 0, _NOBODY, "", token.DEFAULT),)
        if not given:
            self._fault(
                "RT0418", "spec.jwtRules", "without jwtRules no token is looked at",
                "write an issuer and its keys, or remove the object",
            )
        return tuple(answer.values())

    def _rule(self, rule: security.JWTRule, number: int) -> token.Issuer:
        path = f"spec.jwtRules[{number}]"
        unread = self._closed or next(guarded.paths(rule), None) is not None
        if not rule.issuer and not unread:
            self._fault(
                "RT0417", f"{path}.issuer", "the issuer is empty: no token is of it",
                "write the claim `iss` of the tokens that are meant",
            )
        where = self._where(rule, path)
        payload = self._header(rule.output_payload_to_header or "", f"{path}.outputPayloadToHeader", where)
        return token.Issuer(
            origin=self._ref,
            number=number,
            issuer=rule.issuer or _NOBODY,
            keys="" if unread else self._keys(rule, path),
            where=where,
            audiences=tuple(dict.fromkeys(rule.audiences)),
            forward=rule.forward_original_token is True,
            payload_header=payload,
            claim_headers=self._claims(rule, path, where, payload),
        )

    def _where(self, rule: security.JWTRule, path: str) -> tuple[Where, ...]:
        answer: list[Where] = []
        for i, header in enumerate(rule.from_headers):
            if not header.unread and self._named(header.name, f"{path}.fromHeaders[{i}].name", "a header"):
                spelled = token.spelled(header.prefix or "") if header.name.lower() == "authorization" else (
                    header.prefix or "",
                )
                answer += [Where(Place.HEADER, header.name.lower(), prefix) for prefix in spelled]
        for place, field, what, names in (
            (Place.QUERY, "fromParams", "a query parameter", rule.from_params),
            (Place.COOKIE, "fromCookies", "a cookie", rule.from_cookies),
        ):
            for i, name in enumerate(names):
                if self._named(name, f"{path}.{field}[{i}]", what):
                    answer.append(Where(place, name))
        return tuple(dict.fromkeys(answer)) or token.DEFAULT

    def _named(self, name: str, path: str, what: str) -> bool:
        if _NAME.fullmatch(name):
            return True
        self._fault(
            "RT0417", path, f"{name!r} is no name of {what}: no token is looked for there",
            "write letters, digits, - and _, 100 at most",
        )
        return False

    def _claims(
        self, rule: security.JWTRule, path: str, where: tuple[Where, ...], payload: str
    ) -> tuple[token.ClaimHeader, ...]:
        answer: dict[str, token.ClaimHeader] = {}
        for i, each in enumerate(rule.output_claim_to_headers):
            if each.unread:
                continue
            at = f"{path}.outputClaimToHeaders[{i}]"
            header = self._header(each.header, f"{at}.header", where, empty=False)
            if not all(each.claim.split(".")):
                self._fault(
                    "RT0417", f"{at}.claim", f"{each.claim!r} is no claim: no header is set from it",
                    "write a claim's name, or the way to it with dots, such as realm.role",
                )
            elif header in answer or (header and header == payload):
                self._fault(
                    "RT0418", f"{at}.header", f"the header {header} is set twice: this claim is not",
                    "give every claim a header of its own",
                )
            elif header:
                answer[header] = token.ClaimHeader(header, each.claim)
        return tuple(answer.values())

    def _header(self, name: str, path: str, where: tuple[Where, ...], *, empty: bool = True) -> str:
        """The header's name in lower case; "" when it is not given, or cannot be set."""
        lower = name.lower()
        if not name and empty:
            return ""
        why = ""
        if not _NAME.fullmatch(name):
            why = f"{name!r} is no name of a header"
        elif lower in _RESERVED or lower.startswith(_OURS):
            why = f"{lower} says something else already"
        elif any(w.place is Place.HEADER and w.name == lower for w in where):
            why = f"{lower} is where tokens are looked for"
        if why:
            self._fault("RT0417", path, f"{why}: it is not set", "use a header of its own, such as x-jwt-role")
        return "" if why else lower

    def _keys(self, rule: security.JWTRule, path: str) -> str:
        if rule.jwks and rule.jwks_uri:
            self._refused(f"{path}.jwksUri", "there are both jwks and jwksUri", "keep one of them")
            return ""
        if rule.jwks:
            return self._read(rule.jwks, f"{path}.jwks", "jwks")
        if rule.jwks_uri:
            return self._of_uri(rule, path)
        self._refused(
            path, "there is neither jwks nor jwksUri", "write where the issuer publishes its keys in jwksUri"
        )
        return ""

    def _of_uri(self, rule: security.JWTRule, path: str) -> str:
        uri, at = rule.jwks_uri or "", f"{path}.jwksUri"
        if not _URI.fullmatch(uri) or len(uri) > 2048:
            self._refused(
                at, "it is no URI of a document: https://HOST/PATH, without a user, a password or a fragment",
                "write the jwks_uri of https://ISSUER/.well-known/openid-configuration",
            )
            return ""
        if uri.startswith("http:"):
            self._fault(
                "RT0416", at, "keys are fetched without TLS: whoever is on the way can put in their own",
                "write https://",
            )
        self.wanted.append(Wanted(uri, self._seconds(rule, path)))
        found = self._look(uri)
        if found is None:
            return ""
        keys = "" if found.reason and not found.text else self._read(found.text, at, "the document")
        if found.reason and not found.text:
            self._fault(
                "RT0414", at, f"{found.reason}: this issuer's tokens are refused",
                "correct the URI or make it reachable from the control plane, or write the keys in jwks",
            )
        elif found.reason:
            self._fault(
                "RT0415", at, f"{found.reason}: the keys fetched before are used, for a day at most",
                "make it reachable from the control plane again",
            )
        return keys

    def _seconds(self, rule: security.JWTRule, path: str) -> float:
        if rule.timeout is None:
            return SECONDS
        if not _DURATION.fullmatch(rule.timeout):
            self._fault(
                "RT0417", f"{path}.timeout", f"{rule.timeout!r} is no duration: {SECONDS:g} s are waited",
                "write seconds, such as 5s",
            )
            return SECONDS
        given = sum(
            float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|h|m|s)", rule.timeout)
        )
        bounded = min(max(given, SHORTEST), LONGEST)
        if bounded != given:
            self._fault(
                "RT0418", f"{path}.timeout", f"{rule.timeout} is beyond what is waited: {bounded:g} s are",
                f"write {SHORTEST:g}s to {LONGEST:g}s",
            )
        return bounded

    def _read(self, text: str, path: str, what: str) -> str:
        found = jwks.read(text)
        for problem in found.problems:
            if found.text and path.endswith("jwksUri") and not problem.secret:
                continue  # others' keys, in others' hands: there are some that can be used
            code = "RT0412" if problem.secret else "RT0411"
            left = "it is left out" if found.text else "this issuer's tokens are refused"
            self._fault(code, path, f"{what} cannot be used as it is: {problem.message}; {left}", problem.fix)
        return found.text

    def _refused(self, path: str, message: str, fix: str) -> None:
        self._fault("RT0411", path, f"{message}: this issuer's tokens are refused", fix)

    def _fault(self, code: str, path: str, message: str, fix: str) -> None:
        self.faults.append(findings.Fault(code, self._ref, path, message, fix))
