"""For all tests: gRPC must not interfere with processes that tests fork.

Its fork handlers, with servers of other tests still in this process, make children fail at random.
"""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
