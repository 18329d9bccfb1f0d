"""What this node's kernel lacks of what the rules inside pods use, tried without loading anything."""

import os
import pathlib
import shutil
import subprocess

# A feature by the name of its kernel module, and a rule that needs it.
_RULES = {
    "nf_tables": "set s { type ipv4_addr . inet_service; size 10; flags dynamic, timeout; timeout 1h; }",
    "nft_redir": "chain c { type nat hook output priority 0; tcp dport 1 redirect to :1; }",
    "nft_ct": "chain c { type filter hook output priority raw; notrack; }",
    "nft_reject": "chain c { type filter hook input priority 0; tcp dport 1 reject with tcp reset; }",
    "nft_socket": "chain c { type nat hook prerouting priority -100; socket wildcard 0 accept; }",
    "nft_limit": "limit l { rate over 10/second burst 5 packets; }",
}
_SYSCTLS = ("tcp_fwmark_accept", "fwmark_reflect")
_SBIN = "/usr/sbin:/sbin"
_SECONDS = 10.0


def lacks() -> tuple[str, ...]:
    """Names of modules and sysctls; of a container without nft, nft alone. Takes some tens of milliseconds."""
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if program is None:
        return ("nft",)
    missing = [name for name, rule in _RULES.items() if not _accepts(program, rule)]
    folder = pathlib.Path("/proc/sys/net/ipv4")
    return (*missing, *(f"net.ipv4.{name}" for name in _SYSCTLS if not (folder / name).exists()))


def _accepts(program: str, rule: str) -> bool:
    """Whether the kernel would take the rule: a checked transaction is never committed (nft(8), --check)."""
    text = f"table inet retic_probe {{\n{rule}\n}}\n"
    try:
        done = subprocess.run(
            [program, "--check", "-f", "-"], input=text, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
