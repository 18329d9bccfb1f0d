"""Which endpoints a cluster waits for.

Envoy 1.40 keeps a new or changed EDS cluster warming until endpoints arrive, up to 15 s, but on a delta
stream it asks for them only when no other cluster, the old version of this one included, has asked for the
same name before. So the server sends them again, unasked, behind each such cluster.
"""

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError


def endpoints(cluster: bytes) -> str | None:
    """The name of the endpoints of a cluster, given as a serialized Any; None when it fetches none."""
    try:
        message = cluster_pb2.Cluster.FromString(any_pb2.Any.FromString(cluster).value)
    except DecodeError:
        return None
    if message.type != cluster_pb2.Cluster.EDS or not message.HasField("eds_cluster_config"):
        return None
    return message.eds_cluster_config.service_name or message.name
