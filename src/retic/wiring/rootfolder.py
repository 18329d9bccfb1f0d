"""Where local mode keeps its authority: the same two objects as on a cluster, as files that only their user may read.

`ca/secret.json` holds the keys, `ca/rotation.json` the state of a rotation, `ca/root.pem` the bundle for whoever
wants to look. A user's own files are copied into the first as long as they are good: whatever becomes of them, the
mesh goes on with what it had.
"""

import json
import pathlib
import secrets
from collections.abc import Callable
from typing import Any

import structlog

from retic.identity import authority, chains, clock, ownfiles, pairs, rotation
from retic.kube import rootfiles
from retic.sources import api

SECRET, STATE, BUNDLE = "secret.json", "rotation.json", "root.pem"
_log = structlog.get_logger("retic.control")


class Folder:
    """A `rootfiles.Store`. `given` are the user's own files; `fault` is what is wrong with them now, "" for nothing:
    `changed` is called when that is another thing."""

    def __init__(
        self,
        folder: pathlib.Path,
        trust_domain: str,
        given: ownfiles.Files | None,
        time: clock.Clock,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._trust_domain = trust_domain
        self._given = given
        self._time = time
        self._changed = changed
        self.fault = ""

    def __repr__(self) -> str:
        return f"<Folder {self._folder}>"

    async def read(self) -> rootfiles.Kept:
        """Both as they are now; the user's files first, if they are good and others than before."""
        kept = rootfiles.Kept(self._load(SECRET), self._load(STATE))
        if self._given is None:
            return kept
        try:
            found = self._given.read(self._time.now(), self._trust_domain)
        except chains.FaultyError as error:
            self._say(str(error))
            return kept
        self._say("")
        if kept.data != pairs.write(found):
            await self.write_secret(kept, pairs.write(found), "")
            return rootfiles.Kept(self._load(SECRET), kept.config_map)
        return kept

    async def write_secret(self, kept: rootfiles.Kept, data: dict[str, str], own: str) -> None:
        """Put that into the Secret, and say whose it is. api.Error when it is not the one that was read."""
        self._unchanged(SECRET, kept.secret)
        self._save(SECRET, rootfiles.secret(kept, data, own))

    async def write_state(
        self, kept: rootfiles.Kept, state: rotation.State, missing: tuple[str, ...], *, own: bool
    ) -> None:
        """Publish the bundle and the state. api.Error when they are not those that were read."""
        self._unchanged(STATE, kept.config_map)
        self._save(STATE, rootfiles.config_map(kept, state, missing, own=own))
        self._write(BUNDLE, state.bundle)

    def order(self) -> None:
        """Ask for a rotation; one that is asked for already stays the same. api.Error when it cannot be written."""
        kept = rootfiles.Kept(None, self._load(STATE))
        self._save(STATE, rootfiles.ordered(kept, secrets.token_hex(8)))

    def _say(self, fault: str) -> None:
        if fault and fault != self.fault:
            _log.error("the authority's files cannot be used", reason=fault)
        before, self.fault = self.fault, fault
        if fault != before:
            self._changed()

    def _unchanged(self, name: str, read: dict[str, Any] | None) -> None:
        if self._load(name) != read:
            raise api.ApiError(409, "Conflict", f"{self._folder / name} has changed meanwhile")

    def _load(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads((self._folder / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise api.UnreachableError(f"{self._folder / name} cannot be read: {type(error).__name__}") from None
        return found if isinstance(found, dict) else None

    def _save(self, name: str, body: dict[str, Any]) -> None:
        self._write(name, json.dumps(body).encode())

    def _write(self, name: str, data: bytes) -> None:
        try:
            authority.write_private(self._folder / name, data)
        except OSError as error:
            raise api.UnreachableError(f"{self._folder / name} cannot be written: {error.strerror}") from error
