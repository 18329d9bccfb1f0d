"""Whether the network namespace that a listener binds in is there: before that, Envoy refuses the listener.

A path counts once a namespace is mounted on it; the empty file that comes first does not.
"""

import os
import pathlib

from envoy.config.listener.v3 import listener_pb2
from envoy.service.discovery.v3 import discovery_pb2


def there(resource: bytes) -> bool:
    """Whether the listener in a serialized discovery Resource can be opened; so can one without a namespace."""
    where = path(resource)
    return not where or _mounted(pathlib.Path(where))


def path(resource: bytes) -> str:
    """The path of the namespace in which the listener in a serialized discovery Resource binds; "" for none."""
    listener = listener_pb2.Listener.FromString(discovery_pb2.Resource.FromString(resource).resource.value)
    return listener.address.socket_address.network_namespace_filepath


def _mounted(path: pathlib.Path) -> bool:
    try:
        return os.stat(path).st_dev != os.stat(path.parent).st_dev
    except OSError:
        return False
