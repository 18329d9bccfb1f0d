"""Name constraints of certificate authorities (RFC 5280, section 4.2.1.10), as far as names of a mesh are concerned."""

from cryptography import x509

Kind = type[x509.UniformResourceIdentifier] | type[x509.DNSName]


def permit(one: x509.Certificate, name: str, kind: Kind = x509.DNSName) -> bool:
    """Whether what it signs may have this DNS name, or a URI with this host."""
    return not objection(one, name, kind)


def objection(one: x509.Certificate, name: str, kind: Kind = x509.DNSName) -> str:
    """What its constraints do to that name, and what to do about it; "" when they permit it."""
    try:
        limits = one.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ""
    what = f"spiffe://{name}" if kind is x509.UniformResourceIdentifier else f"the DNS name {name}"
    permitted = [each.value for each in limits.permitted_subtrees or () if isinstance(each, kind)]
    excluded = [each.value for each in limits.excluded_subtrees or () if isinstance(each, kind)]
    if permitted and not any(_within(name, each, kind) for each in permitted):
        return f"permit {', '.join(permitted)} and so forbid {what}: permit it too"
    if any(_within(name, each, kind) for each in excluded):
        return f"forbid {what}: leave that out"
    return ""


def _within(name: str, limit: str, kind: Kind) -> bool:
    """A URI's host; a name beginning with a dot means those below it."""
    name, limit = name.lower(), limit.lower()
    if kind is x509.DNSName:
        below = limit if limit.startswith(".") else f".{limit}"
        return not limit or name == limit or name.endswith(below)
    return name.endswith(limit) if limit.startswith(".") else name == limit
