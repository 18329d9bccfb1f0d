"""Sockets made inside a pod's network namespace, marked so that the pod's redirection lets them pass.

A probe asks the application, not the proxy. No process stands in the pod for it: a thread joins the
namespace, makes the socket and ends, in some 0.2 ms.
"""

import socket

from retic.node import inside

MARK = 0x53A


def make(netns: str | None) -> socket.socket:
    """A non-blocking TCP socket in the namespace at `netns`, marked; None: where we are, without a mark.

    Raises OSError when the namespace is gone, or without NET_ADMIN over it.
    """
    if netns is not None:
        return inside.network_namespace(netns, _marked)
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    return made


def _marked() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made
