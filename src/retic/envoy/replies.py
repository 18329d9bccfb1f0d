"""The answers that a proxy makes itself: each carries a code and an id, and a body that says the same.

Envoy asks these tables for its own answers only (HttpConnectionManager.local_reply_config), never for an
application's, nor for one that a proxy further on has made. They are the same for every pod. Each code costs 0.9 kB
in each manager, so each has those that it can come to, and 1.9 kB more for clients that take only JSON: those get it
where somebody outside may read it, of gateways and of the pods behind them.
"""

from collections.abc import Iterable
from typing import NamedTuple

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import string_pb2

from retic.envoy import failures, packing
from retic.telemetry import causes, words

Config = hcm_pb2.LocalReplyConfig
_Filter = accesslog_pb2.AccessLogFilter
_Mapper = hcm_pb2.ResponseMapper
_Format = substitution_format_string_pb2.SubstitutionFormatString

# A new one for each answer. What a client sends as x-request-id is its own choice, and no id of ours.
_ID = "%UNIQUE_ID%"
_SAID = f"%RESP({words.ID_HEADER})%"
_OWN_ANSWER = "response.code_details == 'direct_response'"


def outbound() -> Config:
    """Of requests that leave a pod. What a route answers by itself stays as it is."""
    flags = (
        causes.FAULT, causes.NO_CLUSTER, causes.NO_ENDPOINT, causes.OVERFLOW, causes.NO_CONNECTION, causes.RESET,
    )  # fmt: skip
    return _config([_direct()], [*_by_flags(flags), _by_status()], json=False)


def inbound() -> Config:
    """Of requests that reach a pod over the mesh's TLS: nothing is routed there, so every error is the proxy's. The
    caller's proxy is told what it may try again (`failures`)."""
    return _config([_authorizer()], map(_told, _AT_A_POD), json=True)


def plaintext() -> Config:
    """Of requests that reach a pod without the mesh's TLS."""
    return _config([_authorizer()], _AT_A_POD, json=False)


def gateway() -> Config:
    """Of requests from outside: all of them."""
    every = [*_by_flags(causes.BY_FLAG[1:]), _refused(), _by_status()]
    return _config([_direct(), _authorizer()], every, json=True)


def refusal(entry: route_components_pb2.Route) -> None:
    """Makes a direct response one of the proxy's own answers, with the code of its status."""
    status = entry.direct_response.status
    entry.response_headers_to_add.extend(_headers(f"{causes.STATUS}{status}"))
    entry.direct_response.body.inline_string = _text(f"{causes.STATUS}{status}", causes.TEXTS.get(status, causes.OTHER))


class _Case(NamedTuple):
    """When, with which code (it may be a format), and what the client reads."""

    when: _Filter
    code: str
    text: str
    also: tuple[base_pb2.HeaderValueOption, ...] = ()


def _config(first: list[_Mapper], cases: Iterable[_Case], *, json: bool) -> Config:
    """`json`: whether those who take only that get it."""
    # What has no id, such as an answer that a route gives, stays as it is: an absent header is an empty text.
    made = _Format(omit_empty_values=True)
    made.text_format_source.inline_string = f"%LOCAL_REPLY_BODY%{_SAID}"
    mappers = list(first)
    for case in cases:
        mappers += [_json(case), _plain(case)] if json else [_plain(case)]
    return Config(mappers=mappers, body_format=made)


def _by_flags(those: Iterable[causes.Cause]) -> list[_Case]:
    return [_Case(_flagged(each.flags), each.code, each.text) for each in those]


def _told(case: _Case) -> _Case:
    found = failures.header(case.when.response_flag_filter.flags)
    return case if found is None else case._replace(also=(found,))


def _direct() -> _Mapper:
    """First where routes answer by themselves: it ends the search, and changes nothing."""
    return _Mapper(filter=_cel(_OWN_ANSWER))


def _refused() -> _Case:
    return _Case(_status(403, only=True), causes.Code.REFUSED, causes.TEXTS[403])


def _by_status() -> _Case:
    """Last: where the status says the cause."""
    return _Case(_status(400), f"{causes.STATUS}%RESPONSE_CODE%", causes.OTHER)


def _authorizer() -> _Mapper:
    """An authorizer's answer, such as a page to log in at, goes to the client as it is, with a code."""
    cause = causes.AUTHORIZER
    made = _Mapper(filter=_flagged(cause.flags), headers_to_add=_headers(cause.code))
    made.body_format_override.text_format_source.inline_string = "%LOCAL_REPLY_BODY%"
    return made


def _json(case: _Case) -> _Mapper:
    asked = _Filter()
    asked.header_filter.header.name = "accept"
    asked.header_filter.header.string_match.CopyFrom(string_pb2.StringMatcher(exact="application/json"))
    both = _Filter(and_filter=accesslog_pb2.AndFilter(filters=[case.when, asked]))
    made = _Mapper(filter=both, headers_to_add=[*_headers(case.code), *case.also])
    made.body_format_override.content_type = "application/json"
    made.body_format_override.text_format_source.inline_string = (
        f'{{"code":"{_shown(case.code)}","message":"{case.text}","id":"{_SAID}"}}'
    )
    return made


def _plain(case: _Case) -> _Mapper:
    made = _Mapper(filter=case.when, headers_to_add=[*_headers(case.code), *case.also])
    text = _text(_shown(case.code), case.text)
    if "%" in case.code:
        made.body_format_override.text_format_source.inline_string = text + _SAID
    else:
        made.body.inline_string = text
    return made


def _shown(code: str) -> str:
    return f"%RESP({words.CODE_HEADER})%" if "%" in code else code


def _text(code: str, text: str) -> str:
    """What the id follows."""
    return f"retic: {code} {text}; id "


def _headers(code: str) -> list[base_pb2.HeaderValueOption]:
    return [_header(words.CODE_HEADER, code), _header(words.ID_HEADER, _ID)]


def _header(name: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _flagged(flags: tuple[str, ...]) -> _Filter:
    """By any of the flags; by any flag at all where there are none."""
    return _Filter(response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=flags))


def _status(least: int, *, only: bool = False) -> _Filter:
    op = accesslog_pb2.ComparisonFilter.EQ if only else accesslog_pb2.ComparisonFilter.GE
    comparison = accesslog_pb2.ComparisonFilter(op=op)
    comparison.value.CopyFrom(base_pb2.RuntimeUInt32(default_value=least, runtime_key="retic.none"))
    return _Filter(status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=comparison))


def _cel(expression: str) -> _Filter:
    made = _Filter()
    made.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    made.extension_filter.typed_config.CopyFrom(packing.pack(cel_pb2.ExpressionFilter(expression=expression)))
    return made


_AT_A_POD = (*_by_flags((causes.NO_CONNECTION, causes.RESET)), _refused(), _by_status())
