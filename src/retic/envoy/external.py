"""Questions to external authorizers as filters: one that marks what is asked about, and one that asks.

The mark is what an RBAC filter's shadow rules leave in the request's metadata. The asking filter is passed only where
that says that no rule matched; where it says nothing, it asks. Whatever keeps an authorizer from answering refuses,
unless its provider says failOpen (envoy.extensions.filters.http.ext_authz.v3, ...http.rbac.v3, shadow_rules).
"""

import itertools
from collections.abc import Iterable, Iterator

import msgspec
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import config_source_pb2, extension_pb2, grpc_service_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2 as network_ext_authz_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.type.matcher.v3 import metadata_pb2, regex_pb2, string_pb2, value_pb2
from envoy.type.v3 import http_status_pb2

from retic.envoy import authorization, counters, limits, names, packing, rules_rbac
from retic.mesh import authorizers, policy

TCP_TYPES = (
    "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
    "type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
)
"""What the slot that asks about connections may be filled with."""

_HTTP_MARKS, _TCP_MARKS = "envoy.filters.http.rbac", "envoy.filters.network.rbac"
_V3 = config_source_pb2.ApiVersion.V3
# Asked always, or no header at all: these cannot be forged, and must not be taken away before somebody is asked.
_NEVER_TAKEN = frozenset(
    {"authorization", "host", "path", "method", "content-length", ":authority", ":path", ":method"}
)

Filter = extension_pb2.TypedExtensionConfig


class Asker(msgspec.Struct, frozen=True):
    """In whose name authorizers are asked: the account of the pod that is called. `whose` begins counters."""

    namespace: str
    account: str
    whose: str

    def cluster(self, provider: str) -> str:
        """The cluster of that provider for this account."""
        return names.authorizer(self.namespace, self.account, provider)


def of_requests(
    who: Asker, questions: authorizers.Questions, exempt: authorization.Exempt = authorization.NOBODY
) -> Iterator[Filter]:
    """The filters that ask about requests, those that ask last: what is behind a filter that waits is passed over.

    So one authorizer is asked about a request; what is meant by the rules of several is refused.
    """
    asking: list[Filter] = []
    marks: list[metadata_pb2.MetadataMatcher] = []
    for number, question in enumerate(questions.asked):
        rules = authorization.matching(question.policies, questions.exempt, http=True, exempt=exempt)
        if rules is None:
            continue
        if question.authorizer is None:
            refused = http_rbac_pb2.RBAC(rules=rules, rules_stat_prefix="custom.", track_per_rule_stats=True)
            yield packing.typed("refused", refused)
            continue
        prefix = f"custom.{number}."
        mark = http_rbac_pb2.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=prefix, track_per_rule_stats=True)
        yield packing.typed("mark", mark)
        yield from _taken(question.authorizer)
        marks.append(_marked(_HTTP_MARKS, prefix))
        asking.append(packing.typed("ask", _http(question.authorizer, who.cluster(question.provider), prefix)))
    for each in questions.dry:
        rules = authorization.matching([each], questions.exempt, http=True, exempt=exempt)
        if rules is not None:
            prefix = counters.dry_custom(who.whose, [each])
            dry = http_rbac_pb2.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=prefix, track_per_rule_stats=True)
            yield packing.typed("dry", dry)
    if len(marks) > 1:
        yield packing.typed("one", http_rbac_pb2.RBAC(rules=_several(marks), rules_stat_prefix="custom."))
    yield from asking


def _several(marks: Iterable[metadata_pb2.MetadataMatcher]) -> rbac_pb2.RBAC:
    """Refuses what two of the marks are on."""
    answer = rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY)
    meant = [
        rbac_pb2.Permission(sourced_metadata=rbac_pb2.SourcedMetadata(metadata_matcher=mark)) for mark in marks
    ]
    both = [rules_rbac.both(one, other) for one, other in itertools.combinations(meant, 2)]
    everybody = rbac_pb2.Principal(any=True)
    answer.policies["several providers"].CopyFrom(rbac_pb2.Policy(permissions=both, principals=[everybody]))
    return answer


class Tcp(msgspec.Struct, frozen=True):
    """What is asked about connections: at most one authorizer, by gRPC. What the rules of `refused` match is refused:
    there is nobody whom a connection could be asked about."""

    question: authorizers.Question | None
    refused: tuple[policy.Policy, ...]


def tcp(questions: authorizers.Questions) -> Tcp:
    """The first that can be asked about connections, and the others."""
    able = [each for each in questions.asked if each.authorizer is not None and each.authorizer.http is None]
    first = able[0] if able else None
    return Tcp(first, tuple(each for one in questions.asked if one is not first for each in one.policies))


def of_connections(who: Asker, questions: authorizers.Questions, mark: network_rbac_pb2.RBAC) -> None:
    """Fill in the filter before the one that asks: it refuses and marks."""
    found = tcp(questions)
    refused = authorization.matching(found.refused, questions.exempt, http=False)
    if refused is not None:
        mark.rules.CopyFrom(refused)
    asked = found.question.policies if found.question else questions.dry
    rules = authorization.matching(asked, questions.exempt, http=False)
    if rules is not None:
        mark.shadow_rules.CopyFrom(rules)
        dry = counters.dry_custom(who.whose, questions.dry, single=True)
        mark.shadow_rules_stat_prefix = "custom." if found.question else dry


