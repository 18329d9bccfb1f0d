"""What a request carries to say who calls: a fixed token, a token from a file, an exec plugin's, or nothing.

`Source.now` gives the present credentials; `Source.refused` says that the server did not take them.
"""

import base64
from pathlib import Path
from typing import Protocol

from retic.sources.api import hidden, kubeconfig, plugin, tls
from retic.sources.api.errors import UnreachableError

Headers = list[tuple[str, str]]


class Credentials(hidden.Hidden, frozen=True):
    """`headers` for each request, and a client certificate when a plugin gave one."""

    headers: tuple[tuple[str, str], ...] = ()
    pair: tls.Pair | None = None


class Source(Protocol):
    """Where credentials come from."""

    async def now(self) -> Credentials:
        """What to send now. UnreachableError when there is nothing to send."""

    def refused(self, sent: Credentials) -> None:
        """The server answered 401 to `sent`."""


def source(access: kubeconfig.Access) -> Source:
    """The source for a user: a token wins over an exec plugin, a token's file over a token (clientcmd)."""
    user = access.user
    extra = _impersonation(user)
    if user.token_file:
        return _TokenFile(access.origin, user.token_file, extra)
    if user.token:
        return _Fixed(Credentials((_bearer(user.token), *extra)))
    if user.username:
        pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return _Fixed(Credentials((("Authorization", f"Basic {pair}"), *extra)))
    if user.exec is not None and not (user.client_certificate or user.client_certificate_data):
        return _Plugin(plugin.Plugin(access, user.exec), extra)
    return _Fixed(Credentials(tuple(extra)))


def _bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def _impersonation(user: kubeconfig.User) -> Headers:
    """`as` and what goes with it (Impersonate-* headers)."""
    headers = [("Impersonate-User", user.as_)] if user.as_ else []
    headers += [("Impersonate-Uid", user.as_uid)] if user.as_uid else []
    headers += [("Impersonate-Group", group) for group in user.as_groups]
    for key, values in user.as_user_extra.items():
        headers += [(f"Impersonate-Extra-{key}", value) for value in values]
    return headers


class _Fixed:
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def now(self) -> Credentials:
        return self._credentials

    def refused(self, sent: Credentials) -> None:
        """There is nothing else to send."""


class _TokenFile:
    """Read for each request: the kubelet replaces a projected token by another one before it ends."""

    def __init__(self, origin: str, path: str, extra: Headers) -> None:
        self._origin, self._path, self._extra = origin, path, extra

    async def now(self) -> Credentials:
        try:
            token = Path(self._path).read_text("ascii").strip()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no token"
            raise UnreachableError(f"{self._origin}: the token in {self._path} cannot be read: {why}") from None
        return Credentials((_bearer(token), *self._extra))

    def refused(self, sent: Credentials) -> None:
        """The next `now` reads the file again."""


class _Plugin:
    def __init__(self, run: plugin.Plugin, extra: Headers) -> None:
        self._run, self._extra = run, extra
        self._made: tuple[plugin.Answer, Credentials] | None = None

    async def now(self) -> Credentials:
        answer = await self._run.answer()
        if self._made is None or self._made[0] is not answer:
            headers = [_bearer(answer.token)] if answer.token else []
            self._made = answer, Credentials((*headers, *self._extra), answer.pair)
        return self._made[1]

    def refused(self, sent: Credentials) -> None:
        if self._made is not None and self._made[1] is sent:
            self._run.forget(self._made[0])
