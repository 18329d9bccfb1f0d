"""The rules as nft has them: where it is found, and what a switch changes and keeps."""

import os
import socket
import subprocess
import sys

import msgspec
import pytest

from retic.node import inside, ports, redirect

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
    config = redirect.Config(burst=10, new_per_second=1)
    redirect.enrol(netns, config)
    subprocess.run(["ip", "-n", os.path.basename(netns), "addr", "add", "10.244.1.2/16", "dev", "lo"], check=True)
    inside.network_namespace(netns, lambda: reach(1, 15))
    counted = listed(netns).count("expires")
    assert 10 <= counted <= 13
    redirect.switch(netns, msgspec.structs.replace(config, to=ports.SECOND))
    inside.network_namespace(netns, lambda: reach(20, 15))
    assert listed(netns).count("expires") <= counted + 3


def reach(first, count):
    """Try so many addresses. Nobody serves them: what counts is whether the rules let them be counted."""
    for number in range(first, first + count):
        with socket.socket() as one:
            one.connect_ex((f"10.244.9.{number}", 80))
