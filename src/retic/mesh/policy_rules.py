"""One rule of an AuthorizationPolicy as `mesh.policy` values, with the faults found on the way.

A value that cannot be understood becomes a pattern that never matches, and so does a field that could not be read;
what follows of it is `policy.Policy`'s.
"""

import re
from collections.abc import Callable, Iterable

from retic import findings
from retic.mesh import patterns, plain_paths, policy
from retic.mesh.policy import How, Pattern, Subject, Test
from retic.objects import guarded, security

_NAMED = re.compile(r"request\.(headers|auth\.claims)((?:\[[^\[\]]+\])+)")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2
_MOST = 2000  # letters in a text: expressions made of them must fit into a proxy's bound (node.bootstrap)
_KEYS = (
    "request.headers[NAME]", "source.ip", "remote.ip", "source.namespace", "source.principal",
    "source.serviceAccount", "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
    "request.auth.claims[NAME]", "destination.ip", "destination.port", "connection.sni",
)  # fmt: skip

Read = Callable[[str], Iterable[Pattern] | Pattern | None]


def asks_remote(spec: security.AuthorizationPolicySpec) -> bool:
    """Whether a rule asks where a request was first sent from."""
    return any(
        any(f.source and (f.source.remote_ip_blocks or f.source.not_remote_ip_blocks) for f in rule.from_)
        or any(condition.key == "remote.ip" for condition in rule.when)
        for rule in spec.rules
    )


