"""Whether somebody listens on given TCP ports of a network namespace, seen without connecting to them.

The kernel is asked for listening sockets by netlink (sock_diag(7)), which costs a tenth of a millisecond. Where it
was built without that, /proc/net/tcp tells the same: it walks through the machine's whole table of connections.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import msgspec

from retic.node import inside

_SOCK_DIAG = 4  # include/uapi/linux/netlink.h: NETLINK_SOCK_DIAG
_BY_FAMILY, _ERROR, _DONE = 20, 2, 3  # sock_diag.h: SOCK_DIAG_BY_FAMILY; netlink.h: NLMSG_ERROR, NLMSG_DONE
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_LISTEN = 10  # include/net/tcp_states.h
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_QUESTION = struct.Struct("=BBBBI48x")  # struct inet_diag_req_v2, its socket id empty
_PORT = struct.Struct("!H")
_PORT_AT = 4  # in struct inet_diag_msg, behind four bytes
_BYTES = 1 << 16
_MOST_SECONDS = 5


class Tables(msgspec.Struct, frozen=True):
    """Descriptors that show the present of one namespace: of a netlink socket, or else of files in /proc."""

    descriptors: tuple[int, ...]
    netlink: bool


@contextlib.contextmanager
def opened(netns_path: str) -> Iterator[Tables]:
    """What `ports` is asked with, again and again. OSError when the namespace is not there."""
    found = inside.network_namespace(netns_path, _open)
    try:
        yield found
    finally:
        for descriptor in found.descriptors:
            os.close(descriptor)


def ports(tables: Tables) -> frozenset[int]:
    """The ports that are listened on now."""
    return _asked(tables.descriptors[0]) if tables.netlink else _read(tables.descriptors)


def _open() -> Tables:
    try:
        asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG).detach()
    except OSError:
        return _files()
    try:
        _asked(asking)
    except OSError:
        os.close(asking)
        return _files()
    return Tables((asking,), True)


def _asked(descriptor: int) -> frozenset[int]:
    listening: set[int] = set()
    with socket.socket(fileno=os.dup(descriptor)) as asking:
        asking.settimeout(_MOST_SECONDS)
        for family in (socket.AF_INET, socket.AF_INET6):
            question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN)
            asking.send(_HEAD.pack(_HEAD.size + len(question), _BY_FAMILY, _DUMP, 0, 0) + question)
            while not _take(asking.recv(_BYTES), listening):
                pass
    return frozenset(listening)


def _take(answer: bytes, into: set[int]) -> bool:
    """Whether that was the last of the answer. OSError when it is a refusal."""
    while answer:
        size, kind, *_ = _HEAD.unpack_from(answer)
        if kind == _DONE:
            return True
        if kind == _ERROR:
            number = -struct.unpack_from("=i", answer, _HEAD.size)[0]
            raise OSError(number, f"the kernel does not list sockets: {os.strerror(number)}")
        into.add(_PORT.unpack_from(answer, _HEAD.size + _PORT_AT)[0])
        answer = answer[(size + 3) & ~3 :]
    return False


def _files() -> Tables:
    names = ("/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6")
    there = [name for name in names if os.path.exists(name)]
    return Tables(tuple(os.open(name, os.O_RDONLY | os.O_CLOEXEC) for name in there), False)


def _read(descriptors: tuple[int, ...]) -> frozenset[int]:
    listening: set[int] = set()
    for descriptor in descriptors:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(descriptor), "rb") as text:
            for line in text.read().decode().splitlines()[1:]:
                fields = line.split()
                if int(fields[3], 16) == _LISTEN:
                    listening.add(int(fields[1].rpartition(":")[2], 16))
    return frozenset(listening)
