"""Name servers other than the cluster's: those of this machine, and those that pods name in `dnsConfig`.

UDP does not leave the mesh, so each nameserver outside has a forwarder here that asks it through the broker's
sockets. TCP needs none: it passes as every call to the outside does.
"""

import asyncio
import socket

from retic.local import broker, dns, egress, upstream, zone
from retic.local.kubelet import environment
from retic.local.sandbox import addresses

_MOST = 64  # forwarders: pods must not use up this process's descriptors
_PORT = 53


class Nameservers:
    """Forwarders in the fabric's namespace, where pid 1 is. Each stays until `close`."""

    def __init__(self, outside: broker.Client, out: egress.Egress) -> None:
        self._outside, self._egress = outside, out
        self._servers: dict[str, dns.Server] = {}
        self._one = asyncio.Lock()

    async def start(self, machine: upstream.Upstream) -> None:
        """Serve what asks this machine's resolvers at the fabric's address, over UDP and TCP. Raises OSError."""
        await self._serve("", machine, *dns.sockets_in(None, str(addresses.FABRIC), _PORT))

    async def reach(self, address: str) -> None:
        """Make the nameserver at `address` answer to pods over UDP; again is the same as once.

        Raises OSError, or environment.Missing when there are too many already.
        """
        async with self._one:
            if address in self._servers:
                return
            if len(self._servers) > _MOST:
                raise environment.Missing(f"pods may name {_MOST} nameservers outside the mesh; {address} is too many")
            there = upstream.Upstream((address,), self._outside.udp, self._outside.connect)
            udp, tcp = dns.sockets_in(None, str(addresses.FABRIC), 0)
            try:
                await self._egress.nameserver(address, udp.getsockname()[1])
            except BaseException:
                udp.close()
                tcp.close()
                raise
            await self._serve(address, there, udp, tcp)

    async def _serve(
        self, address: str, there: upstream.Upstream, udp: socket.socket, tcp: socket.socket
    ) -> None:
        # A zone without objects: names of the cluster are known to the cluster's own server only.
        server = self._servers[address] = dns.Server(zone.Zone(), there)
        await server.serve(udp, tcp)

    async def close(self) -> None:
        """Stop answering."""
        for server in self._servers.values():
            await server.close()
