"""The control plane alone: etcd and an API server, and on request the controllers and the scheduler.

`start(folder)` is for tests that need an API server and no nodes: it listens on a free port of 127.0.0.1, and
several can run at once. The cluster starts its own through `launch` with the address that its nodes reach.
"""

import contextlib
import http.client
import pathlib
import ssl
import urllib.parse
from collections.abc import Iterator

import msgspec
from tools.cluster import access, certificates, gobuild, places, processes, steps

from retic.testing import ports

PODS, SERVICES, DNS, DOMAIN = "10.42.0.0/16", "10.43.0.0/16", "10.43.0.10", "cluster.local"
FIRST_SERVICE = "10.43.0.1"
"""Service `kubernetes`: the first address of the services' network."""

STARTED = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
"""What a control plane is made of, in the order of its end."""


class Place(msgspec.Struct, frozen=True):
    """Where a control plane keeps its things and where it listens."""

    folder: pathlib.Path
    address: str
    port: int
    tied: bool
    """Whether its processes die with the thread that starts them."""

    @property
    def keys(self) -> pathlib.Path:
        return self.folder / "keys"

    @property
    def pids(self) -> pathlib.Path:
        return self.folder / "pids"

    @property
    def logs(self) -> pathlib.Path:
        return self.folder / "logs"

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port}"


class Keys(msgspec.Struct, frozen=True):
    """What was signed for a control plane; `authority` signs what nodes need too."""

    authority: certificates.Authority
    front: certificates.Authority
    server: certificates.Pair
    etcd: certificates.Pair
    kubelets: certificates.Pair
    proxy: certificates.Pair
    tokens: certificates.Pair


def start(folder: pathlib.Path, *, controllers: bool = False, tied: bool = True) -> pathlib.Path:
    """A control plane in `folder` (made, 0700) on free ports of 127.0.0.1; its administrator's kubeconfig.

    Without `controllers` no service account is made for a namespace and pods need none; namespaces that are
    deleted stay "Terminating". Builds what is missing. Ends with `stop(folder)`, or, `tied`, with this thread.
    """
    run = steps.Steps()
    for module in gobuild.CONTROL_PLANE:
        gobuild.build(module, run)
    place = Place(folder, "127.0.0.1", port=ports.free(), tied=tied)
    return launch(place, controllers=controllers, scheduler=False, alone=True)[1]


def stop(folder: pathlib.Path) -> None:
    """End what `start` started there; the logs stay. Harmless where nothing runs."""
    for name in STARTED:
        processes.end(folder / "pids", name)


def launch(place: Place, *, controllers: bool, scheduler: bool, alone: bool) -> tuple[Keys, pathlib.Path]:
    """Start the processes and wait until the API server is ready; the keys, the administrator's kubeconfig.

    `alone`: there are no nodes, and no endpoint of the service `kubernetes` is announced.
    """
    place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.keys.mkdir(exist_ok=True, mode=0o700)
    keys = _keys(place)
    clients, peers = (f"https://127.0.0.1:{port}" for port in (ports.free(), ports.free()))
    _start(place, "etcd", _etcd(place, keys, clients, peers))
    _start(place, "kube-apiserver", _api_server(place, keys, clients, controllers=controllers, alone=alone))
    admin = keys.authority.issue("admin", "retic-admin", organisations=["system:masters"])
    kubeconfig = _access(place, keys, "kubeconfig", admin, "retic-admin")
    processes.until(lambda: ready(place, admin), f"kube-apiserver (its log: {place.logs})", seconds=180)
    for name, wanted in (("controller-manager", controllers), ("scheduler", scheduler)):
        if wanted:
            user = f"system:kube-{name}"
            config = _access(place, keys, f"{name}.kubeconfig", keys.authority.issue(name, user), user)
            _start(place, f"kube-{name}", _controllers(place, keys, config) if name[0] == "c" else _scheduler(config))
    return keys, kubeconfig


@contextlib.contextmanager
def without_api_server(place: Place) -> Iterator[None]:
    """The control plane with its API server away, to the block's end; then it is ready again."""
    command = processes.command(place.pids, "kube-apiserver")
    processes.end(place.pids, "kube-apiserver", patience=0)  # watches that are open would have it wait for a minute
    try:
        yield
    finally:
        processes.start(place.pids, "kube-apiserver", command, logs=place.logs, tied=place.tied)
        admin = certificates.Pair(place.keys / "admin.crt", place.keys / "admin.key")
        processes.until(lambda: ready(place, admin), f"kube-apiserver (its log: {place.logs})", seconds=180)


