"""The cluster's DNS zone: names and records kept from objects, one object at a time.

Kubernetes DNS-Based Service Discovery 1.1.0 says which records exist; where it leaves a choice, the answer
is CoreDNS's. An update costs what its own Service has, a look-up one dictionary access. Nothing here knows
packets, sockets or upstream resolvers, and no endpoint is derived from a selector: EndpointSlices say it.
"""

import enum
import ipaddress
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from retic.objects import core, discovery, meta

SCHEMA = "1.1.0"
TTL = 5  # seconds, for answers and for the absence of one (RFC 2308), as CoreDNS has it
SERVICE_LABEL = "kubernetes.io/service-name"


class Kind(enum.StrEnum):
    """The record types the zone holds, by their names in the DNS."""

    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    NS = "NS"
    PTR = "PTR"
    SOA = "SOA"
    SRV = "SRV"
    TXT = "TXT"


class Record(msgspec.Struct, frozen=True):
    """One record: its lower-case name without the final dot, its type, and its data as in a zone file."""

    name: str
    kind: Kind
    data: str


class Status(enum.Enum):
    """What is known about a name and a type."""

    FOUND = enum.auto()
    NO_DATA = enum.auto()  # the name exists, without this type
    NO_NAME = enum.auto()
    OUTSIDE = enum.auto()  # another server's to answer


class Answer(msgspec.Struct, frozen=True):
    """A look-up's result. `soa` is the zone's when the status is NO_DATA or NO_NAME."""

    status: Status
    records: tuple[Record, ...] = ()
    soa: Record | None = None


_OUTSIDE = Answer(Status.OUTSIDE)
_Owner = tuple[str, str]  # namespace and name of the Service that a record comes from


