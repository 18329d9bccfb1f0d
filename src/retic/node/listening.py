"""Whether somebody listens on given TCP ports of a network namespace, seen without connecting to them."""

import contextlib
import os
from collections.abc import Iterator

from retic.node import inside

_LISTEN = "0A"  # include/net/tcp_states.h


@contextlib.contextmanager
def opened(netns_path: str) -> Iterator[tuple[int, ...]]:
    """The TCP tables of the namespace as descriptors: read again and again, they show the present."""

    def tables() -> tuple[int, ...]:
        return tuple(
            os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for name in ("tcp", "tcp6")
            if os.path.exists(f"/proc/thread-self/net/{name}")
        )

    found = inside.network_namespace(netns_path, tables)
    try:
        yield found
    finally:
        for table in found:
            os.close(table)


def ports(tables: tuple[int, ...]) -> frozenset[int]:
    """The ports that are listened on now."""
    listening: set[int] = set()
    for table in tables:
        os.lseek(table, 0, os.SEEK_SET)
        with os.fdopen(os.dup(table), "rb") as text:
            for line in text.read().decode().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    listening.add(int(fields[1].rpartition(":")[2], 16))
    return frozenset(listening)
