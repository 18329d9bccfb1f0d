"""What the kubelet asks of a pod: the probes and lifecycle hooks in its spec that make a connection to it.

Probes with a `host` of their own go elsewhere and are left out, as are ports that no container has: the kubelet
cannot make such a probe either.
"""

import msgspec

from retic import graph
from retic.mesh import tables
from retic.objects import pods


class Get(msgspec.Struct, frozen=True, order=True):
    """A GET of exactly this request target (path and query); `tls` where the scheme is HTTPS."""

    port: int
    target: str
    tls: bool


class Probes(msgspec.Struct, frozen=True):
    """All of a pod, each once: GETs, ports where gRPC's health service is asked, ports only connected to."""

    gets: tuple[Get, ...] = ()
    grpc: tuple[int, ...] = ()
    tcp: tuple[int, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that is probed, in order."""
        return tuple(sorted({g.port for g in self.gets} | {*self.grpc, *self.tcp}))


# What Go leaves as it stands in a path (net/url): these, and the second as well unless something has to be escaped.
_ALWAYS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/%:@$&+,;=-._~")
_ALONE = frozenset(b"!'()*[]")


@graph.query
def of(db: graph.Db, key: tables.Key) -> Probes:
    """The probes of a pod; none when there is no such pod."""
    pod = db.get(tables.PODS, key)
    if pod is None:
        return Probes()
    gets: set[Get] = set()
    grpc: set[int] = set()
    tcp: set[int] = set()
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for action in _actions(container):
            if action.http_get is not None and not action.http_get.host:
                gets.update(_get(container, action.http_get))
            elif action.tcp_socket is not None and not action.tcp_socket.host:
                tcp.update(_port(container, action.tcp_socket.port))
            elif isinstance(action, pods.Probe) and action.grpc is not None:
                grpc.add(action.grpc.port)
    return Probes(tuple(sorted(gets)), tuple(sorted(grpc)), tuple(sorted(tcp)))


def _actions(container: pods.Container) -> list[pods.Probe | pods.LifecycleAction]:
    hooks = container.lifecycle or pods.Lifecycle()
    # Kubernetes does not carry out a hook's tcpSocket (core/v1, LifecycleHandler).
    asked = [h for h in (hooks.post_start, hooks.pre_stop) if h is not None and h.http_get is not None]
    probes = (container.startup_probe, container.liveness_probe, container.readiness_probe)
    return [*(p for p in probes if p is not None), *asked]


def _get(container: pods.Container, action: pods.HTTPGetAction) -> list[Get]:
    tls = (action.scheme or "HTTP") == "HTTPS"
    return [Get(port, target(action.path or "/"), tls) for port in _port(container, action.port)]


def _port(container: pods.Container, wanted: int | str) -> list[int]:
    """The port as the kubelet finds it: a name is one of the container's own ports, or a number in words."""
    if isinstance(wanted, int):
        return [wanted]
    named = [p.container_port for p in container.ports if p.name == wanted]
    return named[:1] or ([int(wanted)] if wanted.isdecimal() else [])


def target(path: str) -> str:
    """What the kubelet writes in its request line for a probe's `path` (net/url's RequestURI): no fragment, a slash
    at the beginning, no host, escaped where it has to be, the query as it stands."""
    whole, _, query = path.partition("#")[0].partition("?")
    if whole.startswith("//"):
        whole = "/" + whole[2:].partition("/")[2]
    text = whole.encode()
    plain = _ALWAYS | _ALONE if set(text) <= _ALWAYS | _ALONE else _ALWAYS
    escaped = "".join(chr(b) if b in plain else f"%{b:02X}" for b in text)
    escaped = escaped if escaped.startswith("/") else f"/{escaped}"
    return f"{escaped}?{query}" if query else escaped
