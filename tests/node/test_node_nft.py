"""The rules as nft has them: where it is found, and what a switch changes and keeps."""

import os
import socket
import subprocess
import sys

import msgspec
import pytest

from retic.node import inside, passage, ports, redirect

ASK = "from retic.node import redirect; redirect.load('add table inet probe\\n')"


def test_nft_is_found_without_sbin_on_the_path():
    """Ordinary users of Debian have no sbin folder on their PATH."""
    inside = ["unshare", "--user", "--map-root-user", "--net"] if os.getuid() else ["unshare", "--net"]
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    command = [*inside, sys.executable, "-c", ASK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def listed(netns):
    def show():
        line = ["nft", "list", "table", "inet", "retic"]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    return inside.network_namespace(netns, show)


def test_a_switch_changes_two_chains_and_keeps_what_the_rules_remember(netns):
    config = redirect.Config()
    redirect.enrol(netns, config)
    redirect.set_opaque(netns, [("10.96.0.5", 6379)])
    reached = "add element inet retic seen { 10.96.0.7 . 80 timeout 1h expires 50m }\n"
    inside.network_namespace(netns, lambda: redirect.load(reached))
    before = listed(netns)
    redirect.switch(netns, msgspec.structs.replace(config, to=ports.SECOND))
    after = listed(netns)
    for one in ("10.96.0.5 . 6379", "10.96.0.7 . 80 timeout 1h expires 49m"):
        assert one in after
    lines = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    turned = [(a, b) for a, b in lines if "expires" not in a]
    assert turned
    assert all(a.replace(":150", ":151") == b and "redirect to" in a for a, b in turned)
    assert len(turned) == before.count("redirect to")
    redirect.switch(netns, config)
    assert listed(netns).count("redirect to :150") == before.count("redirect to")


def test_a_switch_does_not_capture_who_is_not_enrolled(netns):
    with pytest.raises(redirect.RedirectionError):
        redirect.switch(netns, redirect.Config())
    assert inside.network_namespace(
        netns, lambda: subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    ) == ""


def test_the_speed_limit_of_a_scan_is_not_given_anew(netns):
    """What a pod has used up of its first new destinations stays used up."""
    config = redirect.Config(burst=30, new_per_second=1)
    redirect.enrol(netns, config)
    subprocess.run(["ip", "-n", os.path.basename(netns), "addr", "add", "10.244.1.2/16", "dev", "lo"], check=True)
    inside.network_namespace(netns, lambda: reach(1, 45))
    counted = listed(netns).count("expires")
    assert 30 <= counted <= 40
    redirect.switch(netns, msgspec.structs.replace(config, to=ports.SECOND))
    inside.network_namespace(netns, lambda: reach(60, 45))
    assert listed(netns).count("expires") <= counted + 12


def reach(first, count):
    """Try so many addresses. Nobody serves them: what counts is whether the rules let them be counted."""
    for number in range(first, first + count):
        with socket.socket() as one:
            one.connect_ex((f"10.244.9.{number}", 80))


@pytest.fixture
def neighbour(netns):
    """A namespace with the address 10.244.1.3, beside `netns`, which gets 10.244.1.2."""
    own, name = os.path.basename(netns), f"rt-{os.getpid()}-n"
    lines = (
        f"ip netns add {name}",
        f"ip -n {own} link add eth0 type veth peer name eth0 netns {name}",
        f"ip -n {own} addr add 10.244.1.2/24 dev eth0",
        f"ip -n {name} addr add 10.244.1.3/24 dev eth0",
        f"ip -n {own} link set eth0 up",
        f"ip -n {name} link set eth0 up",
    )
    try:
        for line in lines:
            subprocess.run(line.split(), check=True)
        yield f"/var/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


def test_an_address_and_port_that_were_just_used_are_redirected_too(netns, neighbour):
    """The kernel keeps an ended connection for a minute (TIME_WAIT), and a caller may take the same port again."""

    def listen(port):
        made = socket.create_server(("10.244.1.2", port))
        made.settimeout(5)
        return made

    def reach():
        made = socket.socket()
        made.settimeout(5)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("10.244.1.3", 40000))
        made.connect(("10.244.1.2", 8080))
        return made

    application, proxy = (inside.network_namespace(netns, lambda port=port: listen(port)) for port in (8080, 15006))
    with application, proxy:
        with inside.network_namespace(neighbour, reach) as first:
            accepted, _ = application.accept()
            accepted.close()  # the server ends it first, so the memory of it is the server's
            assert first.recv(1) == b""
        redirect.enrol(netns, redirect.Config())
        with inside.network_namespace(neighbour, reach):
            taken, _ = proxy.accept()
            taken.close()


def test_who_has_the_port_of_a_connection_to_the_application_is_redirected_while_the_pod_leaves(netns, neighbour):
    """The proxy speaks to the application from the caller's address, from a port that the caller may choose itself."""

    def listen(port):
        made = socket.create_server(("10.244.1.2", port))
        made.settimeout(5)
        return made

    def leg():
        made = socket.socket()
        made.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, redirect.APPLICATION_MARK)
        made.bind(("10.244.1.3", 40000))
        made.connect(("10.244.1.2", 8080))
        return made

    def reach(port):
        made = socket.socket()
        made.settimeout(5)
        made.bind(("10.244.1.3", port))
        made.connect(("10.244.1.2", 8080))
        return made

    redirect.enrol(netns, redirect.Config())
    application, proxy = (inside.network_namespace(netns, lambda port=port: listen(port)) for port in (8080, 15006))
    with application, proxy, inside.network_namespace(netns, leg):
        held, _ = application.accept()
        passage.stop(netns, ports.FIRST)
        with held, inside.network_namespace(neighbour, lambda: reach(40000)):
            proxy.accept()[0].close()
        with inside.network_namespace(neighbour, lambda: reach(40001)):
            application.accept()[0].close()
