"""External authorizers: what an AuthorizationProvider means, and whom the CUSTOM policies of a workload ask.

Nobody is asked about calls to an authorizer itself: a policy for a whole namespace or mesh would otherwise have it
asked about each of its own questions, without end.
"""

import re

import msgspec

from retic import graph
from retic.mesh import declared, policies, policy, services, tables, workloads
from retic.objects import authorizers as objects

DEFAULT_SECONDS = 5.0
"""How long an answer is waited for when nothing is said, in seconds."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Body(msgspec.Struct, frozen=True):
    """How many bytes of a body are shown; whether only the beginning of a longer one; whether as bytes."""

    most: int
    partial: bool = False
    raw: bool = False


class Http(msgspec.Struct, frozen=True):
    """How an authorizer is asked by HTTP. Names of headers are in lower case; they may begin or end with *."""

    prefix: str = ""
    shown: tuple[str, ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    upstream: tuple[str, ...] = ()
    downstream: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


class Authorizer(msgspec.Struct, frozen=True):
    """Whom to ask: a port of a Service, by gRPC when `http` is None. `timeout` is in seconds; `status` is what a
    request is refused with that could not be asked about, unless `fail_open`."""

    name: str
    at: services.PortKey
    http: Http | None = None
    timeout: float = DEFAULT_SECONDS
    fail_open: bool = False
    status: int = 403
    body: Body | None = None
    routes_again: bool = False


class Question(msgspec.Struct, frozen=True):
    """What one provider is asked about: what a rule of one of the `policies` matches. Without an `authorizer` (there
    is none of that name, or it cannot be understood) all of that is refused."""

    provider: str
    authorizer: Authorizer | None
    policies: tuple[policy.Policy, ...]


class Questions(msgspec.Struct, frozen=True):
    """All questions of a workload, in the order of the providers' names. Calls to its own ports `exempt` are asked
    about by none: there an authorizer listens. `dry` are the policies that only count."""

    asked: tuple[Question, ...] = ()
    exempt: tuple[int, ...] = ()
    dry: tuple[policy.Policy, ...] = ()


NONE = Questions()


@graph.query
def of(db: graph.Db, name: str) -> Authorizer | None:
    """The authorizer of that name; None when there is none, or when it does not say clearly whom to ask."""
    found = db.get(tables.PROVIDERS, tables.Key("", name))
    given = said(found.spec) if found else None
    if given is None:
        return None
    at = where(given.service, db.ask(workloads.settings, tables.ONE).cluster_domain)
    if at is None:
        return None
    http = _http(given) if isinstance(given, objects.HttpAuthorizer) else None
    body = given.include_request_body_in_check
    return Authorizer(
        name=name,
        at=services.PortKey(at.namespace, at.name, given.port),
        http=http,
        timeout=seconds(given.timeout) if given.timeout else DEFAULT_SECONDS,
        fail_open=bool(given.fail_open),
        status=int(given.status_on_error or 403),
        body=Body(body.max_request_bytes, bool(body.allow_partial_message), bool(body.pack_as_bytes)) if body else None,
        routes_again=bool(given.clear_route_cache),
    )


def said(spec: objects.AuthorizationProviderSpec) -> objects.GrpcAuthorizer | objects.HttpAuthorizer | None:
    """Whom a provider says to ask; None when it is nobody, or two."""
    grpc, http = spec.envoy_ext_authz_grpc, spec.envoy_ext_authz_http
    return None if grpc and http else grpc or http


def _http(said: objects.HttpAuthorizer) -> Http:
    def lower(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.lower() for name in names))

    return Http(
        prefix=(said.path_prefix or "").rstrip("/"),
        shown=lower(said.include_request_headers_in_check),
        added=tuple(sorted((k.lower(), v) for k, v in said.include_additional_headers_in_check.items())),
        upstream=lower(said.headers_to_upstream_on_allow),
        downstream=lower(said.headers_to_downstream_on_allow),
        denied=lower(said.headers_to_downstream_on_deny),
    )


def where(host: str, cluster_domain: str) -> tables.Key | None:
    """The Service that a host stands for: NAME.NAMESPACE, with or without .svc and the cluster's domain, and with or
    without NAMESPACE/ before it, as in Istio; None for any other host."""
    plain = host.rpartition("/")[2].removesuffix(f".svc.{cluster_domain}").removesuffix(".svc")
    name, dot, namespace = plain.partition(".")
    return tables.Key(namespace, name) if dot and "." not in namespace else None


def seconds(text: str) -> float:
    """The length of a duration such as 1m0.5s that has the right form, in seconds; at least a millisecond."""
    found = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    return max(0.001, sum(float(number) * _UNITS[unit] for number, unit in found))


def only_said(how: Http) -> tuple[str, ...]:
    """Names of headers that the authorizer sets for the application and is not shown: nobody else may say them."""
    return tuple(name for name in how.upstream if not any(_covers(wide, name) for wide in how.shown))


def _covers(wide: str, name: str) -> bool:
    """Whether whatever `name` stands for is in `wide`."""
    if wide.endswith("*"):
        return name.startswith(wide[:-1])
    return name.endswith(wide[1:]) if wide.startswith("*") else name == wide


def spelled(name: str) -> str:
    """RE2 for the headers that a name stands for, with - and _ taken for one sign."""
    middle = "".join("[-_]" if sign in "-_" else re.escape(sign) for sign in name.strip("*"))
    return f"{'.*' if name.startswith('*') else ''}{middle}{'.*' if name.endswith('*') and name != '*' else ''}"


def _by_namespace(_: tables.Key, value: objects.AuthorizationProvider) -> "list[str]":
    given = said(value.spec)
    return given.service.rpartition("/")[2].split(".")[1:2] if given else []


BY_NAMESPACE = graph.index(tables.PROVIDERS, _by_namespace, name="authorizationproviders.by_namespace")
"""Providers by the namespace of the Service that is asked."""


@graph.query
def asked(db: graph.Db, key: tables.Key) -> Questions:
    """The questions of a pod."""
    found = _questions(db, db.ask(policies.applying, key))
    if not found.asked:
        return found
    return msgspec.structs.replace(found, exempt=db.ask(own_ports, key))


@graph.query
def asked_at_gateway(db: graph.Db, key: tables.Key) -> Questions:
    """The questions of a Gateway."""
    return _questions(db, db.ask(policies.at_gateway, key))


def _questions(db: graph.Db, given: tuple[policy.Policy, ...]) -> Questions:
    custom = [each for each in given if each.action is policy.Action.CUSTOM]
    names = sorted({each.provider for each in custom if not each.dry_run})
    return Questions(
        asked=tuple(
            Question(
                name,
                db.ask(of, name) if name else None,
                tuple(each for each in custom if each.provider == name and not each.dry_run),
            )
            for name in names
        ),
        dry=tuple(each for each in custom if each.dry_run),
    )


@graph.query
def own_ports(db: graph.Db, key: tables.Key) -> tuple[int, ...]:
    """The pod's own ports at which it is an authorizer, in order."""
    ports: set[int] = set()
    for name in sorted(db.find(BY_NAMESPACE, key.namespace)):
        known = db.ask(of, name.name)
        if known is not None and known.at.namespace == key.namespace:
            ports.update(db.ask(declared.behind_port, declared.PortBacking(key, known.at.service, known.at.port)))
    return tuple(sorted(ports))
