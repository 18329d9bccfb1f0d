"""Names asked of one nameserver."""

import asyncio

import dns.message
import dns.rcode
import dns.rrset
import pytest

from retic.sources import keys
from retic.sources.keys import nameserver


class Server(asyncio.DatagramProtocol):
    """Knows one name."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        asked = dns.message.from_wire(data)
        answer = dns.message.make_response(asked)
        name = asked.question[0].name.to_text()
        if name == "keys.example.":
            answer.answer.append(dns.rrset.from_text(name, 5, "IN", "A", "192.0.2.7", "192.0.2.8"))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), sender)


async def test_names_are_found_and_unknown_ones_said():
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        resolve = nameserver.at(*transport.get_extra_info("sockname"))
        assert sorted(await resolve("keys.example", 443)) == ["192.0.2.7", "192.0.2.8"]
        with pytest.raises(keys.FetchError, match=r"other\.example has no address"):
            await resolve("other.example", 443)
    finally:
        transport.close()
