"""Faults of `dnsConfig` that only local mode has: nameservers that a pod cannot reach here."""

import ipaddress

from retic import findings
from retic.local.workloads import addresses, world
from retic.objects import pods as structs


def checks(bench: world.Bench, owner: findings.Ref, path: str, spec: structs.PodSpec) -> None:
    """Report nameservers at IPv6 addresses and at virtual addresses of Services."""
    for index, text in enumerate(spec.dns_config.nameservers if spec.dns_config else ()):
        where = f"{path}.dnsConfig.nameservers[{index}]"
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if address.version == 6:
            bench.fault(
                "RT0108", owner, where, f"the nameserver {text} is not reached: the mesh carries no IPv6",
                "write an IPv4 address of the same server",
            )  # fmt: skip
        elif address in addresses.SERVICES and text != addresses.DNS:
            bench.fault(
                "RT0503", owner, where,
                f"the nameserver {text} is asked in vain over UDP: a Service's address takes TCP only in local mode",
                f"write {addresses.DNS}, the address of a pod, or of a server outside the mesh",
            )  # fmt: skip
