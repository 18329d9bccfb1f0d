"""Services' virtual addresses: what a manifest asks for when it can be had, else one of our own.

A headless Service has "None", an ExternalName none at all. Once given, an address stays with its Service
for as long as it exists. Node ports and load balancers are not made.
"""

import msgspec

from retic import findings
from retic.local.workloads import addresses, pods, world
from retic.objects import core

replace = msgspec.structs.replace
HEADLESS = "None"


def services(bench: world.Bench) -> None:
    """Write every Service with its address; those that ask for one are served first."""
    found: list[core.Service] = [bench.given[key] for key in sorted(bench.given) if key.kind == "Service"]
    wanting = [value for value in found if value.spec.type != "ExternalName" and value.spec.cluster_ip != HEADLESS]
    keys = {pods.ref(value) for value in wanting}
    held = {key: address for key, address in bench.addresses.items() if key in keys}
    asked = {pods.ref(value): value.spec.cluster_ip for value in wanting if value.spec.cluster_ip}
    given: dict[findings.Ref, str] = {}
    taken: set[str] = set()
    for key, address in sorted(asked.items()):
        if not addresses.usable(address) or address in taken:
            _refuse(bench, key, address, taken)
            continue
        given[key] = address
        taken.add(address)
    for key in sorted(keys - set(given)):
        own = held.get(key)
        if own is None or own in taken or asked.get(key) == own:
            own = addresses.service(key.namespace, key.name, taken | set(held.values()))
        if own is not None:
            given[key] = own
            taken.add(own)
    bench.addresses = given
    for value in found:
        _write(bench, value, given.get(pods.ref(value)))
    bench.keep_only("Service", {pods.ref(value) for value in found})


def _refuse(bench: world.Bench, key: findings.Ref, address: str, taken: set[str]) -> None:
    why = "another Service has it" if address in taken else f"it is not a free address of {addresses.SERVICES}"
    bench.fault(
        "RT0011",
        key,
        "spec.clusterIP",
        f"clusterIP {address} cannot be given: {why}; another one is used",
        "take the line away, or write an address between 10.96.0.1 and 10.96.255.254 that is free",
    )


def _write(bench: world.Bench, value: core.Service, address: str | None) -> None:
    kind = value.spec.type or "ClusterIP"
    if kind in ("NodePort", "LoadBalancer"):
        bench.fault(
            "RT0503",
            pods.ref(value),
            "spec.type",
            f"a Service of type {kind} is reached inside the mesh only; no port of this machine is opened for it",
            "write a Gateway of class retic to reach it from this machine",
        )
    if value.spec.cluster_ip == HEADLESS:
        address = HEADLESS
    ips = () if address is None else (address,)
    bench.put(replace(value, spec=replace(value.spec, type=kind, cluster_ip=address, cluster_ips=ips)))
