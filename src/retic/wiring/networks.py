"""The mesh's settings on a cluster, where nobody says which networks it has: found in its objects.

A cluster states its pods' networks node by node, and each join of a node would change the answer, and with it
every listener. So what is found is taken with the network sixteen times sixteen times as big that it lies in:
10.42.3.0/24 with 10.42.0.0/16, which is what clusters are given as a whole. Values that are set win.
"""

import ipaddress
from collections.abc import Callable, Iterable

import msgspec

from retic import findings, graph, objects
from retic.control import cluster as settings
from retic.mesh import network, tables
from retic.objects import core, pods

NAMESPACES = "/run/retic-ns"  # where agents bind their pods' network namespaces
_WIDER = 8  # bits
_WIDEST = 8  # a prefix's least length: 10.0.0.0/8 is a whole private range
_SINGLE = 24  # the network that a pod's or Service's address counts for where no object names its network

Rows = Callable[[findings.Ref, objects.Object | None], list[graph.Change]]


def wanted(config: settings.Config, *, drained: bool = False) -> network.Settings:
    """What an installation is told, as the mesh's settings. `drained`: every pod is to leave."""
    return network.Settings(
        trust_domain=config.trust_domain,
        cluster_domain=config.cluster_domain,
        pod_networks=config.pod_networks,
        service_networks=config.service_networks,
        netns_folder=NAMESPACES,
        enrolment="none" if drained else "labelled",
        excluded=config.exclude_namespaces,
        system_namespace=config.namespace,
        mode=config.mode,
        trust_domain_aliases=config.trust_domain_aliases,
    )


class Networks:
    """Wraps `rows` of the store: the same changes, and the settings' row when they changed.

    `given` are the settings as they are wanted; its networks count where they are not empty. `ranges` are Services'
    networks that the cluster names (ServiceCIDR objects): addresses in them widen nothing.
    """

    def __init__(
        self, given: network.Settings, rows: Rows = tables.changes, *, ranges: Iterable[str] = ()
    ) -> None:
        self._given = given
        self._rows = rows
        self._ranges = tuple(ranges)
        self._named: dict[findings.Ref, tuple[str, ...]] = {}
        self._pods: set[str] = set()
        self._services: set[str] = set()
        self.settings = self._now()

    def rows(self, ref: findings.Ref, value: objects.Object | None) -> list[graph.Change]:
        """What an object, or its absence (None), changes."""
        changes = self._rows(ref, value)
        if self._learn(ref, value):
            changes += self._settled()
        return changes

    def change(self, given: network.Settings) -> list[graph.Change]:
        """Other settings are wanted from now on: what to commit, nothing when they come to the same."""
        self._given = given
        return self._settled()

    def _settled(self) -> list[graph.Change]:
        now = self._now()
        if now == self.settings:
            return []
        self.settings = now
        return [graph.Set(tables.SETTINGS, tables.ONE, now)]

    def _learn(self, ref: findings.Ref, value: objects.Object | None) -> bool:
        """Whether there is anything new: of most objects there is not, and finding out what follows takes long."""
        match value:
            case core.Node():
                cidrs = value.spec.pod_cidrs or ((value.spec.pod_cidr,) if value.spec.pod_cidr else ())
                known = self._named.get(ref, ())
                self._named[ref] = cidrs
                return cidrs != known
            case None:
                return bool(self._named.pop(ref, None))
            case pods.Pod() if value.status and value.status.pod_ip and not value.spec.host_network:
                return _add(self._pods, (value.status.pod_ip,))
            case core.Service():
                addresses = value.spec.cluster_ips or (value.spec.cluster_ip,)
                outside = [a for a in addresses if not network.inside(a or "", self._ranges)]
                return _add(self._services, outside)
        return False

    def _now(self) -> network.Settings:
        # Addresses are never forgotten: a network that was in use once is the cluster's.
        named = [cidr for cidrs in self._named.values() for cidr in cidrs]
        return msgspec.structs.replace(
            self._given,
            pod_networks=self._given.pod_networks or wider(named or self._pods),
            service_networks=self._given.service_networks or self._ranges + wider(self._services),
        )


def wider(cidrs: Iterable[str]) -> tuple[str, ...]:
    """The IPv4 networks, each with the bigger one that it lies in, the fewest that hold them all, in order."""
    found = []
    for cidr in cidrs:
        try:
            net = ipaddress.IPv4Network(cidr, strict=False)
        except ValueError:
            continue
        found.append(net.supernet(new_prefix=max(min(net.prefixlen, _WIDEST), net.prefixlen - _WIDER)))
    return tuple(map(str, ipaddress.collapse_addresses(found)))


def _add(known: set[str], addresses: Iterable[str | None]) -> bool:
    """The networks around the addresses; whether one of them is new."""
    before = len(known)
    for address in addresses:
        known.update(_around(address or ""))
    return len(known) > before


def _around(address: str) -> list[str]:
    try:
        return [str(ipaddress.IPv4Network((address, _SINGLE), strict=False))]
    except ValueError:
        return []