class Reading:
    """Reads the rules of one policy, and collects its faults.

    `domains` are the trust domains, the own one first; `trusted` the SPIFFE IDs whose word about a client counts.
    """

    def __init__(self, ref: findings.Ref, domains: tuple[str, ...], trusted: tuple[str, ...]) -> None:
        self._ref = ref
        self._domains = domains
        self._trusted = trusted
        self.faults: list[findings.Fault] = []

    def rule(self, rule: security.AuthorizationRule, number: int) -> policy.Rule:
        """The rule at that place of `spec.rules`."""
        path = f"spec.rules[{number}]"
        return policy.Rule(
            number,
            tuple(
                (
                    *_unread(each, f"{path}.from[{i}]"),
                    *self._source(each.source or security.Source(), f"{path}.from[{i}].source"),
                )
                for i, each in enumerate(rule.from_)
            ),
            tuple(
                (
                    *_unread(each, f"{path}.to[{i}]"),
                    *self._operation(each.operation or security.Operation(), f"{path}.to[{i}].operation"),
                )
                for i, each in enumerate(rule.to)
            ),
            (
                *_unread(rule, path),
                *(test for i, each in enumerate(rule.when) for test in self._condition(each, f"{path}.when[{i}]")),
            ),
        )

    def _source(self, of: security.Source, path: str) -> policy.Tests:
        who = (
            (Subject.PRINCIPAL, "principals", of.principals, of.not_principals, self._principal),
            (Subject.REQUEST_PRINCIPAL, "requestPrincipals", of.request_principals, of.not_request_principals,
             patterns.text),
            (Subject.PRINCIPAL, "namespaces", of.namespaces, of.not_namespaces, self._namespace),
            (Subject.PRINCIPAL, "serviceAccounts", of.service_accounts, of.not_service_accounts, self._account),
            (Subject.SOURCE_ADDRESS, "ipBlocks", of.ip_blocks, of.not_ip_blocks, patterns.block),
            (Subject.REMOTE_ADDRESS, "remoteIpBlocks", of.remote_ip_blocks, of.not_remote_ip_blocks, patterns.block),
        )  # fmt: skip
        return (*_unread(of, path), *(test for row in who for test in self._both(*row, path=path)))

    def _operation(self, of: security.Operation, path: str) -> policy.Tests:
        what = (
            (Subject.HOST, "hosts", of.hosts, of.not_hosts, _host),
            (Subject.PORT, "ports", of.ports, of.not_ports, patterns.port),
            (Subject.METHOD, "methods", of.methods, of.not_methods, patterns.text),
            (Subject.PATH, "paths", of.paths, of.not_paths, self._path),
        )
        return (*_unread(of, path), *(test for row in what for test in self._both(*row, path=path)))

    def _both(
        self, subject: Subject, name: str, yes: tuple[str, ...], no: tuple[str, ...], read: Read, *, path: str
    ) -> list[Test]:
        """The field `name` and the one that says the opposite."""
        negative = f"not{name[0].upper()}{name[1:]}"
        return [
            *([self._test(subject, yes, read, f"{path}.{name}")] if yes else ()),
            *([self._test(subject, no, read, f"{path}.{negative}", negated=True)] if no else ()),
        ]

    def _test(
        self, subject: Subject, values: tuple[str, ...], read: Read, field: str, *, negated: bool = False,
        name: tuple[str, ...] = (),
    ) -> Test:
        found: list[Pattern] = []
        for i, value in enumerate(values):
            said = read(value) if 0 < len(value) <= _MOST and value.isprintable() else None
            if said is None:
                self._fault(
                    "RT0402", f"{field}[{i}]", f"{_short(value)} is no {subject.value} that can be compared",
                    _EXAMPLES.get(subject, f"write a text of 1 to {_MOST} printable letters"),
                )
                said = Pattern(How.NOTHING)
            elif subject is Subject.PATH and isinstance(said, Pattern):
                self._reachable(said, value, f"{field}[{i}]")
            found += [said] if isinstance(said, Pattern) else said
        trusted = self._trusted if subject is Subject.REMOTE_ADDRESS else ()
        return Test(subject, tuple(dict.fromkeys(found)), negated, name, field, trusted)

    def _condition(self, of: security.Condition, path: str) -> list[Test]:
        unread = _unread(of, path)
        if not of.key or (unread and not of.values and not of.not_values):
            return unread or [_undecided(f"{path}.key")]
        return [*unread, *self._attribute_tests(of, path)]

    def _attribute_tests(self, of: security.Condition, path: str) -> list[Test]:
        known = self._attribute(of.key)
        if known is None:
            self._fault(
                "RT0403", f"{path}.key", f"there is no attribute {of.key!r}", f"use one of {', '.join(_KEYS)}"
            )
            return [_undecided(f"{path}.key")]
        if not of.values and not of.not_values:
            # It says nothing of the attribute (RT0401): against the caller, as what cannot be compared.
            return [_undecided(path)]
        subject, name, read = known
        return [
            *([self._test(subject, of.values, read, f"{path}.values", name=name)] if of.values else ()),
            *(
                [self._test(subject, of.not_values, read, f"{path}.notValues", negated=True, name=name)]
                if of.not_values
                else ()
            ),
        ]

    def _attribute(self, key: str) -> tuple[Subject, tuple[str, ...], Read] | None:
        plain: dict[str, tuple[Subject, Read]] = {
            "source.ip": (Subject.SOURCE_ADDRESS, patterns.block),
            "remote.ip": (Subject.REMOTE_ADDRESS, patterns.block),
            "source.namespace": (Subject.PRINCIPAL, self._namespace),
            "source.principal": (Subject.PRINCIPAL, self._principal),
            "source.serviceAccount": (Subject.PRINCIPAL, self._account),
            "request.auth.principal": (Subject.REQUEST_PRINCIPAL, patterns.text),
            "destination.ip": (Subject.DESTINATION_ADDRESS, patterns.block),
            "destination.port": (Subject.PORT, patterns.port),
            "connection.sni": (Subject.SNI, patterns.text),
        }
        if key in plain:
            return plain[key][0], (), plain[key][1]
        claims = {"request.auth.audiences": "aud", "request.auth.presenter": "azp"}
        if key in claims:
            return Subject.CLAIM, (claims[key],), patterns.text
        named = _NAMED.fullmatch(key)
        if named is None:
            return None
        names = tuple(named[2][1:-1].split("]["))
        if named[1] == "headers":
            return self._header(names[0].lower()) if len(names) == 1 else None
        return Subject.CLAIM, names, patterns.text

    def _header(self, name: str) -> tuple[Subject, tuple[str, ...], Read] | None:
        """Host and method are compared as everywhere; a path is `to`'s: here it would be one with its query."""
        if name in ("host", ":authority"):
            return Subject.HOST, (), _host
        if name == ":method":
            return Subject.METHOD, (), patterns.text
        return (Subject.HEADER, (name,), patterns.text) if _TOKEN.fullmatch(name) else None

    def _principal(self, value: str) -> list[Pattern]:
        return patterns.principal(value, self._domains)

    def _namespace(self, value: str) -> list[Pattern]:
        return patterns.namespace(value, self._domains)

    def _account(self, value: str) -> list[Pattern] | None:
        if "*" in value or value.count("/") > 1 or value.startswith("/") or value.endswith("/"):
            return None
        return patterns.account(value, self._ref.namespace, self._domains)

    def _path(self, value: str) -> Pattern | None:
        said = None if patterns.template_fault(value) else patterns.path(value)
        return said if said and len(said.text) <= 4 * _MOST else None

    def _reachable(self, said: Pattern, value: str, path: str) -> None:
        why = plain_paths.never(patterns.literals(said), whole=said.how is How.EXACT)
        if why:
            self._fault(
                "RT0407", path, f"no request that is let through has a path such as {_short(value)}: {why}",
                "write the path in the form that is meant: without a query, escapes of letters, ., .., // and ;",
            )

    def _fault(self, code: str, path: str, message: str, fix: str) -> None:
        self.faults.append(findings.Fault(code, self._ref, path, message, fix))


def _undecided(field: str) -> Test:
    return Test(Subject.HEADER, (Pattern(How.NOTHING),), field=field)


def _unread(of: guarded.Part, path: str) -> list[Test]:
    return [_undecided(guarded.below(path, name)) for name in of.unread]


def _short(value: str) -> str:
    return repr(value if len(value) < 100 else f"{value[:100]}...")


def _host(value: str) -> Pattern:
    return patterns.text(value.lower())


_EXAMPLES = {
    Subject.SOURCE_ADDRESS: "write an address or a network, such as 10.1.0.0/16",
    Subject.REMOTE_ADDRESS: "write an address or a network, such as 203.0.113.0/24",
    Subject.DESTINATION_ADDRESS: "write an address or a network, such as 10.1.0.0/16",
    Subject.PORT: "write a port's number in quotes, such as \"8080\"",
    Subject.PRINCIPAL: "write NAMESPACE/NAME, or NAME for one of the policy's own namespace",
    Subject.PATH: "write {*} for a whole segment, {**} for all that follows, or * at one end",
}
