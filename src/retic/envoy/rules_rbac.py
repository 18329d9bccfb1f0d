"""One rule of a policy as an RBAC policy, test by test.

What cannot be decided is decided against the caller (`policy.Policy`): `strict` says that the rule allows, so that
it must not hold by mistake; otherwise it refuses, and must not fail to hold.
"""

from collections.abc import Iterable

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import metadata_pb2, path_pb2, regex_pb2, string_pb2, value_pb2
from google.protobuf import wrappers_pb2

from retic.mesh import patterns, plain_requests, policy
from retic.mesh.policy import How, Pattern, Subject, Test

Permission = rbac_pb2.Permission
Principal = rbac_pb2.Principal
JWT_NAMESPACE = "envoy.filters.http.jwt_authn"
JWT_PAYLOAD = "payload"
_PERMISSIONS = frozenset(
    {Subject.HOST, Subject.METHOD, Subject.PATH, Subject.PORT, Subject.DESTINATION_ADDRESS, Subject.SNI}
)


def elsewhere(ports: Iterable[int]) -> rbac_pb2.Policy:
    """Allows what is made to any other port."""
    any_of = Permission(or_rules=Permission.Set(rules=[Permission(destination_port=port) for port in ports]))
    return rbac_pb2.Policy(permissions=[Permission(not_rule=any_of)], principals=[Principal(any=True)])


def unreadable(wanted: plain_requests.Wanted) -> rbac_pb2.Policy:
    """Matches every request that is not written as wanted."""
    pattern = Pattern(How.REGEX, wanted.readable)
    if wanted.subject is Subject.HOST:
        plain = Permission(header=_matcher(":authority", string(pattern)))
    else:
        plain = _permission(wanted.subject, pattern)
    permission = [Permission(not_rule=plain)]
    if wanted.ports:
        permission.insert(0, _any_permission([Permission(destination_port=port) for port in wanted.ports]))
    return rbac_pb2.Policy(permissions=[_all_permissions(permission)], principals=[Principal(any=True)])


def nothing_of(what: Iterable[rbac_pb2.Permission]) -> rbac_pb2.Permission:
    """Whatever is none of these."""
    return Permission(not_rule=_any_permission(list(what)))


def nobody_of(who: Iterable[rbac_pb2.Principal]) -> rbac_pb2.Principal:
    """Whoever is none of these."""
    return Principal(not_id=_any_principal(list(who)))


def both(one: rbac_pb2.Permission, other: rbac_pb2.Permission) -> rbac_pb2.Permission:
    """What is both."""
    return _all_permissions([one, other])


def also(one: rbac_pb2.Principal, other: rbac_pb2.Principal) -> rbac_pb2.Principal:
    """Who is both."""
    return _all_principals([one, other])


class Reading:
    """Rules of one action, for requests (`http`) or for connections."""

    def __init__(self, *, http: bool, strict: bool) -> None:
        self._http = http
        self._strict = strict

    def rule(self, rule: policy.Rule, ports: tuple[int, ...]) -> rbac_pb2.Policy | None:
        """The rule for what is made to `ports` (() for all); None when it can never hold."""
        operations = self._rows(rule.operations)
        sources = self._rows(rule.sources)
        conditions = self._row(rule.conditions)
        if operations is None or sources is None or conditions is None:
            return None
        when = [test for test in conditions if test.subject in _PERMISSIONS]
        who = [test for test in conditions if test.subject not in _PERMISSIONS]
        permission = [_any_permission([_all_permissions(self._permissions(row)) for row in operations])]
        permission += self._permissions(when)
        if ports:
            permission.append(_any_permission([Permission(destination_port=port) for port in ports]))
        principal = [_any_principal([_all_principals(self._principals(row)) for row in sources])]
        principal += self._principals(who)
        return rbac_pb2.Policy(permissions=[_all_permissions(permission)], principals=[_all_principals(principal)])

    def _rows(self, rows: tuple[policy.Tests, ...]) -> list[list[Test]] | None:
        """What is left of alternatives: [] when they always hold, None when none can."""
        if not rows:
            return []
        left = [row for row in map(self._row, rows) if row is not None]
        if any(not row for row in left):
            return []
        return left or None

    def _row(self, row: policy.Tests) -> list[Test] | None:
        """What is left of a row of tests; None when it can never hold."""
        answer = []
        for test in row:
            if not self._decidable(test):
                if self._strict:
                    return None
                continue
            answer.append(test)
        return sorted(answer, key=_price)

    def _decidable(self, test: Test) -> bool:
        if test.subject in policy.HTTP_ONLY and not self._http:
            return False
        return not any(pattern.how is How.NOTHING for pattern in test.patterns)

    def _permissions(self, row: Iterable[Test]) -> list[rbac_pb2.Permission]:
        return [self._permission(test) for test in row]

    def _permission(self, test: Test) -> rbac_pb2.Permission:
        made = _any_permission([_permission(test.subject, pattern) for pattern in test.patterns])
        return Permission(not_rule=made) if test.negated else made

    def _principals(self, row: Iterable[Test]) -> list[rbac_pb2.Principal]:
        return [self._principal(test) for test in row]

    def _principal(self, test: Test) -> rbac_pb2.Principal:
        # A test that lets somebody in by holding must not hold by half, and the other way round.
        loose = self._strict is test.negated
        made = _any_principal([p for pattern in test.patterns for p in self._who(test, pattern, loose=loose)])
        return Principal(not_id=made) if test.negated else made

    def _who(self, test: Test, pattern: Pattern, *, loose: bool) -> list[rbac_pb2.Principal]:
        match test.subject:
            case Subject.PRINCIPAL:
                return [Principal(authenticated=Principal.Authenticated(principal_name=string(pattern)))]
            case Subject.SOURCE_ADDRESS:
                return [Principal(direct_remote_ip=cidr(pattern.text))]
            case Subject.REMOTE_ADDRESS:
                return [_remote(pattern.text, test.trusted, http=self._http)]
            case Subject.HEADER:
                return [_header(test.name[0], pattern, loose=loose)]
            case Subject.REQUEST_PRINCIPAL:
                return _request_principal(pattern)
            case Subject.CLAIM:
                return [_claim(test.name, pattern)]
        raise ValueError(f"{test.subject} says nothing about a caller")