def ready(place: Place, pair: certificates.Pair) -> bool:
    """Whether the API server answers /readyz. Raises FailedError when it or etcd has ended."""
    for name in ("etcd", "kube-apiserver"):
        if not processes.alive(place.pids, name):
            raise steps.FailedError(f"{name} ended:\n{tail(place.logs / f'{name}.log')}")
    context = ssl.create_default_context(cafile=str(place.keys / "ca.crt"))
    context.load_cert_chain(pair.certificate, pair.key)
    address = urllib.parse.urlsplit(place.server)
    connection = http.client.HTTPSConnection(str(address.hostname), address.port, context=context, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def tail(log: pathlib.Path, lines: int = 15) -> str:
    """The end of a log, for a message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return str(error)


def _start(place: Place, name: str, flags: list[str]) -> None:
    command = [places.binary(name), *flags]
    processes.start(place.pids, name, command, logs=place.logs, tied=place.tied)


def _access(place: Place, keys: Keys, name: str, pair: certificates.Pair, user: str) -> pathlib.Path:
    return access.write(place.folder / name, place.server, keys.authority.pair.certificate, pair, user=user)


def _keys(place: Place) -> Keys:
    authority = certificates.Authority(place.keys, "ca")
    front = certificates.Authority(place.keys, "front-proxy-ca")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}"]
    hosts = [*names, "localhost", "127.0.0.1", place.address, FIRST_SERVICE]
    return Keys(
        authority=authority,
        front=front,
        server=authority.issue("apiserver", "kube-apiserver", hosts=hosts),
        etcd=authority.issue("etcd", "etcd", hosts=["localhost", "127.0.0.1"]),
        kubelets=authority.issue("kubelet-client", "kube-apiserver-kubelet-client", organisations=["system:masters"]),
        proxy=front.issue("front-proxy", "front-proxy-client"),
        tokens=certificates.signing_key(place.keys, "service-accounts"),
    )


def _etcd(place: Place, keys: Keys, clients: str, peers: str) -> list[str]:
    trust, pair = keys.authority.pair.certificate, keys.etcd
    return [
        f"--data-dir={place.folder / 'etcd'}", "--name=retic", "--logger=zap", "--log-level=warn",
        "--unsafe-no-fsync",  # the data ends with the cluster
        f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=retic={peers}",
        "--client-cert-auth", f"--trusted-ca-file={trust}", f"--cert-file={pair.certificate}", f"--key-file={pair.key}",
        "--peer-client-cert-auth", f"--peer-trusted-ca-file={trust}",
        f"--peer-cert-file={pair.certificate}", f"--peer-key-file={pair.key}",
    ]  # fmt: skip


def _api_server(place: Place, keys: Keys, etcd: str, *, controllers: bool, alone: bool) -> list[str]:
    trust = keys.authority.pair.certificate
    flags = [
        f"--bind-address={place.address}", f"--secure-port={place.port}", f"--advertise-address={place.address}",
        f"--tls-cert-file={keys.server.certificate}", f"--tls-private-key-file={keys.server.key}",
        f"--client-ca-file={trust}",
        f"--etcd-servers={etcd}", f"--etcd-cafile={trust}",
        f"--etcd-certfile={keys.etcd.certificate}", f"--etcd-keyfile={keys.etcd.key}",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICES}",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--service-account-key-file={keys.tokens.certificate}",
        f"--service-account-signing-key-file={keys.tokens.key}",
        f"--kubelet-client-certificate={keys.kubelets.certificate}", f"--kubelet-client-key={keys.kubelets.key}",
        f"--kubelet-certificate-authority={trust}", "--kubelet-preferred-address-types=InternalIP",
        # Services that the API server calls (webhooks, aggregated APIs) are called at their endpoints: the host has
        # a route to pods.
        "--enable-aggregator-routing=true",
        f"--proxy-client-cert-file={keys.proxy.certificate}", f"--proxy-client-key-file={keys.proxy.key}",
        f"--requestheader-client-ca-file={keys.front.pair.certificate}",
        "--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ]  # fmt: skip
    if alone:
        flags.append("--endpoint-reconciler-type=none")
    if not controllers:
        flags.append("--disable-admission-plugins=ServiceAccount")
    return flags


def _controllers(place: Place, keys: Keys, kubeconfig: pathlib.Path) -> list[str]:
    authority = keys.authority.pair
    return [
        *_client(kubeconfig), "--use-service-account-credentials=true", "--leader-elect=false",
        f"--root-ca-file={authority.certificate}", f"--service-account-private-key-file={keys.tokens.key}",
        f"--cluster-signing-cert-file={authority.certificate}", f"--cluster-signing-key-file={authority.key}",
        "--allocate-node-cidrs=true", f"--cluster-cidr={PODS}", f"--service-cluster-ip-range={SERVICES}",
    ]  # fmt: skip


def _scheduler(kubeconfig: pathlib.Path) -> list[str]:
    return [*_client(kubeconfig), "--leader-elect=false"]


def _client(kubeconfig: pathlib.Path) -> list[str]:
    names = ("--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig")
    return [*(f"{name}={kubeconfig}" for name in names), "--secure-port=0"]
