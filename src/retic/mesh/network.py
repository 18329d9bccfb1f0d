"""The mesh's addresses: which networks are its own, and which addresses no endpoint may have."""

import functools
import ipaddress
from collections.abc import Iterable
from typing import Literal

import msgspec

# The proxy's own ports inside every pod (docs/concepts.md, Redirection), two sets of three, which an Envoy and
# its successor use in turn. An endpoint there would loop.
PROXY_PORTS = frozenset({15001, 15002, 15006, 15101, 15102, 15106})

# Ports whose servers speak first, so that looking for HTTP would only delay them: SMTP, submission, POP3,
# IMAP, MySQL, PostgreSQL's own negotiation aside, FTP, SSH, Telnet, Galera, AMQP is client-first.
SERVER_FIRST_PORTS = (21, 22, 23, 25, 110, 143, 587, 3306, 4444, 4567, 4568, 33060)


class Settings(msgspec.Struct, frozen=True):
    """What holds for the whole mesh. CIDRs are text; `netns_folder` is where nodes bind pods' namespaces.

    `dns` is the address of the cluster's DNS; "" for that of its Service, kube-system/kube-dns.

    `enrolment` says which pods are meant for the mesh: all, those of labelled namespaces, except kube-system,
    `system_namespace` and those `excluded`, or none, so that all that were captured are released. `mode` says what
    plaintext may do at a pod: nothing but probes, or everything. Callers of `trust_domain_aliases` are let in too, and
    a policy that names the own trust domain means them as well. All of these may change while the mesh runs: no
    listener's chains depend on them, and no connection is drained. `access_logs`: whether requests are logged where no
    Telemetry says anything.
    """

    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"
    pod_networks: tuple[str, ...] = ("10.244.0.0/16",)
    service_networks: tuple[str, ...] = ("10.96.0.0/16",)
    dns: str = ""
    netns_folder: str = "/run/retic/netns"
    enrolment: Literal["all", "labelled", "none"] = "all"
    excluded: tuple[str, ...] = ()
    system_namespace: str = "retic-system"
    mode: Literal["STRICT", "PERMISSIVE"] = "STRICT"
    trust_domain_aliases: tuple[str, ...] = ()
    access_logs: bool = False

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """All that are accepted, the own one first."""
        return tuple(dict.fromkeys((self.trust_domain, *self.trust_domain_aliases)))


def identity(trust_domain: str, namespace: str, account: str) -> str:
    """The SPIFFE ID of a service account (SPIFFE-ID section 2; the path is Istio's and Linkerd's)."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}"


def identities(settings: Settings, namespace: str, account: str) -> tuple[str, ...]:
    """Every SPIFFE ID that a server of this account may have: while the mesh's trust domain is exchanged for
    another, some have certificates of the old one still."""
    return tuple(identity(domain, namespace, account) for domain in settings.trust_domains)


def octet_prefixes(network: str) -> tuple[str, ...]:
    """The textual prefixes that an IPv4 address of `network` (a CIDR) may begin with, at most 128.

    `10.96.0.0/12` gives `10.96.`, ... `10.111.`: for matchers that know strings only.
    """
    net = ipaddress.IPv4Network(network)
    whole = -(-net.prefixlen // 8)
    if whole == 4:
        return tuple(str(a) for a in net)
    step = 1 << (32 - 8 * whole)
    first = int(net.network_address)
    count = net.num_addresses // step
    return tuple(
        ".".join(str(ipaddress.IPv4Address(first + i * step)).split(".")[:whole]) + "." for i in range(count)
    )


def aggregate(cidrs: Iterable[str]) -> tuple[str, ...]:
    """The fewest IPv4 networks that hold exactly the addresses of `cidrs`, in order; what is none is left out.

    For clusters that say their nodes' networks only: 10.42.0.0/24 and 10.42.1.0/24 are 10.42.0.0/23.
    """
    found = []
    for cidr in cidrs:
        try:
            found.append(ipaddress.IPv4Network(cidr, strict=False))
        except ValueError:
            continue
    return tuple(map(str, ipaddress.collapse_addresses(found)))


def first_host(cidr: str) -> str | None:
    """The first address behind a network's own, where bridges and gateways are; None for what is no IPv4 network
    or has a single address."""
    try:
        found = ipaddress.IPv4Network(cidr, strict=False)
    except ValueError:
        return None
    return str(found.network_address + 1) if found.prefixlen < 32 else None


def ipv4(text: str) -> str | None:
    """The IPv4 address as it is usually written, or None for text that is none."""
    try:
        return str(ipaddress.IPv4Address(text.strip()))
    except ValueError:
        return None


@functools.lru_cache(maxsize=64)
def _networks(cidrs: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(c) for c in cidrs)


def inside(address: str, cidrs: tuple[str, ...]) -> bool:
    """Whether the address lies in one of the networks; text that is no address lies in none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in net for net in _networks(cidrs) if net.version == parsed.version)


def unfit(address: str, port: int) -> str | None:
    """Why no endpoint may be at this address and port, or None when it may.

    An endpoint at a proxy port, or at an address that means the proxy's own machine, would turn one
    connection into thousands.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "it is not an IP address"
    if parsed.is_loopback:
        return "it is a loopback address"
    if parsed.is_link_local:
        return "it is a link-local address"
    if parsed.is_unspecified:
        return "it is the wildcard address"
    if parsed.is_multicast or (parsed.version == 4 and address == "255.255.255.255"):
        return "it is not the address of one machine"
    if port in PROXY_PORTS:
        return f"port {port} is the proxy's own"
    return None
