"""Which addresses a document may be fetched from: none by which whoever writes an object could reach, through the
control plane, what only a machine itself is meant to reach."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_THIS = ipaddress.ip_network("0.0.0.0/8")  # RFC 1122, section 3.2.1.3: the machine itself on some systems
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291, section 2.5.5.1
# Where clouds tell a machine its secrets, beside the link-local 169.254.169.254.
_METADATA = (
    ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("168.63.129.16"),
    ipaddress.ip_address("192.0.0.192"), ipaddress.ip_address("fd00:ec2::254"),
    ipaddress.ip_address("fd20:ce::254"),
)  # fmt: skip


def refused(address: Address, closed: Iterable[Network] = ()) -> str:
    """Why nothing is fetched from the address, "" when it may be; `closed`: networks that are refused too."""
    inner = _inside(address)
    if inner is not None:
        return refused(inner, closed)
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local or address in _METADATA:
        return "a link-local or metadata address"
    if address.is_unspecified or address in _THIS:
        return "an unspecified address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_reserved:
        return "a reserved address"
    if any(address.version == network.version and address in network for network in closed):
        return "an address of the mesh's own network, which the control plane is not in"
    return ""


def _inside(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    low = int(address) & 0xFFFFFFFF
    if address in _NAT64 or (address in _COMPATIBLE and low > 0xFFFF):
        return ipaddress.IPv4Address(low)
    return None
