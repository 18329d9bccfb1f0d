"""A running pod's way into the mesh and out of it, without a lost connection; `redirect` has the rules in between.

In: the proxy's ports are guarded first, then Envoy listens, then the rules come. Out: no new connection is redirected
any more, while those that exist keep what they need; when the last has ended everything is taken away.
"""

import pathlib

from pyroute2 import IPRoute

from retic.node import inside, ports, redirect

_SYN = "tcp flags & (fin | syn | rst | ack) == syn"
_PORTS = f"{{ {', '.join(map(str, sorted(ports.EVERY)))} }}"
_GUARD = f"""
add table inet retic_guard
delete table inet retic_guard
table inet retic_guard {{
  chain output {{
    type filter hook output priority raw; policy accept;
    # Nobody connects to a proxy port: what arrives there without redirection would run in circles.
    {_SYN} tcp dport {_PORTS} reject with tcp reset
  }}
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" {_SYN} tcp dport {_PORTS} drop
  }}
}}
"""
_STOP = """
add table inet retic
add chain inet retic scan {{ type filter hook output priority mangle; policy accept; }}
add chain inet retic output {{ type nat hook output priority -100; policy accept; }}
add chain inet retic prerouting {{ type nat hook prerouting priority -100; policy accept; }}
add chain inet retic input {{ type filter hook input priority filter; policy accept; }}
flush chain inet retic scan
flush chain inet retic output
flush chain inet retic prerouting
flush chain inet retic input
add rule inet retic output ip daddr 0.0.0.0 tcp dport 0 redirect
add rule inet retic prerouting iifname != "lo" meta nfproto ipv4 {syn} socket mark {app} redirect to :{inbound}
"""
# The rule of `output` meets no packet: with the last rule that redirects the kernel would stop tracking connections in
# the namespace, and those that were redirected would be reset. That of `prerouting` meets a caller who takes the very
# port from which the proxy still speaks to the application in the caller's name: the kernel has that connection, and
# would answer the caller's with nothing at all.


def guard(netns_path: str) -> None:
    """Let nobody reach the proxy's ports, before there are rules. RedirectionError, OSError."""
    inside.network_namespace(netns_path, lambda: redirect.load(_GUARD))


def unguard(netns_path: str) -> None:
    """Take the guard away: the rules guard by themselves."""
    gone = "add table inet retic_guard\ndelete table inet retic_guard\n"
    inside.network_namespace(netns_path, lambda: redirect.load(gone))


def stop(netns_path: str, to: ports.Ports) -> None:
    """Redirect no new connection; again is the same as once, also where there are no rules.

    Connections through the proxy, which listens at `to`, go on. RedirectionError, OSError.
    """
    rules = _STOP.format(app=f"{redirect.APPLICATION_MARK:#x}", inbound=to.inbound, syn=_SYN)
    inside.network_namespace(netns_path, lambda: redirect.load(_GUARD + rules))


def clear(netns_path: str) -> None:
    """Take away all that the mesh has set in the namespace. RedirectionError, OSError."""

    def act() -> None:
        for table in ("retic", "retic_guard"):
            redirect.load(f"add table inet {table}\ndelete table inet {table}\n")
        with IPRoute() as route:
            for rule in route.get_rules(fwmark=redirect.APPLICATION_MARK):
                route.rule("delete", fwmark=redirect.APPLICATION_MARK, priority=rule.get_attr("FRA_PRIORITY"))
            route.flush_routes(table=100)
        for name in ("tcp_fwmark_accept", "fwmark_reflect"):
            pathlib.Path(f"/proc/sys/net/ipv4/{name}").write_text("0")

    inside.network_namespace(netns_path, act)
