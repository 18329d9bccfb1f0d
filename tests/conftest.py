"""For all tests: what gRPC, Hypothesis and pytest-xdist are told.

gRPC must not interfere with processes that tests fork, nor stop a test that has no part in it. Its fork handlers, with
servers of other tests still in this process, make children fail at random. And when the last of its asyncio objects is
collected, which may happen in any test later, it waits for its poller's thread without an end: a call that somebody
gave up may still be in flight. With one reference held for good it never comes to that.
"""

import os

import hypothesis
from xdist.scheduler import loadscope

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc.aio

grpc.aio.init_grpc_aio()

# How long an example takes is the machine's matter. The rest stays as Hypothesis has chosen it: in CI its profile "ci".
hypothesis.settings.register_profile("retic", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("retic")


# Tests that start meshes share what a machine has one of: ports, names, what is left afterwards.
_ONE_AT_A_TIME = {"cli", "demo", "differential", "e2e", "local"}
# This one has a mesh of its own that takes no port of the machine, and waits most of its four minutes.
_BESIDE_THEM = {"tests/e2e/test_lost_requests.py"}


class _Scheduling(loadscope.LoadScopeScheduling):
    """For `make test`, which runs two tests at once (pytest-xdist): those run one after another."""

    def _split_scope(self, nodeid):
        file, _, _ = nodeid.partition("::")
        folder = file.split("/")[1] if file.count("/") > 1 else ""
        if folder in _ONE_AT_A_TIME and file not in _BESIDE_THEM:
            return "machine"
        if folder == "node":  # pods' control groups have the same names in each of them
            return folder
        return super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return _Scheduling(config, log)