_PRICES = {
    subject: place
    for place, subject in enumerate(
        (Subject.PATH, Subject.METHOD, Subject.PORT, Subject.PRINCIPAL, Subject.SOURCE_ADDRESS)
    )
}


def _price(test: Test) -> int:
    """What is compared fast, and seldom holds, comes first: with many policies most of the time goes into the first
    test of each. Expressions come last."""
    if test.subject is Subject.HOST or any(pattern.how is How.REGEX for pattern in test.patterns):
        return len(_PRICES) + 1
    return _PRICES.get(test.subject, len(_PRICES))


def _permission(subject: Subject, pattern: Pattern) -> rbac_pb2.Permission:
    match subject:
        case Subject.PORT:
            return Permission(destination_port=int(pattern.text))
        case Subject.DESTINATION_ADDRESS:
            return Permission(destination_ip=cidr(pattern.text))
        case Subject.PATH:
            return Permission(url_path=path_pb2.PathMatcher(path=string(pattern)))
        case Subject.SNI:
            return Permission(requested_server_name=string(pattern))
        case Subject.METHOD:
            return Permission(header=_matcher(":method", string(pattern)))
        case Subject.HOST:
            return _host(pattern)
    raise ValueError(f"{subject} says nothing about what is called")


def _host(pattern: Pattern) -> rbac_pb2.Permission:
    """Whatever its case, with any port or none."""
    plain = string(pattern)
    plain.ignore_case = pattern.how is not How.PRESENT
    made = Permission(header=_matcher(":authority", plain))
    if pattern.how is How.PREFIX or pattern.how is How.PRESENT:
        return made
    text = patterns.quoted(pattern.text)
    with_port = f"(?i){'.*' if pattern.how is How.SUFFIX else ''}{text}\\.?(:[0-9]*)?"
    whole = Permission(header=_matcher(":authority", string(Pattern(How.REGEX, with_port))))
    if pattern.how is How.SUFFIX:
        return whole
    # The expression is asked only where the host begins so.
    begins = string(Pattern(How.PREFIX, pattern.text))
    begins.ignore_case = True
    return _all_permissions([Permission(header=_matcher(":authority", begins)), whole])


def _remote(network: str, trusted: tuple[str, ...], *, http: bool) -> rbac_pb2.Principal:
    direct = Principal(direct_remote_ip=cidr(network))
    if not http:
        return direct
    known = _any_principal(
        [
            Principal(authenticated=Principal.Authenticated(principal_name=string(Pattern(How.EXACT, identity))))
            for identity in trusted
        ]
    )
    if not trusted:
        return direct
    said = _all_principals([known, Principal(remote_ip=cidr(network))])
    return _any_principal([said, _all_principals([Principal(not_id=known), direct])])


