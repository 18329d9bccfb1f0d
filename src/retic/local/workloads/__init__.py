"""The controllers of a small cluster: Deployments, StatefulSets and the like become Pods and EndpointSlices.

`expand` is the whole of it, a pure function; `retic.local.kubelet` gives its pods processes.
"""

from retic.local.workloads.expansion import expand, identified, offline
from retic.local.workloads.world import World

__all__ = ["World", "expand", "identified", "offline"]
