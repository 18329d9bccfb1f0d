"""A request's head as a proxy holds it, and what proxies do to it on the way.

Header names are lower case; of several values with one name Envoy makes one, joined by commas, wherever it compares.
"""

from collections.abc import Iterable

import msgspec

from retic.envoy import names
from retic.mesh import network, route

# What only proxies may say: removed by name's beginning (envoy.managers, where the reasons are).
_OURS = ("x-envoy-", "x-retic-")
_LOOKALIKES = ("x_forwarded", "x-forwarded_", "x-forwarded-client_cert")
# What concerns one connection only (RFC 9110, section 7.6.1).
_HOP = ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
_CERTIFICATE, _FOR, _ID = "x-forwarded-client-cert", "x-forwarded-for", "x-request-id"
_HERE = "here"

MARK = "x-retic-destination"
"""A proxy's own header of a request that it has not sent on: where it goes to, which a pod's own proxy only says."""

SCHEME = "x-forwarded-proto"
"""By which scheme a request came, as proxies say it to each other."""

MADE_UP = "(made by the proxy)"
"""Stands for a value that nobody can know beforehand."""


class Message(msgspec.Struct, frozen=True):
    """`target` is the path with its query; `source` the uid of the pod that sends it, "" for nobody's."""

    method: str
    target: str
    authority: str
    headers: dict[str, str]
    source: str = ""

    @property
    def path(self) -> str:
        """Without the query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The value, with those that HTTP has outside of the headers; None when it is not there."""
        special = {
            ":method": self.method, ":path": self.target, ":authority": self.authority, "host": self.authority,
            ":scheme": self.headers.get(SCHEME, "").lower(),
        }  # fmt: skip
        return special.get(name, self.headers.get(name))

    @property
    def is_grpc(self) -> bool:
        """Whether proxies take it for gRPC, by its content-type."""
        kind = self.headers.get("content-type", "")
        return kind == "application/grpc" or kind.startswith("application/grpc+")

    def query(self, name: str) -> str | None:
        """The first parameter of that name, as it is written; None when there is none."""
        for pair in self.target.partition("?")[2].split("&"):
            key, _, value = pair.partition("=")
            if key == name:
                return value
        return None


def written(method: str, target: str, authority: str, headers: Iterable[tuple[str, str]]) -> Message:
    """As the client writes it. A header `Host` takes the authority's place."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.strip().lower(), value.strip()
        if key == "host":
            authority = text
        else:
            found[key] = f"{found[key]},{text}" if key in found else text
    return Message(method, target, authority, found)


def leaving(message: Message) -> Message:
    """In the proxy of the pod that sends it, where routes are matched."""
    return _managed(_without(message, _OURS), scheme="http")


def addressed(message: Message, namespace: str, address: str, port: int) -> Message:
    """With what that proxy adds for as long as it looks for a route: a match can see it, and nobody else does."""
    to = f"{address}:{port}"
    own = {
        MARK: to, "x-retic-vip": names.virtual(namespace, to),
        "x-retic-ip": names.address(namespace, address),
    }  # fmt: skip
    return msgspec.structs.replace(message, headers={**message.headers, **own})


def entering(message: Message, client: str, scheme: str) -> Message:
    """In a gateway. `client` is the address that the connection comes from, `scheme` the listener's."""
    clean = _without(message, _OURS + _LOOKALIKES)
    headers = {key: value for key, value in clean.headers.items() if key != SCHEME}
    said = headers.get(_FOR)
    headers[MARK] = _HERE
    headers[_FOR] = f"{said},{client}" if said else client
    authority = clean.authority
    host, colon, port = authority.partition(":")
    if host.endswith(".") and host != ".":
        authority = host[:-1] + colon + port
    return _managed(msgspec.structs.replace(clean, headers=headers, authority=authority), scheme=scheme)


def arriving(message: Message, caller: str, receiver: str) -> Message:
    """In the proxy of the pod that gets it, where policies are asked and see the mark. `caller` and `receiver` are
    SPIFFE IDs, `caller` "" without the mesh's TLS."""
    clean = _managed(_without(message, _OURS + _LOOKALIKES), scheme="https" if caller else "http")
    clean.headers[MARK] = _HERE
    if caller:
        clean.headers[_CERTIFICATE] = f"By={receiver};Hash={MADE_UP};URI={caller}"
    return clean


def _without(message: Message, beginnings: tuple[str, ...]) -> Message:
    kept = {k: v for k, v in message.headers.items() if not k.startswith(beginnings)}
    return msgspec.structs.replace(message, headers=kept)


def _managed(message: Message, *, scheme: str) -> Message:
    """What every proxy does: nothing that concerns one connection, nor a certificate that somebody claims."""
    dropped = {*_HOP, _CERTIFICATE}
    kept = {key: value for key, value in message.headers.items() if key not in dropped}
    if "te" in kept:
        words = [each.strip() for each in kept.pop("te").split(",")]
        kept |= {"te": "trailers"} if "trailers" in words else {}
    if kept.get(SCHEME, "").lower() not in ("http", "https"):
        kept[SCHEME] = scheme
    kept.setdefault(_ID, MADE_UP)
    return msgspec.structs.replace(message, headers=kept)


def edited(message: Message, edit: route.Edit) -> Message:
    """With the changes of a rule or a backend: Envoy removes first, then sets, then adds."""
    headers = {key: value for key, value in message.headers.items() if key not in edit.remove}
    headers.update(edit.set)
    for key, value in edit.add:
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    return msgspec.structs.replace(message, headers=headers)


def forwarded_for(message: Message) -> str | None:
    """The last address in X-Forwarded-For, None when it says none."""
    last = message.headers.get(_FOR, "").rpartition(",")[2].strip()
    return last if network.inside(last, ("0.0.0.0/0", "::/0")) else None
