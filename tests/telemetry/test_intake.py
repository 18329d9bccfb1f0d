"""What Envoys report: what is kept, what subscribers get, and every bound."""

import asyncio

from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2

from retic.telemetry import intake, words


def request(number=0, code=403, details="rbac_access_denied_matched_policy[shop/no/0]", path="/"):
    made = accesslog_pb2.HTTPAccessLogEntry()
    made.common_properties.stream_id = f"id-{number}"
    made.common_properties.duration.FromMicroseconds(1500)
    made.request.path = path
    made.request.request_method = 1
    made.response.response_code.value = code
    made.response.response_code_details = details
    return made


def message(*entries):
    made = als_pb2.StreamAccessLogsMessage()
    made.http_logs.log_entry.extend(entries)
    return made


def test_failed_ones_are_kept_and_found_by_their_id():
    taken = intake.Intake(lambda: 0.0)
    taken.take("http/inbound", message(request(1), request(2, 200, "via_upstream"), request(3, 500, "via_upstream")))
    (entry,) = taken.failed()
    assert (entry.id, entry.side, entry.code, entry.ms, entry.failed) == ("id-1", "inbound", 403, 1.5, True)
    assert taken.find("id-1") == [entry]
    assert taken.find("id-2") == taken.find("") == taken.find("id") == []


def test_flagged_ones_have_failed():
    flagged = request(1, 200, "via_upstream")
    flagged.common_properties.response_flags.upstream_connection_failure = True
    taken = intake.Intake(lambda: 0.0)
    taken.take("http/outbound", message(flagged))
    assert [entry.flags for entry in taken.failed()] == [("UF",)]


def test_connections_of_requests_are_passed_over():
    made = als_pb2.StreamAccessLogsMessage()
    for protocol in ("HTTP/2", "-", ""):
        entry = made.tcp_logs.log_entry.add()
        entry.common_properties.custom_tags[words.Tag.PROTOCOL] = protocol
        entry.common_properties.response_flags.no_route_found = True
    taken = intake.Intake(lambda: 0.0)
    taken.take("tcp/inbound", made)
    assert [entry.protocol for entry in taken.failed()] == ["TCP", "TCP"]


def test_so_many_a_second():
    now = [0.0]
    taken = intake.Intake(lambda: now[0])
    taken.take("http/inbound", message(*[request(each) for each in range(intake.MOST_A_SECOND + 5)]))
    assert (taken.taken, taken.dropped) == (intake.MOST_A_SECOND, 5)
    now[0] = 1.5
    taken.take("http/inbound", message(request()))
    assert taken.taken == intake.MOST_A_SECOND + 1


def test_so_many_bytes_are_kept(monkeypatch):
    monkeypatch.setattr(intake, "KEPT_BYTES", 10_000)
    taken = intake.Intake(lambda: 0.0)
    for number in range(100):
        taken.take("http/inbound", message(request(number, path="/" + "x" * 1000)))
    kept = [entry.id for entry in taken.failed()]
    assert 0 < len(kept) < 10
    assert kept[0] == "id-99"


def test_a_slow_subscriber_loses_entries_and_is_told(monkeypatch):
    monkeypatch.setattr(intake, "MOST_WAITING", 3)

    async def run():
        taken = intake.Intake(lambda: 0.0)
        all_of_them, some = taken.subscribe(), taken.subscribe(lambda entry: entry.code == 200)
        taken.take("http/inbound", message(*[request(each) for each in range(5)], request(9, 200, "via_upstream")))
        assert (all_of_them.dropped, some.dropped) == (3, 0)
        assert [(await anext(all_of_them)).id for _ in range(3)] == ["id-0", "id-1", "id-2"]
        assert (await anext(some)).id == "id-9"
        some.close()
        taken.take("http/inbound", message(request(7)))
        assert (await anext(all_of_them)).id == "id-7"

    asyncio.run(run())
