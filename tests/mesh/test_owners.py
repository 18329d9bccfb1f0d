"""What a pod belongs to, by names that never change."""

import pytest

from retic.mesh import owners


@pytest.mark.parametrize(
    ("name", "generated", "wanted"),
    [
        ("web-6d4cf56db6-x7k2p", "web-6d4cf56db6-", "web"),
        ("shop-front-74dbb85866-cf96s", "shop-front-74dbb85866-", "shop-front"),
        ("db-0", "db-", "db"),
        ("node-exporter-9xk2l", "node-exporter-", "node-exporter"),
        ("load-7hq2d", "load-", "load"),
        ("nightly-28391820-7hq2d", "nightly-28391820-", "nightly"),
        ("lone", None, "lone"),
        ("lone-6d4cf56db6-x7k2p", "", "lone-6d4cf56db6-x7k2p"),
        ("6d4cf56db6-x7k2p", "6d4cf56db6-", "6d4cf56db6"),
        ("x", "-", "x"),
    ],
)
def test_workloads(name, generated, wanted):
    assert owners.workload(name, generated) == wanted
