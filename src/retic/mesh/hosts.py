"""Host names of listeners and routes: which covers which, and the pair of PEMs in a TLS Secret.

In the Gateway API `*.example.com` covers one label or several, never `example.com` itself; "" covers all.
"""

from retic.objects import core


def covers(pattern: str, host: str) -> bool:
    """Whether every request for `host` (itself possibly a pattern) is one for `pattern`."""
    if not pattern or pattern == host:
        return True
    return pattern.startswith("*.") and bool(host) and host.removeprefix("*").endswith(pattern[1:]) and (
        host != pattern[2:]
    )


def specificity(host: str) -> tuple[bool, bool, int]:
    """A sort key: precise names first, then longer patterns, then every host."""
    return (not host, host.startswith("*."), -len(host))


def common(listener: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The hosts that both a listener and a route take; a route without hostnames takes the listener's."""
    if not wanted:
        return (listener,)
    answer = []
    for host in (h.lower() for h in wanted):
        if covers(listener, host):
            answer.append(host)
        elif covers(host, listener):
            answer.append(listener)
    return tuple(dict.fromkeys(answer))


def owner(host: str, listeners: list[str]) -> str | None:
    """The most specific of the listeners' host names that covers `host`."""
    return next((x for x in sorted(listeners, key=specificity) if covers(x, host)), None)


def certificate(secret: core.Secret) -> tuple[bytes, bytes] | None:
    """Certificate chain and key of a Secret of type kubernetes.io/tls as PEM, or None without them."""
    pair = []
    for field in ("tls.crt", "tls.key"):
        text = secret.string_data[field].encode() if field in secret.string_data else secret.data.get(field, b"")
        if b"-----BEGIN" not in text:
            return None
        pair.append(text)
    return pair[0], pair[1]
