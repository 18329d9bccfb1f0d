"""Kubernetes and Gateway API objects as frozen structs: only the fields that Retic reads.

Refuses to check more than types (that is `retic.sources`) and to say what objects mean (`retic.mesh`).
"""

from retic.objects.kinds import KINDS, Kind, decode, encode
from retic.objects.meta import Metadata, Object

__all__ = ["KINDS", "Kind", "Metadata", "Object", "decode", "encode"]
