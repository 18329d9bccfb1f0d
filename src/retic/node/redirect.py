"""Redirection inside a pod's network namespace: nftables, two routing rules and three settings.

Everything stays in the pod's namespace: the node's own is never touched. Each rule stands here with the
failure that it prevents; docs/concepts.md tells the whole path of a connection. Rules are replaced by one
atomic transaction, and match only a connection's first packet, so that connections older than enrolment
live on.
"""

import contextlib
import errno
import os
import shutil
import string
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from pyroute2 import IPRoute

from retic.node import inside, ports

UPSTREAM_MARK, APPLICATION_MARK = 0x539, 0x53A
_TABLE = 100
_SBIN = "/usr/sbin:/sbin"  # not on the PATH of Debian's ordinary users


class Config(msgspec.Struct, frozen=True):
    """What the rules need to know of the mesh. CIDRs and addresses are text."""

    mesh_networks: tuple[str, ...] = ("10.244.0.0/16", "10.96.0.0/16")
    dns: str = "10.96.0.10"
    server_first_ports: tuple[int, ...] = (21, 22, 23, 25, 110, 143, 587, 3306, 4444, 4567, 4568, 33060)
    # How many destinations (address and port) in the mesh's networks a pod may use within so many hours, and
    # how fast it may reach for new ones: a scan must not grow the proxy that serves the whole node. A name that
    # nobody has costs it some 30 kB.
    destinations: int = 2048
    hours: int = 6
    new_per_second: int = 50
    burst: int = 512
    to: ports.Ports = ports.FIRST


class RedirectionError(Exception):
    """The rules could not be set; the text is what nft or the kernel said."""


def enrol(netns_path: str, config: Config) -> None:
    """Capture the TCP connections of the namespace bound at `netns_path`; again is the same as once.

    RedirectionError when a part fails: the pod must then get no traffic.
    """
    inside.network_namespace(netns_path, lambda: _enrol(config))


def switch(netns_path: str, config: Config) -> None:
    """Replace the rules of a captured namespace, atomically: from now on new connections go to `config.to`.

    What the rules remember stays: connections stay where they are, opaque destinations and those that the pod has
    reached for are known. RedirectionError when the namespace is not captured, or nft refuses.
    """
    inside.network_namespace(netns_path, lambda: load("flush table inet retic\n" + _rules(config)))


def release(netns_path: str) -> None:
    """Stop capturing new connections; those that exist go on."""
    inside.network_namespace(netns_path, lambda: load("delete table inet retic\n"))


def set_opaque(netns_path: str, destinations: Iterable[tuple[str, int]]) -> None:
    """Replace, atomically, the destinations (address, port) that nobody looks into."""
    wanted = ", ".join(f"{address} . {port}" for address, port in sorted(set(destinations)))
    text = "flush set inet retic opaque\n"
    if wanted:
        text += f"add element inet retic opaque {{ {wanted} }}\n"
    inside.network_namespace(netns_path, lambda: load(text))


def _enrol(config: Config) -> None:
    _routes()
    for name, value in (
        # Sockets the application accepts take the mark of the proxy's connection, so replies find the way.
        ("tcp_fwmark_accept", "1"),
        # A closed port's RST carries the mark as well; without it the caller waits the whole time-out.
        ("fwmark_reflect", "1"),
    ):
        try:
            Path(f"/proc/sys/net/ipv4/{name}").write_text(value)
        except OSError as error:
            raise RedirectionError(f"cannot set net.ipv4.{name}: {error.strerror}") from error
    load("add table inet retic\ndelete table inet retic\n" + _rules(config))


def _routes() -> None:
    """Replies to a kept source address come back to the proxy instead of leaving by eth0."""
    with IPRoute() as route:
        lo = route.link_lookup(ifname="lo")[0]
        route.link("set", index=lo, state="up")
        route.route("replace", dst="0.0.0.0/0", oif=lo, table=_TABLE, type="local", scope="host")
        with _once():
            route.rule("add", fwmark=APPLICATION_MARK, table=_TABLE, priority=_TABLE)


@contextlib.contextmanager
def _once() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if getattr(error, "code", None) != errno.EEXIST:
            raise


