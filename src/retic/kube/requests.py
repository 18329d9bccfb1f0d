"""What a Gateway asks for beyond its listeners: replicas, the Service's type, its address. Pure.

Asked for by annotations of the Gateway. A value that cannot be used makes the Gateway unacceptable, with the
reason; it is never replaced by a default.
"""

import ipaddress
from collections.abc import Sequence

import msgspec

from retic.mesh import network
from retic.objects import gateway

REPLICAS = "retic.dev/replicas"
SERVICE_TYPE = "retic.dev/service-type"
TYPES = ("LoadBalancer", "ClusterIP", "NodePort")
MOST_REPLICAS = 100


class Problem(msgspec.Struct, frozen=True):
    """Why a Gateway is not accepted: a reason of GatewayConditionReason, and what to write instead."""

    reason: str
    message: str


class Asked(msgspec.Struct, frozen=True):
    """`cluster_ip` and `balancer_ip` are addresses asked for, "" for any; `unusable` those that cannot be had."""

    replicas: int = 1
    service_type: str = "LoadBalancer"
    cluster_ip: str = ""
    balancer_ip: str = ""
    unusable: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that were asked for."""
        return tuple(a for a in (self.cluster_ip, self.balancer_ip) if a) + self.unusable


def read(
    value: gateway.Gateway, service_networks: Sequence[str], default_type: str, default_replicas: int = 1
) -> Asked | Problem:
    """What the Gateway asks for, or why it cannot be accepted."""
    extra = value.spec.infrastructure
    if extra is not None and extra.parameters_ref is not None:
        ref = extra.parameters_ref
        return Problem(
            "InvalidParameters",
            f"spec.infrastructure.parametersRef: Retic reads no parameters, so {ref.kind} {ref.name} has no effect; "
            f"use the annotations {REPLICAS} and {SERVICE_TYPE} of the Gateway",
        )
    replicas = value.metadata.annotations.get(REPLICAS, str(default_replicas))
    if not (replicas.isascii() and replicas.isdecimal() and len(replicas) < 4 and 1 <= int(replicas) <= MOST_REPLICAS):
        text = f"annotation {REPLICAS} is {replicas[:40]!r}: write a number from 1 to {MOST_REPLICAS}"
        return Problem("InvalidParameters", text)
    kind = value.metadata.annotations.get(SERVICE_TYPE, default_type)
    if kind not in TYPES:
        text = f"annotation {SERVICE_TYPE} is {kind[:40]!r}: write one of {', '.join(TYPES)}"
        return Problem("InvalidParameters", text)
    for i, address in enumerate(value.spec.addresses):
        if (address.type or "IPAddress") != "IPAddress":
            text = f"spec.addresses[{i}].type is {address.type}: Retic knows IPAddress only"
            return Problem("UnsupportedAddress", text)
    wanted = [address.value for address in value.spec.addresses if address.value]
    return _addressed(Asked(int(replicas), kind), wanted, tuple(service_networks))


def _addressed(asked: Asked, wanted: list[str], networks: tuple[str, ...]) -> Asked:
    """An address of the Services' network is asked of the API server, any other of the load balancer.

    externalIPs are never set: whoever may write a Gateway could take any address over with them (CVE-2020-8554).
    """
    cluster = balancer = ""
    unusable = []
    for address in wanted:
        if network.inside(address, networks) and not cluster:
            cluster = address
        elif _is_address(address) and not network.inside(address, networks) and not balancer and (
            asked.service_type == "LoadBalancer"
        ):
            balancer = address
        else:
            unusable.append(address)
    return msgspec.structs.replace(asked, cluster_ip=cluster, balancer_ip=balancer, unusable=tuple(unusable))


def _is_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False
