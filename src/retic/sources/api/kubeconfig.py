"""Kubeconfig files as kubectl reads them: several merged into one, one context chosen, paths made absolute.

Source: k8s.io/client-go/tools/clientcmd. What would silently act as somebody else is refused, not ignored.
Nothing here opens a connection, and no repr shows a credential.
"""

import contextlib
import ipaddress
import os
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from retic.sources.api import hidden
from retic.sources.api.errors import UnreachableError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    """Where the server is and how it proves itself. Paths are absolute once loaded."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class Variable(hidden.Hidden, frozen=True):
    """An environment variable of an exec plugin; its value may be a secret."""

    shown = ("name",)
    name: str
    value: str = ""


class Exec(hidden.Hidden, frozen=True, rename="camel"):
    """A command that prints credentials (client.authentication.k8s.io)."""

    shown = ("command",)
    command: str = ""
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()
    api_version: str = ""
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = "IfAvailable"


class User(hidden.Hidden, frozen=True, rename="kebab"):
    """Who calls. Paths are absolute once loaded."""

    shown = ("client_certificate", "token_file", "as_", "exec")
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    as_: str = msgspec.field(default="", name="as")
    as_uid: str = ""
    as_groups: tuple[str, ...] = ()
    as_user_extra: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    auth_provider: dict[str, Any] | None = None
    exec: Exec | None = None


class Access(msgspec.Struct, frozen=True):
    """One server and one user. `origin` says where this was read, for messages."""

    origin: str
    cluster: Cluster
    user: User
    namespace: str = "default"
    folder: str = ""


class _Context(msgspec.Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: Cluster = Cluster()


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: User = User()


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context = _Context()


class _File(msgspec.Struct, frozen=True, rename="kebab"):
    current_context: str = ""
    clusters: tuple[_NamedCluster, ...] = ()
    users: tuple[_NamedUser, ...] = ()
    contexts: tuple[_NamedContext, ...] = ()


class _Merged:
    """Several files as one: of what two of them have, the first file's counts (clientcmd's rule)."""

    def __init__(self) -> None:
        self.current = ""
        self.files: list[str] = []
        self.clusters: dict[str, Cluster] = {}
        self.users: dict[str, tuple[User, Path]] = {}
        self.contexts: dict[str, _Context] = {}

    def add(self, path: Path) -> None:
        file, folder = _read(path), path.absolute().parent
        self.files.append(str(path))
        self.current = self.current or file.current_context
        for cluster in file.clusters:
            self.clusters.setdefault(cluster.name, _absolute(cluster.cluster, folder, ("certificate_authority",)))
        for user in file.users:
            paths = ("client_certificate", "client_key", "token_file")
            self.users.setdefault(user.name, (_absolute(user.user, folder, paths), folder))
        for context in file.contexts:
            self.contexts.setdefault(context.name, context.context)

    def access(self, wanted: str | None) -> Access:
        where = ", ".join(self.files)
        name = wanted or self.current
        there = f"there are: {', '.join(sorted(self.contexts)) or 'none'}"
        if not name:
            raise UnreachableError(f"{where}: no current-context; choose one with --context ({there})")
        if name not in self.contexts:
            raise UnreachableError(f"{where}: no context {name!r}; {there}")
        context = self.contexts[name]
        if context.cluster not in self.clusters:
            raise UnreachableError(f"{where}: context {name!r} names the cluster {context.cluster!r}, which it has not")
        if context.user and context.user not in self.users:
            raise UnreachableError(f"{where}: context {name!r} names the user {context.user!r}, whom it has not")
        user, folder = self.users.get(context.user, (User(), Path()))
        origin = f"context {name} of {where}"
        return Access(origin, self.clusters[context.cluster], user, context.namespace or "default", str(folder))


def load(
    path: Path | None = None,
    context: str | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    account: Path = _ACCOUNT,
) -> Access:
    """The access that `path`, KUBECONFIG, ~/.kube/config or the pod's service account give, in this order.

    UnreachableError, saying what to write, when there is none or it is not complete.
    """
    found = _merged(path, environment)
    if found is not None:
        return _complete(found.access(context))
    if "KUBERNETES_SERVICE_HOST" in environment and (account / "token").exists():
        if context:
            raise UnreachableError(f"no context {context!r}: there is no kubeconfig, only the pod's service account")
        return _in_cluster(environment, account)
    raise UnreachableError(
        "no cluster is named: set KUBECONFIG, write ~/.kube/config, or give --kubeconfig; "
        "`kubectl config view` shows what kubectl uses"
    )


def is_named(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody has named a cluster, by KUBECONFIG or by a file in its usual place, usable or not."""
    return bool(environment.get("KUBECONFIG")) or _usual(environment).exists()


