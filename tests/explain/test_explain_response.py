"""What is told of a failed request: codes that mean something, texts that are harmless, ends that belong together."""

import re

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2

from retic.explain.response import called, meanings, telling, told
from retic.findings import catalogue
from retic.telemetry import causes, entries, words

Code = causes.Code
ID = "3f0c7a52-91d4-4c36-9d5e-0a6c1f7b8e21"
OTHER = "00000000-91d4-4c36-9d5e-0a6c1f7b8e21"


def entry(**fields):
    given = {"id": "stream", "side": "outbound", "protocol": "HTTP/1.1", "time": 100.0, "ms": 500.0, "method": "GET"}
    return entries.Entry(**{**given, **fields})


def test_every_code_has_a_meaning_of_its_own():
    assert set(Code) <= set(meanings.CODES)
    assert not set(meanings.CODES) & set(catalogue.CODES)
    assert all(re.fullmatch(r"RT1\d{3}", code) for code in meanings.CODES)
    assert len({one.title for one in meanings.CODES.values()}) == len(meanings.CODES)
    for one in meanings.CODES.values():
        assert all((one.about, one.look, one.change)), one


def test_the_flags_of_a_code_are_those_that_lead_to_it():
    for one in meanings.CODES.values():
        for flag in set(one.flags) - {"RLSE", "NFCF"}:  # with these the status says it: 500
            assert causes.of(entry(flags=(flag,), method="")) == one.code


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("RT1403", {"code": 403, "details": "rbac_access_denied_matched_policy[none]"}),
        ("RT1403", {"code": 200, "details": "rbac_access_denied_matched_policy[a/b/0]"}),  # gRPC
        ("RT1403", {"method": "", "details": "rbac_access_denied_matched_policy[none]"}),
        ("RT1403", {"method": "", "flags": ("UF", "URX"), "upstream": words.NOWHERE}),
        ("RT1102", {"method": "", "flags": ("UF", "URX"), "upstream": "10.0.0.1:80"}),
        ("RT1102", {"code": 503, "flags": ("UF", "URX"), "details": "upstream_reset_before_response_started{}"}),
        ("RT1104", {"code": 503, "flags": ("URX",), "details": "via_upstream"}),
        ("RT1107", {"code": 0, "flags": ("DC",), "details": "downstream_remote_disconnect"}),
        ("RT1107", {"code": 503, "flags": ("DC",), "details": "via_upstream"}),
        ("RT1110", {"code": 403, "flags": ("FI",), "details": "fault_filter_abort"}),
        ("RT1502", {"code": 200, "flags": ("UPE",), "details": "upstream_reset_after_response_started{}"}),
        ("RT1431", {"code": 431, "flags": ("DPE",), "details": "http1.headers_too_large"}),
        ("RT1418", {"code": 418, "details": "somebody_new"}),
        ("RT1199", {"code": 200, "flags": ("XX",), "details": "via_upstream"}),
    ],
)
def test_the_code_of_an_entry(code, fields):
    assert causes.of(entry(**fields)) == code
    assert meanings.of(code).code == code


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/a b", "/a b"),
        ("/\x1b[31mred\x07", "/%1B[31mred%07"),
        ("/\x9b31m", "/%C2%9B31m"),
        ("/\u202egnp.exe", "/%E2%80%AEgnp.exe"),
        ("/line\nline\r", "/line%0Aline%0D"),
        ("/\udc80", "/%ED%B2%80"),
        ("/ärger", "/ärger"),
        ("/x?token=hush", "/x"),
        ("/x#frag?token", "/x"),
        ("/" + "a" * 500, "/" + "a" * 199 + "..."),
    ],
)
def test_texts_of_clients_are_harmless(text, shown):
    assert told.path(text) == shown


SOURCE = {"id": "s", "side": "outbound", "workload": "shop/web", "upstream": "10.0.0.2:80", "time": 100.0, "ms": 300.0}
TARGET = {"id": "s", "side": "inbound", "peer": "shop/web", "local": "10.0.0.2:80", "time": 100.1}


def test_two_ends_of_one_request_belong_together():
    assert telling.same(entry(**SOURCE), entry(**TARGET))
    assert telling.same(entry(**TARGET), entry(**SOURCE))


@pytest.mark.parametrize(
    "other", [{"peer": "shop/evil"}, {"local": "10.0.0.3:80"}, {"time": 110.0}, {"time": 90.0}, {"side": "outbound"},
              {"id": "t"}],
)  # fmt: skip
def test_an_id_that_a_client_chose_proves_nothing(other):
    assert not telling.same(entry(**SOURCE), entry(**{**TARGET, **other}))


def test_requests_without_an_id_are_never_the_same():
    assert not telling.same(entry(**{**SOURCE, "id": ""}), entry(**{**TARGET, "id": ""}))


@pytest.mark.parametrize(
    ("details", "said", "answer"),
    [
        ("no_healthy_upstream", ID, ID),
        ("no_healthy_upstream", "", OTHER),
        ("no_healthy_upstream", "forged\x1b", OTHER),
        ("via_upstream", ID, OTHER),
        ("upstream_reset_after_response_started{connection_termination}", ID, OTHER),
    ],
)
def test_only_an_answer_of_its_own_gives_an_entry_its_id(details, said, answer):
    message = accesslog_pb2.HTTPAccessLogEntry()
    message.common_properties.custom_tags[words.Tag.ID] = OTHER
    message.response.response_code.value = 503
    message.response.response_code_details = details
    if said:
        message.response.response_headers[words.ID_HEADER] = said
    assert entries.entry("outbound", message).answer == answer


def test_a_refused_grpc_call_has_failed_though_its_status_is_200():
    message = accesslog_pb2.HTTPAccessLogEntry()
    message.response.response_code.value = 200
    message.response.response_code_details = "jwt_authn_access_denied{Jwt_is_missing}"
    assert not entries.failed(message)
    message.response.response_headers[words.ID_HEADER] = ID
    assert entries.failed(message)
    message.response.response_code_details = "via_upstream"
    assert not entries.failed(message)


def test_how_a_connection_failed():
    ways = {
        "delayed connect error: Connection refused": called.How.REFUSED,
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end": called.How.TLS,
        "connection timeout": called.How.SILENT,
        "something new": None,
    }
    for words_of_envoy, way in ways.items():
        assert called.how(entry(flags=("UF",), transport_failure=words_of_envoy)) is way