def load(text: str) -> None:
    """Load rules into this thread's network namespace, all or none. RedirectionError with what nft said."""
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if program is None:
        raise RedirectionError("nft is not installed: install the package nftables")
    done = subprocess.run([program, "-f", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RedirectionError(f"nft refused the rules: {done.stderr.strip()}")


_RULES = string.Template(
    """
table inet retic {
  set opaque { type ipv4_addr . inet_service; }
  set seen { type ipv4_addr . inet_service; size $destinations; flags dynamic, timeout; timeout ${hours}h; }
  # Sets and this one outlive their rules (`switch`).
  limit fresh { rate over $rate/second burst $burst packets; }

  chain raw_output {
    type filter hook output priority raw; policy accept;
    # Nobody connects to a proxy port, neither the application nor the proxy itself: it would loop.
    tcp dport $proxy reject with tcp reset
    # The proxy's leg to the application may equal the client's own connection, address and port alike.
    meta mark $app notrack
  }
  chain raw_prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifname "lo" meta mark $app notrack
    # From outside nobody reaches a proxy port either.
    iifname != "lo" tcp dport $proxy drop
    # Nor the loopback: the wire may carry such a destination, redirection would take it for the pod's own
    # address, and the proxy would hand the connection to a server that listens for the pod itself only.
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    # IPv6 is not carried: refused, not let through in plaintext.
    iifname != "lo" meta nfproto ipv6 meta l4proto tcp drop
  }
  chain scan {
    type filter hook output priority mangle; policy accept;
    meta mark $marks return
    meta l4proto != tcp return
    $first ip daddr $mesh ip daddr != 127.0.0.0/8 goto destination
  }
  chain destination {
    ip daddr $dns tcp dport 53 accept
    ip daddr . tcp dport @seen update @seen { ip daddr . tcp dport } accept
    limit name "fresh" reject with tcp reset
    add @seen { ip daddr . tcp dport } accept
    # The set is full.
    reject with tcp reset
  }
  chain output {
    type nat hook output priority -100; policy accept;
    meta mark $app return
    # A pod that calls itself: the proxy's own leg comes in again.
    meta mark $up oifname "lo" ip daddr != 127.0.0.0/8 $first redirect to :$inbound
    meta mark $up return
    meta nfproto ipv6 return
    ip daddr 127.0.0.0/8 return
    ip daddr $dns tcp dport 53 return
    # Outside the mesh's networks nothing is looked into, so no server that speaks first is delayed.
    $first ip daddr != $mesh redirect to :$opaque
    $first tcp dport $ports redirect to :$opaque
    $first ip daddr . tcp dport @opaque redirect to :$opaque
    $first redirect to :$outbound
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    iifname "lo" return
    # Only where somebody listens: else a closed port would seem open, to a kubelet's TCP probe above all. Of what the
    # kernel can say of a socket, `transparent` alone it says of one in TIME_WAIT too, whose caller comes again.
    meta nfproto ipv4 $first socket transparent { 0, 1 } redirect to :$inbound
  }
  chain input {
    type filter hook input priority filter; policy accept;
    # Conntrack takes a stray segment for a connection older than enrolment, and would then let the SYN of the
    # same address and ports through to the application as it is: no SYN gets in that was not redirected.
    # Either set of ports will do: a packet may meet the rules of before and of after a switch.
    iifname != "lo" $first tcp dport != $inbounds reject with tcp reset
  }
}
"""
)


def _rules(config: Config) -> str:
    return _RULES.substitute(
        app=f"{APPLICATION_MARK:#x}",
        up=f"{UPSTREAM_MARK:#x}",
        marks=f"{{ {UPSTREAM_MARK:#x}, {APPLICATION_MARK:#x} }}",
        proxy=f"{{ {', '.join(map(str, sorted(ports.EVERY)))} }}",
        inbounds=f"{{ {ports.FIRST.inbound}, {ports.SECOND.inbound} }}",
        mesh=f"{{ {', '.join(config.mesh_networks)} }}",
        ports=f"{{ {', '.join(map(str, config.server_first_ports))} }}",
        first="tcp flags & (fin | syn | rst | ack) == syn",
        dns=config.dns,
        destinations=config.destinations,
        hours=config.hours,
        rate=config.new_per_second,
        burst=config.burst,
        outbound=config.to.outbound,
        opaque=config.to.opaque,
        inbound=config.to.inbound,
    )
