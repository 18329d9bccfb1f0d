"""`make bench`: Retic measured beside no mesh and a pair of Envoys configured by hand, in one interleaved run.

`python -m tools.bench [--quick] [--only NAME] [--write]`, from the repository's root. All traffic stays in
network namespaces that the bench or the mesh makes; the machine's own are not touched. It measures and
reports; it judges nothing but the aims that docs/benchmarks.md states.
"""

import os

# One part talks gRPC in this process, and all of them start programs from it: gRPC's fork handlers, which are for
# programs that fork and go on with gRPC, aborted such a child between fork and exec.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