def _header(name: str, pattern: Pattern, *, loose: bool) -> rbac_pb2.Principal:
    """`loose`: one of several values is enough. A header that is sent twice is one with a comma to Envoy."""
    if pattern.how is How.PRESENT or not loose:
        return Principal(header=_matcher(name, string(pattern)))
    text = pattern.text if pattern.how is How.REGEX else patterns.quoted(pattern.text)
    before = "[^,]*" if pattern.how is How.SUFFIX else ""
    after = "[^,]*" if pattern.how is How.PREFIX else ""
    one = rf"(?s)(?:.*,)?[ \t]*{before}(?:{text}){after}[ \t]*(?:,.*)?"
    whole = string(pattern)
    either = Principal.Set(
        ids=[
            Principal(header=_matcher(name, whole)),
            Principal(header=_matcher(name, string(Pattern(How.REGEX, one)))),
        ]
    )
    return Principal(or_ids=either)


def _request_principal(pattern: Pattern) -> list[rbac_pb2.Principal]:
    """`iss/sub`, of which both may hold slashes: every way to part it."""
    present = Pattern(How.PRESENT)
    both = [_claim(("iss",), present), _claim(("sub",), present)]
    if pattern.how is How.PRESENT:
        return [_all_principals(both)]
    text, answer = pattern.text, []
    for at in [i for i, c in enumerate(text) if c == "/"]:
        before, after = text[:at], text[at + 1 :]
        first = _part(before, How.SUFFIX if pattern.how is How.SUFFIX else How.EXACT)
        second = _part(after, How.PREFIX if pattern.how is How.PREFIX else How.EXACT)
        if first is not None and second is not None:
            answer.append(_all_principals([_claim(("iss",), first), _claim(("sub",), second), *both]))
    if pattern.how is How.PREFIX:
        answer.append(_all_principals([_claim(("iss",), pattern), *both]))
    if pattern.how is How.SUFFIX:
        answer.append(_all_principals([_claim(("sub",), pattern), *both]))
    return answer or [Principal(not_id=Principal(any=True))]


def _part(text: str, how: How) -> Pattern | None:
    """One side of the slash; an empty one is any value where only an end is compared, and no value at all else."""
    if text:
        return Pattern(how, text)
    return None if how is How.EXACT else Pattern(How.PRESENT)


def _claim(names: tuple[str, ...], pattern: Pattern) -> rbac_pb2.Principal:
    """A claim that is a text, or a list with such a text in it."""
    path = [
        metadata_pb2.MetadataMatcher.PathSegment(key=key) for key in (JWT_PAYLOAD, *names)
    ]
    single = value_pb2.ValueMatcher(string_match=string(pattern))
    listed = value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=single))
    either = value_pb2.ValueMatcher(or_match=value_pb2.OrMatcher(value_matchers=[single, listed]))
    matcher = metadata_pb2.MetadataMatcher(filter=JWT_NAMESPACE, path=path, value=either)
    return Principal(sourced_metadata=rbac_pb2.SourcedMetadata(metadata_matcher=matcher))


def cidr(text: str) -> address_pb2.CidrRange:
    """A network of a pattern."""
    base, _, bits = text.partition("/")
    return address_pb2.CidrRange(address_prefix=base, prefix_len=wrappers_pb2.UInt32Value(value=int(bits)))


def string(pattern: Pattern) -> string_pb2.StringMatcher:
    """A pattern of texts."""
    match pattern.how:
        case How.EXACT:
            return string_pb2.StringMatcher(exact=pattern.text)
        case How.PREFIX:
            return string_pb2.StringMatcher(prefix=pattern.text)
        case How.SUFFIX:
            return string_pb2.StringMatcher(suffix=pattern.text)
        case How.REGEX:
            return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=pattern.text))
        case How.PRESENT:
            return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex="(?s).+"))
    raise ValueError("a pattern that matches nothing has no matcher")


def _matcher(name: str, said: string_pb2.StringMatcher) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, string_match=said)


def _all_permissions(rules: list[rbac_pb2.Permission]) -> rbac_pb2.Permission:
    given = [rule for rule in rules if not rule.any]
    if len(given) == 1:
        return given[0]
    return Permission(and_rules=Permission.Set(rules=given)) if given else Permission(any=True)


def _any_permission(rules: list[rbac_pb2.Permission]) -> rbac_pb2.Permission:
    if len(rules) == 1:
        return rules[0]
    return Permission(or_rules=Permission.Set(rules=rules)) if rules else Permission(any=True)


def _all_principals(ids: list[rbac_pb2.Principal]) -> rbac_pb2.Principal:
    given = [each for each in ids if not each.any]
    if len(given) == 1:
        return given[0]
    return Principal(and_ids=Principal.Set(ids=given)) if given else Principal(any=True)


def _any_principal(ids: list[rbac_pb2.Principal]) -> rbac_pb2.Principal:
    if len(ids) == 1:
        return ids[0]
    return Principal(or_ids=Principal.Set(ids=ids)) if ids else Principal(any=True)
