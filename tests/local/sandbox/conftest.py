"""Machines for tests, and real meshes on them."""

import pytest

from retic.testing import host_side, machine


@pytest.fixture(scope="module", params=machine.users(), ids=lambda user: f"user{user}")
def host(request):
    with machine.on(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def mesh(host):
    """Two nodes, a pod on each."""
    made = host_side.up(host)
    try:
        made.ask("add_pod", uid="a", node="node-1", ip="10.244.1.2", subdomain="set")
        made.ask("add_pod", uid="b", node="node-2", ip="10.244.2.2")
        made.ask("egress")
        yield made
    finally:
        answer = host_side.drive(host, "down", made.name)
        assert answer.returncode == 0, answer.stderr.decode()
