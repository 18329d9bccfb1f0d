"""Names by one nameserver, for a process whose machine's own cannot be asked from where it is."""

import dns.asyncresolver
import dns.exception

from retic.sources.keys import fetch

_SECONDS = 10.0


def at(address: str, port: int = 53) -> fetch.Resolve:
    """Ask the nameserver at this address for IPv4 addresses: those by which the outside is reached."""
    asked = dns.asyncresolver.Resolver(configure=False)
    asked.nameservers = [address]
    asked.port = port

    async def resolve(name: str, _: int) -> tuple[str, ...]:
        try:
            found = await asked.resolve(name.rstrip(".") + ".", "A", search=False, lifetime=_SECONDS)
        except dns.exception.DNSException:
            raise fetch.FetchError(f"{name} has no address that could be found") from None
        return tuple(dict.fromkeys(str(each) for each in found))

    return resolve
