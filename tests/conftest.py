"""For all tests: gRPC must not interfere with processes that tests fork, nor stop a test that has no part in it.

Its fork handlers, with servers of other tests still in this process, make children fail at random. And when the last
of its asyncio objects is collected, which may happen in any test later, it waits for its poller's thread without an
end: a call that somebody gave up may still be in flight. With one reference held for good it never comes to that.
"""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc.aio

grpc.aio.init_grpc_aio()
