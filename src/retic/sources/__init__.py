"""Where objects come from: manifest files, read once or watched; the laptop's watch stream; a cluster's API server.

Finds faults of form (what a single object must look like); refuses to judge what objects mean together.
"""

from retic.sources.model import Broken, Loaded, Located, Position, ref

__all__ = ["Broken", "Loaded", "Located", "Position", "ref"]
