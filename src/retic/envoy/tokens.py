"""What is done about JSON web tokens, as the first filters of a slot: headers that only the proxy may set are taken
away, a second token is refused, and the one that is left is checked (envoy.extensions.filters.http.jwt_authn.v3).

A valid token's claims are kept in the request's metadata, where RBAC reads them (`rules_rbac`).
"""

from collections.abc import Sequence

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from retic.envoy import packing, rules_rbac, several
from retic.mesh import jwks, token

Filter = extension_pb2.TypedExtensionConfig
Requirement = config_pb2.JwtRequirement

# No matcher of Envoy's counts headers: of two with one name it takes whichever fits.
_ONCE = """local names = { %s }
function envoy_on_request(handle)
  for _, name in ipairs(names) do
    if handle:headers():getNumValues(name) > 1 then
      handle:respond({ [":status"] = "401" }, "two headers where a token may stand")
      return
    end
  end%s
end
"""
# The route was chosen when the request came in, perhaps by headers that have been taken away since.
_CHOOSE_AGAIN = "\n  handle:clearRouteCache()"
# A provider that no token satisfies, for what is refused whatever it carries. Nobody can send this header: its
# beginning is taken from every request before the filters.
_NEVER, _NOWHERE = "never", "x-retic-no-token"


def filters(issuers: tuple[token.Issuer, ...], *, routed: bool) -> list[Filter]:
    """The filters for these rules, none without rules. `routed`: whether a route may depend on claims' headers."""
    ports = sorted({port for each in issuers for port in each.ports})
    if not ports:
        return _chain(token.at(issuers, 0), routed=routed)
    by_port = {port: _chain(token.at(issuers, port), routed=routed) for port in ports}
    return [several.by_port("tokens", by_port, _chain(token.at(issuers, 0), routed=routed))]


def _chain(issuers: tuple[token.Issuer, ...], *, routed: bool) -> list[Filter]:
    if not issuers:
        return []
    taken = token.set_headers(issuers)
    answer = [_taken_away(taken)] if taken else []
    once = token.once(issuers)
    if once or (taken and routed):
        # Names of headers have neither quotes nor backslashes (RFC 9110, section 5.6.2).
        names = ", ".join(f'"{name}"' for name in once)
        code = _ONCE % (names, _CHOOSE_AGAIN if taken and routed else "")
        source = base_pb2.DataSource(inline_string=code)
        answer.append(packing.typed("once", lua_pb2.Lua(default_source_code=source)))
    return [*answer, packing.typed("tokens", _authentication(issuers, routed=routed))]


def _taken_away(names: Sequence[str]) -> Filter:
    """Without these headers in any spelling, whoever set them."""
    made = header_mutation_pb2.HeaderMutation()
    for name in names:
        spelling = regex_pb2.RegexMatcher(regex=token.forged(name))
        remove = mutation_rules_pb2.HeaderMutation.RemoveOnMatch(
            key_matcher=string_pb2.StringMatcher(safe_regex=spelling)
        )
        made.mutations.request_mutations.append(mutation_rules_pb2.HeaderMutation(remove_on_match=remove))
    return packing.typed("claims", made)


def _authentication(issuers: tuple[token.Issuer, ...], *, routed: bool) -> config_pb2.JwtAuthentication:
    """For each issuer a provider; a token must satisfy one of them, and none at all is taken too."""
    made = config_pb2.JwtAuthentication(stat_prefix="tokens")
    names = [f"issuer-{number}" for number in range(len(issuers))]
    for name, issuer in zip(names, issuers, strict=True):
        made.providers[name].CopyFrom(_provider(issuer, routed=routed))
    refused = token.refused(issuers)
    if refused:
        made.providers[_NEVER].CopyFrom(_never())
    for row in refused:
        made.rules.append(_rule(_match(row), Requirement(provider_name=_NEVER)))
    wanted = Requirement(requires_any=config_pb2.JwtRequirementOrList(requirements=_any_of(names)))
    made.rules.append(_rule(route_components_pb2.RouteMatch(prefix=""), wanted))
    # A CONNECT has no path that the other rule could match.
    connect = route_components_pb2.RouteMatch()
    connect.connect_matcher.SetInParent()
    made.rules.append(_rule(connect, wanted))
    return made


def _any_of(names: Sequence[str]) -> list[config_pb2.JwtRequirement]:
    missing = Requirement()
    missing.allow_missing.SetInParent()
    return [*(Requirement(provider_name=name) for name in names), missing]


def _rule(
    match: route_components_pb2.RouteMatch, requires: config_pb2.JwtRequirement
) -> config_pb2.RequirementRule:
    return config_pb2.RequirementRule(match=match, requires=requires)


def _match(row: Sequence[token.Seen]) -> route_components_pb2.RouteMatch:
    match = route_components_pb2.RouteMatch(prefix="")
    for seen in row:
        text = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=seen.regex))
        match.headers.append(
            route_components_pb2.HeaderMatcher(name=seen.header, string_match=text, invert_match=seen.negated)
        )
    return match


def _provider(of: token.Issuer, *, routed: bool) -> config_pb2.JwtProvider:
    made = config_pb2.JwtProvider(
        issuer=of.issuer,
        audiences=of.audiences,
        local_jwks=base_pb2.DataSource(inline_string=of.keys or jwks.NOBODYS),
        forward=of.forward,
        forward_payload_header=of.payload_header,
        payload_in_metadata=rules_rbac.JWT_PAYLOAD,
        normalize_payload_in_metadata=config_pb2.JwtProvider.NormalizePayload(space_delimited_claims=token.SPACED),
        clock_skew_seconds=token.SKEW_SECONDS,
        clear_route_cache=routed and bool(of.claim_headers or of.payload_header),
    )
    for where in of.where:
        if where.place is token.Place.HEADER:
            made.from_headers.add(name=where.name, value_prefix=where.prefix)
        elif where.place is token.Place.QUERY:
            made.from_params.append(where.name)
        else:
            made.from_cookies.append(where.name)
    for each in of.claim_headers:
        made.claim_to_headers.add(header_name=each.header, claim_name=each.claim)
    return made


def _never() -> config_pb2.JwtProvider:
    return config_pb2.JwtProvider(
        issuer=_NEVER,
        local_jwks=base_pb2.DataSource(inline_string=jwks.NOBODYS),
        from_headers=[config_pb2.JwtHeader(name=_NOWHERE)],
    )
