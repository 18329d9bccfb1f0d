"""For all tests: gRPC must not interfere with processes that tests fork, nor stop a test that has no part in it.

Its fork handlers, with servers of other tests still in this process, make children fail at random. And when the last
of its asyncio objects is collected, which may happen in any test later, it waits for its poller's thread without an
end: a call that somebody gave up may still be in flight. With one reference held for good it never comes to that.
"""

import os
import pathlib

import pytest

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc.aio

grpc.aio.init_grpc_aio()


# Tests that start meshes and proxies share what a machine has one of: ports, names, what is left afterwards.
_ONE_AT_A_TIME = {"ads", "cli", "demo", "differential", "e2e", "envoy", "local", "node"}


def pytest_collection_modifyitems(items):
    """For `make test`, which runs two tests at once (pytest-xdist, --dist loadgroup): those run one after another."""
    for item in items:
        below = item.path.relative_to(pathlib.Path(__file__).parent).parts
        if below[0] in _ONE_AT_A_TIME:
            item.add_marker(pytest.mark.xdist_group("machine"))