def _usual(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME", "~")).expanduser() / ".kube" / "config"


def _merged(path: Path | None, environment: Mapping[str, str]) -> _Merged | None:
    merged = _Merged()
    if path is not None:
        merged.add(path.expanduser())
        return merged
    listed = [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    files = listed or [_usual(environment)]
    for each in files:
        if each.exists():  # as kubectl: of several, those that are not there are passed over
            merged.add(each)
    if listed and not merged.files:
        raise UnreachableError(f"KUBECONFIG names {', '.join(map(str, listed))}, which cannot be found")
    return merged if merged.files else None


def _read(path: Path) -> _File:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreachableError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        value = yaml.load(data, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UnreachableError(f"{path}: not YAML: {line}{error.problem}") from None  # its text quotes the file
    except (yaml.YAMLError, ValueError):
        raise UnreachableError(f"{path}: not YAML: a character that YAML does not allow") from None
    try:
        return msgspec.convert(_without_nulls(value) or {}, _File)
    except msgspec.ValidationError as error:
        raise UnreachableError(f"{path}: no kubeconfig: {error}") from None


def _without_nulls(value: Any) -> Any:
    """`args: null`, as many tools write, means that it is absent."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _absolute(value: Any, folder: Path, names: tuple[str, ...]) -> Any:
    """Relative paths are relative to the file that they stand in."""
    given = {name: getattr(value, name) for name in names}
    return msgspec.structs.replace(value, **{name: str(folder / path) for name, path in given.items() if path})


def _in_cluster(environment: Mapping[str, str], account: Path) -> Access:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    cluster = Cluster(server=server, certificate_authority=str(account / "ca.crt"))
    try:
        namespace = (account / "namespace").read_text().strip()
    except OSError:
        namespace = ""
    user = User(token_file=str(account / "token"))
    return _complete(Access("the pod's service account", cluster, user, namespace or "default"))


def _complete(access: Access) -> Access:
    """The access, when it can be used and is safe."""
    cluster, user = access.cluster, access.user
    if not cluster.server:
        raise UnreachableError(f"{access.origin}: the cluster has no server; write server: https://HOST:PORT")
    if not cluster.server.startswith(("https://", "http://")):
        raise UnreachableError(f"{access.origin}: server must begin with https://")
    if cluster.insecure_skip_tls_verify and (cluster.certificate_authority or cluster.certificate_authority_data):
        raise UnreachableError(
            f"{access.origin}: insecure-skip-tls-verify does not go with a certificate authority; remove one of the two"
        )
    if user.auth_provider is not None and not (user.exec or user.token or user.token_file):
        raise UnreachableError(
            f"{access.origin}: auth-provider is not supported (nor by kubectl since 1.26); use an exec plugin"
        )
    if bool(user.client_certificate or user.client_certificate_data) != bool(user.client_key or user.client_key_data):
        raise UnreachableError(f"{access.origin}: client-certificate and client-key go together; one is missing")
    if cluster.server.startswith("http://") and _speaks(user) and not is_local(cluster.server):
        raise UnreachableError(f"{access.origin}: a token would be sent in the clear; write server: https://...")
    return access


def _speaks(user: User) -> bool:
    """Whether each request carries something secret."""
    return bool(user.token or user.token_file or user.password or user.exec)


def is_local(server: str) -> bool:
    """Whether the URL is of this machine, by a loopback address or the name localhost."""
    host = urllib.parse.urlsplit(server).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