class Zone:
    """Records of one cluster. Not thread-safe: keep it to one event loop.

    `networks` are the pod and service networks: reverse names inside them are answered here, also when
    nothing has the address, and are never asked of the outside.
    """

    def __init__(
        self, *, address: str = "10.96.0.10", domain: str = "cluster.local",
        networks: Iterable[str] = ("10.244.0.0/16", "10.96.0.0/16"),
    ) -> None:
        self.domain = domain.lower().rstrip(".")
        self._services: dict[_Owner, core.Service] = {}
        self._slices: dict[_Owner, dict[str, discovery.EndpointSlice]] = {}
        self._slice_owner: dict[tuple[str, str], _Owner] = {}
        self._namespaces: Counter[str] = Counter()
        self._holds: dict[tuple[str, str, str], str] = {}
        self._given: dict[_Owner, tuple[Record, ...]] = {}
        self._names: dict[str, dict[Kind, dict[Record, int]]] = {}
        self._ancestors: Counter[str] = Counter()
        self._soa: dict[str, Record] = {}
        self._found_apexes(address, networks)

    def _found_apexes(self, address: str, networks: Iterable[str]) -> None:
        server = f"ns.dns.{self.domain}"
        apexes = [self.domain, *dict.fromkeys(_reverse_apex(network) for network in networks)]
        fixed = [
            Record(server, Kind.A, address),
            Record(f"dns-version.{self.domain}", Kind.TXT, f'"{SCHEMA}"'),
        ]
        for apex in apexes:
            soa = Record(apex, Kind.SOA, f"{server}. hostmaster.{self.domain}. 1 7200 1800 86400 {TTL}")
            self._soa[apex] = soa
            fixed += [soa, Record(apex, Kind.NS, f"{server}.")]
        for record in fixed:
            self._add(record)
        for name in (f"svc.{self.domain}", f"pod.{self.domain}"):
            self._ancestors[name] += 1

    # What changes the zone

    def put(self, thing: meta.Object) -> None:
        """Take an object in its newest form; kinds other than these three only say which namespaces exist."""
        given = thing.metadata
        namespace = given.name if isinstance(thing, core.Namespace) else given.namespace
        self._hold(type(thing).__name__, given.namespace, given.name, namespace)
        if isinstance(thing, core.Service):
            owner = (given.namespace, given.name)
            self._services[owner] = thing
            self._refresh(owner)
        elif isinstance(thing, discovery.EndpointSlice):
            self._put_slice(thing)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Forget an object; one that was never put is not a fault."""
        held = self._holds.pop((kind, namespace, name), None)
        if held is not None:
            self._namespaces[held] -= 1
            if not self._namespaces[held]:
                del self._namespaces[held]
        if kind == "Service":
            self._services.pop((namespace, name), None)
            self._refresh((namespace, name))
        elif kind == "EndpointSlice":
            self._drop_slice(namespace, name)

    def _hold(self, kind: str, namespace: str, name: str, held: str) -> None:
        if held and (kind, namespace, name) not in self._holds:
            self._holds[kind, namespace, name] = held
            self._namespaces[held] += 1

    def _put_slice(self, slice_: discovery.EndpointSlice) -> None:
        namespace, name = slice_.metadata.namespace, slice_.metadata.name
        owner = (namespace, slice_.metadata.labels.get(SERVICE_LABEL, ""))
        if self._slice_owner.get((namespace, name)) != owner:
            self._drop_slice(namespace, name)
        self._slice_owner[namespace, name] = owner
        self._slices.setdefault(owner, {})[name] = slice_
        self._refresh(owner)

    def _drop_slice(self, namespace: str, name: str) -> None:
        owner = self._slice_owner.pop((namespace, name), None)
        if owner is None:
            return
        slices = self._slices[owner]
        del slices[name]
        if not slices:
            del self._slices[owner]
        self._refresh(owner)

    def _refresh(self, owner: _Owner) -> None:
        service = self._services.get(owner)
        slices = self._slices.get(owner, {}).values()
        new = tuple(dict.fromkeys(_records(self.domain, service, slices))) if service else ()
        old = self._given.pop(owner, ())
        if new:
            self._given[owner] = new
        kept = set(old) & set(new)
        for record in old:
            if record not in kept:
                self._discard(record)
        for record in new:
            if record not in kept:
                self._add(record)

    def _add(self, record: Record) -> None:
        if record.name not in self._names:
            self._names[record.name] = {}
            self._ancestors.update(_parents(record.name))
        held = self._names[record.name].setdefault(record.kind, {})
        held[record] = held.get(record, 0) + 1

    def _discard(self, record: Record) -> None:
        kinds = self._names[record.name]
        held = kinds[record.kind]
        held[record] -= 1
        if held[record]:
            return
        del held[record]
        if not held:
            del kinds[record.kind]
        if not kinds:
            del self._names[record.name]
            for parent in _parents(record.name):
                self._ancestors[parent] -= 1
                if not self._ancestors[parent]:
                    del self._ancestors[parent]

    # What is asked of it

    def look_up(self, name: str, kind: str) -> Answer:
        """Answer for `name` (any case, with or without the final dot) and a type such as "A".

        A name with a CNAME gives it for every type; following it is the caller's. "ANY" gives all.
        """
        name = name.lower().rstrip(".")
        kinds = self._names.get(name)
        if kinds is None:
            kinds = self._pod(name)
        if kinds is not None:
            return self._of(name, kinds, kind)
        soa = self._authority(name)
        if soa is None:
            return _OUTSIDE
        exists = name in self._ancestors or self._is_namespace(name)
        return Answer(Status.NO_DATA if exists else Status.NO_NAME, soa=soa)

    def _of(self, name: str, kinds: dict[Kind, dict[Record, int]], kind: str) -> Answer:
        if kind == "ANY":
            found = tuple(itertools.chain.from_iterable(kinds.values()))
        elif Kind.CNAME in kinds:
            found = tuple(kinds[Kind.CNAME])
        else:
            found = tuple(kinds[Kind(kind)]) if kind in kinds else ()
        if found:
            return Answer(Status.FOUND, records=found)
        return Answer(Status.NO_DATA, soa=self._authority(name) or self._soa[self.domain])

    def _authority(self, name: str) -> Record | None:
        for parent in (name, *_parents(name)):
            if parent in self._soa:
                return self._soa[parent]
        return None

    def _is_namespace(self, name: str) -> bool:
        for under in ("svc", "pod"):
            namespace = name.removesuffix(f".{under}.{self.domain}")
            if namespace != name and namespace in self._namespaces:
                return True
        return False

    def _pod(self, name: str) -> dict[Kind, dict[Record, int]] | None:
        """`a-b-c-d.NS.pod.DOMAIN`, for any address in a namespace that exists (section 2.6)."""
        head, found, rest = name.partition(f".pod.{self.domain}")
        dashed, dot, namespace = head.partition(".")
        if not found or rest or not dot or namespace not in self._namespaces:
            return None
        try:
            address = ipaddress.IPv4Address(dashed.replace("-", "."))
        except ValueError:
            return None
        return {Kind.A: {Record(name, Kind.A, str(address)): 1}}


def _parents(name: str) -> Iterator[str]:
    _, dot, rest = name.partition(".")
    while dot:
        yield rest
        _, dot, rest = rest.partition(".")


def _reverse_apex(network: str) -> str:
    """The reverse name of the network's whole octets: 10.244.0.0/16 is 244.10.in-addr.arpa."""
    block = ipaddress.IPv4Network(network)
    octets = str(block.network_address).split(".")[: block.prefixlen // 8]
    return ".".join([*reversed(octets), "in-addr.arpa"])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _address(name: str, address: str) -> Record:
    kind = Kind.AAAA if ipaddress.ip_address(address).version == 6 else Kind.A
    return Record(name, kind, address)


def _reverse(address: str, target: str) -> Record:
    return Record(ipaddress.ip_address(address).reverse_pointer, Kind.PTR, f"{target}.")


def _records(
    domain: str, service: core.Service, slices: Iterable[discovery.EndpointSlice]
) -> Iterator[Record]:
    """All records of one Service: section 2.5, 2.4 or 2.3 of the specification."""
    name = f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}".lower()
    spec = service.spec
    if spec.type == "ExternalName":
        if spec.external_name:
            yield Record(name, Kind.CNAME, spec.external_name.lower().rstrip(".") + ".")
    elif spec.cluster_ip == "None":
        yield from _headless(name, slices, every=bool(spec.publish_not_ready_addresses))
    else:
        yield from _virtual(name, service)
        for endpoint in _endpoints(slices, every=bool(spec.publish_not_ready_addresses)):
            if endpoint.named:
                yield _address(f"{endpoint.host}.{name}", endpoint.address)


