"""A proxy's own answers, from a real Envoy that fails in every way: code, id, body, and the entry that tells why."""

import json
import threading

import pytest
import replies_lab

from retic.explain.response import called, meanings
from retic.telemetry import causes, words

Code = causes.Code
How = called.How


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = replies_lab.Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


WAYS = [
    ("/refused", 503, Code.NO_CONNECTION, "UF", How.REFUSED),
    ("/silent", 503, Code.NO_CONNECTION, "UF", How.SILENT),
    ("/tls", 503, Code.NO_CONNECTION, "UF", How.TLS),
    ("/again", 503, Code.NO_CONNECTION, "URX", How.REFUSED),
    ("/closing", 503, Code.RESET, "UC", How.CLOSED),
    ("/none", 503, Code.NO_ENDPOINT, "UH", None),
    ("/missing", 503, Code.NO_CLUSTER, "NC", None),
    ("/slow", 504, Code.TIME_OUT, "UT", None),
    ("/garbage", 502, Code.BAD_ANSWER, "UPE", None),
    ("/fault", 418, Code.FAULT, "FI", None),
    ("/anything", 404, Code.NO_ROUTE, "NR", None),
]


@pytest.mark.parametrize(("path", "status", "code", "flag", "how"), WAYS, ids=[way[0] for way in WAYS])
@pytest.mark.parametrize("table", ["outbound", "gateway"])
def test_each_failure_has_its_code_and_its_entry_the_same(lab, table, path, status, code, flag, how):
    got, headers, body = lab.ask(table, path)
    assert (got, headers["x-retic-code"]) == (status, code)
    wanted = headers["x-retic-id"]
    assert words.is_id(wanted)
    assert body.startswith(f"retic: {code} ")
    assert body.endswith(f"; id {wanted}")
    assert headers["content-type"] == "text/plain"
    entry = lab.entry(wanted)
    assert causes.of(entry) == code
    assert flag in entry.flags
    assert called.how(entry) is how
    assert meanings.of(code).code == code


def test_an_application_that_fails_before_its_pod_has_the_codes_too(lab):
    for path, code in (("/refused", Code.NO_CONNECTION), ("/closing", Code.RESET)):
        _, headers, _ = lab.ask("inbound", path)
        assert headers["x-retic-code"] == code
        assert causes.of(lab.entry(headers["x-retic-id"])) == code


def test_more_than_may_be_on_their_way_is_told(lab):
    done = []
    asking = [threading.Thread(target=lambda: done.append(lab.ask("outbound", "/full"))) for _ in range(4)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    codes = [headers["x-retic-code"] for _, headers, _ in done]
    assert codes.count(Code.TIME_OUT) == 2
    assert codes.count(Code.OVERFLOW) == 2
    refused = next(headers["x-retic-id"] for _, headers, _ in done if headers["x-retic-code"] == Code.OVERFLOW)
    assert causes.of(lab.entry(refused)) == Code.OVERFLOW


def test_a_rate_limit_is_told(lab):
    lab.ask("outbound", "/limit")
    status, headers, _ = lab.ask("outbound", "/limit")
    assert (status, headers["x-retic-code"]) == (429, Code.RATE)
    assert causes.of(lab.entry(headers["x-retic-id"])) == Code.RATE


def test_used_up_retries_leave_the_applications_answer_alone_and_are_told(lab):
    status, headers, body = lab.ask("outbound", "/used-up")
    assert (status, body, headers["x-retic-kept"]) == (503, "mine", "yes")
    assert not {"x-retic-id", "x-retic-code"} & set(headers)
    entry = replies_lab.wait.until(
        lambda: next((one for one in lab.taken.failed() if one.path == "/used-up"), None), "there is an entry"
    )
    assert (causes.of(entry), entry.attempts) == (Code.RETRIES, 2)
    assert words.is_id(entry.answer)


@pytest.mark.parametrize("table", ["outbound", "gateway"])
def test_what_a_route_answers_is_not_changed(lab, table):
    status, headers, body = lab.ask(table, "/own")
    assert (status, body, headers["content-type"]) == (503, "closed on Sundays", "text/html")
    assert "x-retic-id" not in headers


@pytest.mark.parametrize("table", ["inbound", "gateway"])
def test_who_takes_only_json_gets_it(lab, table):
    _, headers, body = lab.ask(table, "/refused", "accept: application/json")
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "code": Code.NO_CONNECTION, "message": causes.NO_CONNECTION.text, "id": headers["x-retic-id"],
    }  # fmt: skip
    _, headers, body = lab.ask(table, "/refused", "accept: application/json, */*")
    assert headers["content-type"] == "text/plain"


@pytest.mark.parametrize("table", ["outbound", "inbound", "gateway"])
def test_what_cannot_be_read_is_told(lab, table):
    for request, status in (
        (b"GET / HTTP/1.1\r\nhost: a\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 70000 + b"\r\n\r\n", 431),
    ):
        got, headers, _ = lab.raw(table, request)
        assert (got, headers["x-retic-code"]) == (status, f"RT1{status}")
        assert causes.of(lab.entry(headers["x-retic-id"])) == f"RT1{status}"


def test_ids_are_nobodys_choice(lab):
    first = lab.ask("outbound", "/refused", "x-request-id: mine", "x-retic-id: mine")[1]["x-retic-id"]
    second = lab.ask("outbound", "/refused", "x-request-id: mine", "x-retic-id: mine")[1]["x-retic-id"]
    assert "mine" not in (first, second)
    assert first != second


def test_nothing_of_the_inside_is_in_an_answer(lab):
    for path in ("/refused", "/tls", "/closing", "/none", "/missing"):
        _, headers, body = lab.ask("gateway", path)
        assert not set(headers) - {"content-length", "content-type", "x-retic-code", "x-retic-id", "date", "server",
                                   "connection"}  # fmt: skip
        assert "127.0.0.1" not in body
        assert "TLS" not in body
