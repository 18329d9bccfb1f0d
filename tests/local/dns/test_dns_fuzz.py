"""Packets of every sort: the server answers or stays silent, never fails, and never exceeds what fits."""

import dns.message
import dns.rdatatype
import dns_builders as make
import hypothesis
from hypothesis import strategies as st

from retic.local import dns as servers
from retic.local import zone as zones


class Transport:
    def __init__(self):
        self.sent = []

    def sendto(self, data, _):
        self.sent.append(data)


def server():
    zone = zones.Zone()
    zone.put(make.service("web"))
    zone.put(make.service("db", ip="None"))
    zone.put(make.slice_of("db", *(make.endpoint(f"10.244.1.{i}", f"db-{i}") for i in range(2, 90))))
    zone.put(make.external("ext", "web.default.svc.cluster.local"))
    zone.put(make.external("odd", "a." * 120 + "b"))
    zone.put(make.external("long", "a" * 70 + ".example.com"))
    return servers.Server(zone)


SERVER = server()
NAMES = st.sampled_from([
    "web.default.svc.cluster.local", "db.default.svc.cluster.local",
    "_http._tcp.db.default.svc.cluster.local", "ext.default.svc.cluster.local",
    "odd.default.svc.cluster.local", "long.default.svc.cluster.local", "cluster.local",
    "1.1.96.10.in-addr.arpa", ".", "example.com",
])


def answered(packet):
    transport = Transport()
    SERVER.datagram(packet, ("127.0.0.1", 9), transport)
    return transport.sent


@hypothesis.given(st.binary(max_size=600))
def test_any_bytes(packet):
    for answer in answered(packet):
        assert answer[:2] == packet[:2]


@hypothesis.given(NAMES, st.integers(0, 65535), st.data())
def test_queries_with_bytes_changed(name, kind, data):
    packet = bytearray(dns.message.make_query(name, kind, use_edns=0).to_wire())
    for _ in range(data.draw(st.integers(0, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    answered(bytes(packet))


@hypothesis.given(NAMES, st.integers(0, 65535), st.sampled_from([None, 0, 100, 512, 1232, 65535]))
def test_whole_queries_have_one_answer_that_fits(name, kind, payload):
    query = dns.message.make_query(name, kind, use_edns=payload is not None and 0, payload=payload or 0)
    (answer,) = answered(query.to_wire())
    assert len(answer) <= (512 if payload is None else max(512, min(payload, 1232)))
    response = dns.message.from_wire(answer)
    assert query.is_response(response)
