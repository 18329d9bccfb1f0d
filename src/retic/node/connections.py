"""The TCP connections of a pod's network namespace, counted: how many pass the proxy, how many pass it by.

Read from the kernel by sock_diag(7), which tells a socket's mark; a socket of the proxy has one of its two. A
connection passes the proxy by when it is older than the pod's enrolment, or is one that is not redirected.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator

import msgspec

from retic.node import inside, ports, redirect

_MARKS = frozenset({redirect.UPSTREAM_MARK, redirect.APPLICATION_MARK})
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_ESTABLISHED, _CLOSE_WAIT = 1, 8  # include/net/tcp_states.h
_INET_DIAG_MARK = 15
_HEADER, _MESSAGE, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBHH"), struct.Struct("=HH")
_LENGTH = 72  # struct inet_diag_msg
_BUFFER = 1 << 18


class Connection(msgspec.Struct, frozen=True):
    """One end of a connection. Addresses as text, IPv4 also where the socket is of IPv6."""

    local: tuple[str, int]
    remote: tuple[str, int]
    mark: int


class Counted(msgspec.Struct, frozen=True):
    """`proxied` are the ends at the proxy's ports, `plaintext` the connections that pass the proxy by."""

    proxied: int
    plaintext: int


def counted(netns_path: str) -> Counted:
    """The open connections of the namespace bound at the path. OSError when it cannot be looked into."""
    return count(list(inside.network_namespace(netns_path, lambda: list(connections()))))


def count(found: list[Connection]) -> Counted:
    """What those ends are, loopback left out."""
    proxied = [one for one in found if one.local[1] in ports.EVERY and one.mark not in _MARKS]
    captured = {one.remote for one in proxied}
    plaintext = [
        one
        for one in found
        if one.mark not in _MARKS
        and one.local[1] not in ports.EVERY
        and one.local not in captured
        and not _loopback(one)
    ]
    return Counted(len(proxied), len(plaintext))


def connections() -> Iterator[Connection]:
    """The TCP connections of this thread's network namespace that are open. OSError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
            states = 1 << _ESTABLISHED | 1 << _CLOSE_WAIT
            asked = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, states)
            head = _HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
            netlink.settimeout(5)
            netlink.sendall(head + asked)
            yield from _answers(netlink, family)


def _answers(netlink: socket.socket, family: int) -> Iterator[Connection]:
    while True:
        data = netlink.recv(_BUFFER)
        while data:
            length, kind = _HEADER.unpack_from(data)[:2]
            body, data = data[_HEADER.size : length], data[_aligned(length) :]
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, "the kernel does not list connections (sock_diag)")
            yield _connection(body, family)


def _connection(body: bytes, family: int) -> Connection:
    local_port, remote_port = struct.unpack_from("!HH", body, 4)
    size = 4 if family == socket.AF_INET else 16
    local, remote = body[8 : 8 + size], body[24 : 24 + size]
    mark, rest = 0, body[_LENGTH:]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if kind == _INET_DIAG_MARK:
            mark = struct.unpack_from("=I", rest, _ATTRIBUTE.size)[0]
        rest = rest[max(_aligned(length), _ATTRIBUTE.size) :]
    return Connection((_text(local), local_port), (_text(remote), remote_port), mark)


def _text(address: bytes) -> str:
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _loopback(one: Connection) -> bool:
    return all(ipaddress.ip_address(end[0]).is_loopback for end in (one.local, one.remote))


def _aligned(length: int) -> int:
    return length + 3 & ~3