def _virtual(name: str, service: core.Service) -> Iterator[Record]:
    addresses = service.spec.cluster_ips or (service.spec.cluster_ip,)
    given = [address for address in addresses if address and _is_address(address)]
    for address in given:
        yield _address(name, address)
        yield _reverse(address, name)
    for port in service.spec.ports if given else ():
        data = f"0 100 {port.port} {name}."
        yield Record(name, Kind.SRV, data)
        if port.name:
            yield Record(f"_{port.name}._{port.protocol or 'TCP'}.{name}".lower(), Kind.SRV, data)


class _Endpoint(msgspec.Struct, frozen=True):
    host: str
    named: bool  # by the pod, not by its address
    address: str
    ports: tuple[discovery.EndpointPort, ...]


def _endpoints(slices: Iterable[discovery.EndpointSlice], *, every: bool) -> Iterator[_Endpoint]:
    for slice_ in slices:
        if slice_.address_type not in {"IPv4", "IPv6"}:
            continue
        for endpoint in slice_.endpoints:
            ready = endpoint.conditions.ready is not False
            for address in endpoint.addresses if ready or every else ():
                if not _is_address(address):  # a finding of form elsewhere
                    continue
                dashed = address.replace(".", "-").replace(":", "-")
                host = (endpoint.hostname or dashed).lower()
                yield _Endpoint(host, bool(endpoint.hostname), address, slice_.ports)


def _headless(name: str, slices: Iterable[discovery.EndpointSlice], *, every: bool) -> Iterator[Record]:
    for endpoint in _endpoints(slices, every=every):
        host = f"{endpoint.host}.{name}"
        yield _address(name, endpoint.address)
        yield _address(host, endpoint.address)
        yield _reverse(endpoint.address, host)
        for port in endpoint.ports:
            if port.port is None:
                continue
            data = f"0 100 {port.port} {host}."
            yield Record(name, Kind.SRV, data)
            yield Record(host, Kind.SRV, data)
            if port.name:
                yield Record(f"_{port.name}._{port.protocol or 'TCP'}.{name}".lower(), Kind.SRV, data)
