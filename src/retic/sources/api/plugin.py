"""Exec plugins: commands that print credentials (client.authentication.k8s.io/v1 and v1beta1).

An answer is kept until it expires or the server refuses it, then the command is run again; at once by one
caller only. What a command prints is never logged.
"""

import asyncio
import datetime
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from retic.sources.api import hidden, kubeconfig, tls
from retic.sources.api.errors import UnreachableError

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
LONGEST = 60.0
"""Seconds that a command may take; one that may ask the user has no bound."""
AHEAD = datetime.timedelta(seconds=10)
"""How long before its end an answer counts as expired."""


class Answer(hidden.Hidden, frozen=True):
    """What a plugin gave."""

    shown = ("expires",)
    token: str = ""
    pair: tls.Pair | None = None
    expires: datetime.datetime | None = None


class _Status(hidden.Hidden, frozen=True, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime.datetime | None = None


class _Credential(msgspec.Struct, frozen=True, rename="camel"):
    kind: str
    api_version: str
    status: _Status | None = None


def _utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Plugin:
    """One command of one user."""

    def __init__(
        self, access: kubeconfig.Access, command: kubeconfig.Exec, now: Callable[[], datetime.datetime] = _utc
    ) -> None:
        self._access, self._exec, self._now = access, command, now
        self._lock = asyncio.Lock()
        self._answer: Answer | None = None

    async def answer(self) -> Answer:
        """A good answer, the one of before or a new one. UnreachableError when the command gives none."""
        async with self._lock:
            last = self._answer
            if last is None or (last.expires is not None and last.expires - AHEAD <= self._now()):
                self._answer = await self._run()
            assert self._answer is not None
            return self._answer

    def forget(self, answer: Answer) -> None:
        """The server refused it; unless there is a newer one, the next call runs the command."""
        if self._answer is answer:
            self._answer = None

    async def _run(self) -> Answer:
        if self._exec.api_version not in VERSIONS:
            raise self._error(f"has apiVersion {self._exec.api_version!r}; write {VERSIONS[0]}")
        interactive = self._interactive()
        process = await self._start(interactive)
        try:
            async with asyncio.timeout(None if interactive else LONGEST):
                out, complaint = await process.communicate()
        except TimeoutError:
            raise self._error(f"took longer than {LONGEST:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = (complaint or b"").decode(errors="replace").strip().splitlines()
            because = f": {said[-1][:300]}" if said else ""
            raise self._error(f"ended with code {process.returncode}{because}; run it by hand to see why")
        return self._parse(out)

    async def _start(self, interactive: bool) -> asyncio.subprocess.Process:
        command = self._exec.command
        if os.sep in command:
            command = str(Path(self._access.folder) / command)  # relative to the kubeconfig (clientcmd)
        elif shutil.which(command) is None:
            hint = self._exec.install_hint.strip()
            raise self._error(f"is not installed: {hint}" if hint else "is not installed; install it")
        try:
            return await asyncio.create_subprocess_exec(
                command, *self._exec.args,
                stdin=None if interactive else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if interactive else asyncio.subprocess.PIPE,
                env={**os.environ, **{each.name: each.value for each in self._exec.env}, **self._info(interactive)},
            )  # fmt: skip
        except OSError as error:
            raise self._error(f"cannot be started: {error.strerror}") from None

    def _interactive(self) -> bool:
        terminal = sys.stdin is not None and sys.stdin.isatty()
        if self._exec.interactive_mode == "Always" and not terminal:
            raise self._error("wants to ask you something, but there is no terminal")
        return terminal and self._exec.interactive_mode != "Never"

    def _info(self, interactive: bool) -> dict[str, str]:
        spec: dict[str, object] = {"interactive": interactive}
        cluster = self._access.cluster
        if self._exec.provide_cluster_info:
            known = {
                "server": cluster.server,
                "tls-server-name": cluster.tls_server_name,
                "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
                "certificate-authority-data": tls.authority_data(self._access),
                "proxy-url": cluster.proxy_url,
            }
            spec["cluster"] = {key: value for key, value in known.items() if value}
        value = {"apiVersion": self._exec.api_version, "kind": "ExecCredential", "spec": spec}
        return {"KUBERNETES_EXEC_INFO": msgspec.json.encode(value).decode()}

    def _parse(self, out: bytes) -> Answer:
        try:
            read = msgspec.json.decode(out, type=_Credential)
        except msgspec.MsgspecError:
            raise self._error("printed no ExecCredential") from None
        if read.kind != "ExecCredential" or read.api_version != self._exec.api_version:
            raise self._error(f"printed no ExecCredential of {self._exec.api_version}")
        status = read.status or _Status()
        if bool(status.client_certificate_data) != bool(status.client_key_data):
            raise self._error("printed a certificate without its key, or a key without certificate")
        if not status.token and not status.client_certificate_data:
            raise self._error("printed neither a token nor a certificate")
        pair = None
        if status.client_certificate_data and status.client_key_data:
            pair = tls.Pair(status.client_certificate_data.encode(), status.client_key_data.encode())
        expires = status.expiration_timestamp
        if expires is not None and expires.tzinfo is None:
            expires = expires.replace(tzinfo=datetime.UTC)
        return Answer(status.token or "", pair, expires)

    def _error(self, what: str) -> UnreachableError:
        return UnreachableError(f"{self._access.origin}: the exec plugin {self._exec.command} {what}")
