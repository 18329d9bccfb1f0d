"""The one place where inputs are made and tasks are started: objects in, discovery, certificates, answers out.

`run` is local mode's control plane, `cluster.run` a cluster's; `offline` needs neither.
"""

from retic.wiring.inputs import Holders, mesh, offline
from retic.wiring.local import run

__all__ = ["Holders", "mesh", "offline", "run"]