def asking_connections(who: Asker, questions: authorizers.Questions) -> network_ext_authz_pb2.ExtAuthz | None:
    """The filter that asks about connections; None when there is nobody to ask."""
    found = tcp(questions).question
    if found is None or found.authorizer is None:
        return None
    return network_ext_authz_pb2.ExtAuthz(
        stat_prefix="custom",
        grpc_service=_grpc(found.authorizer, who.cluster(found.provider)),
        failure_mode_allow=found.authorizer.fail_open,
        transport_api_version=_V3,
        filter_enabled_metadata=_marked(_TCP_MARKS, "custom."),
    )


def _http(whom: authorizers.Authorizer, cluster: str, prefix: str) -> ext_authz_pb2.ExtAuthz:
    made = ext_authz_pb2.ExtAuthz(
        transport_api_version=_V3,
        stat_prefix=whom.name,
        failure_mode_allow=whom.fail_open,
        clear_route_cache=whom.routes_again,
        validate_mutations=True,
        filter_enabled_metadata=_marked(_HTTP_MARKS, prefix),
    )
    made.status_on_error.code = next(code for code in http_status_pb2.StatusCode.values() if code == whom.status)
    if whom.body is not None:
        made.with_request_body.max_request_bytes = whom.body.most
        made.with_request_body.allow_partial_message = whom.body.partial
        made.with_request_body.pack_as_bytes = whom.body.raw
    if whom.http is None:
        made.grpc_service.CopyFrom(_grpc(whom, cluster))
    else:
        made.http_service.CopyFrom(_http_service(whom, whom.http, cluster))
        _list(made.allowed_headers, whom.http.shown)
    return made


def _grpc(whom: authorizers.Authorizer, cluster: str) -> grpc_service_pb2.GrpcService:
    return grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster, authority=_host(whom)),
        timeout=limits.seconds(whom.timeout),
    )


def _host(whom: authorizers.Authorizer) -> str:
    return f"{whom.at.name}.{whom.at.namespace}"


def _http_service(
    whom: authorizers.Authorizer, how: authorizers.Http, cluster: str
) -> ext_authz_pb2.HttpService:
    made = ext_authz_pb2.HttpService(path_prefix=how.prefix)
    made.server_uri.uri = f"http://{_host(whom)}:{whom.at.port}"
    made.server_uri.cluster = cluster
    made.server_uri.timeout.CopyFrom(limits.seconds(whom.timeout))
    for key, value in how.added:
        made.authorization_request.headers_to_add.add(key=key, value=value)
    answer = made.authorization_response
    _list(answer.allowed_upstream_headers, how.upstream)
    _list(answer.allowed_client_headers_on_success, how.downstream)
    _list(answer.allowed_client_headers, how.denied)
    return made


def _list(into: string_pb2.ListStringMatcher, wanted: Iterable[str]) -> None:
    """Envoy refuses a list without entries: it is left out."""
    for name in wanted:
        into.patterns.append(_pattern(name))


def _pattern(name: str) -> string_pb2.StringMatcher:
    if name == "*":
        return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=".*"))
    if name.endswith("*"):
        return string_pb2.StringMatcher(prefix=name[:-1], ignore_case=True)
    if name.startswith("*"):
        return string_pb2.StringMatcher(suffix=name[1:], ignore_case=True)
    return string_pb2.StringMatcher(exact=name, ignore_case=True)


def _taken(whom: authorizers.Authorizer) -> Iterable[Filter]:
    """Take from requests what only the authorizer may say: headers that it sets, and is not shown."""
    if whom.http is None:
        return ()
    said = authorizers.only_said(whom.http)
    wanted = [name for name in said if name not in _NEVER_TAKEN]
    if not wanted:
        return ()
    mutations = [_removed(name) for name in wanted]
    made = header_mutation_pb2.HeaderMutation(mutations=header_mutation_pb2.Mutations(request_mutations=mutations))
    return (packing.typed("taken", made),)


def _removed(name: str) -> mutation_rules_pb2.HeaderMutation:
    # Some servers take `x_user` for x-user (RFC 3875, section 4.1.18): neither spelling is left.
    regex = authorizers.spelled(name)
    matcher = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=regex))
    return mutation_rules_pb2.HeaderMutation(
        remove_on_match=mutation_rules_pb2.HeaderMutation.RemoveOnMatch(key_matcher=matcher)
    )


def _marked(filter_name: str, prefix: str) -> metadata_pb2.MetadataMatcher:
    """Holds unless the mark says that no rule matched."""
    path = [metadata_pb2.MetadataMatcher.PathSegment(key=f"{prefix}shadow_engine_result")]
    passed = value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(exact="allowed"))
    return metadata_pb2.MetadataMatcher(filter=filter_name, path=path, value=passed, invert=True)

