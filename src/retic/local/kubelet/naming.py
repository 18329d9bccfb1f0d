"""What a pod is called, and how it finds others: host name, lines of /etc/hosts, /etc/resolv.conf. Pure.

The rules are kubelet's: GeneratePodHostNameAndDomain, pkg/kubelet/network/dns/dns.go. One thing differs: with
`dnsPolicy: Default` a pod of a cluster asks its node's resolvers; here it asks a forwarder in the mesh that
asks this machine's, which are often at an address of the machine that a pod cannot reach.
"""

import ipaddress
from collections.abc import Iterable

import msgspec

from retic.local.kubelet import environment
from retic.local.sandbox import addresses
from retic.objects import pods as structs

_LONGEST_LABEL, _LONGEST_NAME = 63, 64  # characters: of a DNS label, of the kernel's host name
_NAMESERVERS, _SEARCHES, _SEARCH_LENGTH = 3, 32, 2048  # kubelet's limits


class Resolver(msgspec.Struct, frozen=True):
    """The contents of a resolv.conf; an option is `name` or `name:value`."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file."""
        lines = [f"nameserver {server}" for server in self.nameservers]
        if self.searches:
            lines.append(f"search {' '.join(self.searches)}")
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Resolver:
    """A resolv.conf as kubelet reads it: the last `search` counts, and all options."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        word, *rest = line.partition("#")[0].split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word == "search":
            searches = [item.rstrip(".") for item in rest]
        elif word == "options":
            options += rest
    return Resolver(_once(servers), _once(item for item in searches if item), _once(options))


def host_name(pod: structs.Pod) -> str:
    """The pod's short name: `hostname`, else its own name as far as a label may be long."""
    return pod.spec.hostname or pod.metadata.name[:_LONGEST_LABEL].rstrip("-.")


def full_name(pod: structs.Pod) -> str:
    """The name with its domain; without a `subdomain` the short one, since a pod has no domain then."""
    if not pod.spec.subdomain:
        return host_name(pod)
    zone = f"{pod.metadata.namespace}.svc.{addresses.CLUSTER_DOMAIN}"
    return f"{host_name(pod)}.{pod.spec.subdomain}.{zone}"


def kernel_name(pod: structs.Pod) -> str:
    """What the kernel calls the pod (uname). Raises environment.Missing for one that the kernel cannot hold."""
    if not pod.spec.set_hostname_as_fqdn:
        return host_name(pod)
    name = full_name(pod)
    if len(name) > _LONGEST_NAME:
        raise environment.Missing(f"setHostnameAsFQDN: {name} is longer than {_LONGEST_NAME} characters")
    return name


def aliases(pod: structs.Pod) -> str:
    """The lines of /etc/hosts for `hostAliases`, "" without them."""
    lines = ["\t".join((alias.ip, *alias.hostnames)) for alias in pod.spec.host_aliases]
    return "\n".join(("", "# Entries added by HostAliases.", *lines, "")) if lines else ""


def resolver(pod: structs.Pod, host: Resolver) -> Resolver:
    """The pod's resolv.conf: by its policy, then `dnsConfig` added, then cut to what a resolver takes."""
    config = pod.spec.dns_config or structs.DNSConfig()
    start = _by_policy(pod, host)
    return Resolver(
        _once((*start.nameservers, *config.nameservers))[:_NAMESERVERS],
        _fitting(_once((*start.searches, *config.searches))),
        _merged(start.options, config.options),
    )


def _by_policy(pod: structs.Pod, host: Resolver) -> Resolver:
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "None":
        return Resolver()
    if policy == "Default" or (policy == "ClusterFirst" and pod.spec.host_network):
        return Resolver((str(addresses.FABRIC),), host.searches, host.options)
    domain = addresses.CLUSTER_DOMAIN
    own = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain)
    return Resolver((str(addresses.DNS),), _once((*own, *host.searches)), ("ndots:5",))


def _merged(before: Iterable[str], added: Iterable[structs.DNSOption]) -> tuple[str, ...]:
    """An option of `dnsConfig` takes the place of one of the same name."""
    options = dict(item.partition(":")[::2] for item in before)
    for option in added:
        if option.name:
            options[option.name] = option.value or ""
    return tuple(f"{name}:{value}" if value else name for name, value in options.items())


def _fitting(searches: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for item in searches:
        if len(kept) == _SEARCHES or len(" ".join((*kept, item))) > _SEARCH_LENGTH:
            break
        kept.append(item)
    return tuple(kept)


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def outside(pod: structs.Pod) -> tuple[str, ...]:
    """The nameservers of `dnsConfig` that lie outside the mesh, and that IPv4 can reach."""
    found = []
    for text in pod.spec.dns_config.nameservers if pod.spec.dns_config else ():
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            continue
        if not (addresses.of_mesh(address) or address in addresses.LOOPBACK):
            found.append(text)
    return _once(found)
