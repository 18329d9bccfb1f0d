"""Where a cluster keeps its root: the Secret with the keys, the ConfigMap with the bundle and the rotation's state.

Written only as a whole and only over the version that was read, so that of two writers one learns that it was
second.
"""

import datetime
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from retic.identity import chains, pairs, rotation
from retic.sources import api

SECRET, CONFIG_MAP, BUNDLE = "retic-ca", "retic-root", "root.pem"
OWN = "retic.dev/root"  # on the Secret: the fingerprint of the chain that we have put there ourselves
STATE = "retic.dev/rotation"  # on the ConfigMap
REQUEST = "retic.dev/rotate"  # on the ConfigMap, by the command: any word; another word, another order


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state as the ConfigMap's annotation has it; the bundle is in its data. `missing`: who has not confirmed."""

    phase: rotation.Phase
    signer: str
    serial: int
    next: str = ""
    until: int = 0
    longest: int = 0
    request: str = ""
    missing: tuple[str, ...] = ()
    own: bool = True


class Kept(msgspec.Struct, frozen=True):
    """Both objects as they were read; None for one that is not there."""

    secret: dict[str, Any] | None
    config_map: dict[str, Any] | None

    def __repr__(self) -> str:
        return "<Kept>"

    @property
    def data(self) -> dict[str, Any]:
        """The Secret's data, base64."""
        return (self.secret or {}).get("data") or {}

    @property
    def own(self) -> bool:
        """Whether the Secret's certificate is one that we made."""
        try:
            chain = pairs.content(self.data, pairs.CERTIFICATE)
        except chains.FaultyError:
            return False
        return annotations(self.secret).get(OWN) == rotation.fingerprint(chain)

    @property
    def told(self) -> Told | None:
        """The rotation's state; None when there is none, or none that can be read."""
        try:
            return msgspec.json.decode(annotations(self.config_map).get(STATE, ""), type=Told)
        except msgspec.MsgspecError:
            return None

    @property
    def state(self) -> rotation.State | None:
        """As `told`, with the bundle."""
        told, bundle = self.told, ((self.config_map or {}).get("data") or {}).get(BUNDLE, "")
        if told is None:
            return None
        try:
            bundle = rotation.union(bundle.encode())
        except ValueError:
            return None
        return rotation.State(
            told.phase, told.signer, bundle, told.serial, told.next, told.until, told.longest, told.request
        )

    @property
    def request(self) -> str:
        """The last order to rotate."""
        return annotations(self.config_map).get(REQUEST, "")


def annotations(value: Mapping[str, Any] | None) -> dict[str, str]:
    """The object's annotations."""
    return ((value or {}).get("metadata") or {}).get("annotations") or {}


class Store(Protocol):
    """Where the two are kept. All may raise api.Error, when they cannot be read or written now."""

    async def read(self) -> Kept:
        """Both as they are now."""
        ...

    async def write_secret(self, kept: Kept, data: dict[str, str], own: str) -> None:
        """Put that into the Secret, and say whose it is."""
        ...

    async def write_state(
        self, kept: Kept, state: rotation.State, missing: tuple[str, ...], *, own: bool
    ) -> None:
        """Publish the bundle and the state."""
        ...


def secret(kept: Kept, data: dict[str, str], own: str) -> dict[str, Any]:
    """The Secret with that content, `own` saying whose it is."""
    body = _changed(kept.secret, {OWN: own})
    return body | {"apiVersion": "v1", "kind": "Secret", "type": body.get("type", "kubernetes.io/tls"), "data": data}


def config_map(
    kept: Kept, state: rotation.State, missing: tuple[str, ...], *, own: bool
) -> dict[str, Any]:
    """The ConfigMap with that state and its bundle."""
    told = Told(
        state.phase, state.signer, state.serial, state.next, state.until, state.longest, state.request, missing, own
    )
    body = _changed(kept.config_map, {STATE: msgspec.json.encode(told).decode()})
    data = {**(body.get("data") or {}), BUNDLE: state.bundle.decode()}
    return body | {"apiVersion": "v1", "kind": "ConfigMap", "data": data}


def ordered(kept: Kept, word: str) -> dict[str, Any]:
    """The ConfigMap with another order to rotate. The ConfigMap is to be there."""
    return _changed(kept.config_map, {REQUEST: word})


class Files:
    """The two objects of one namespace: a `Store`."""

    def __init__(self, cluster: api.Api, namespace: str) -> None:
        self._cluster = cluster
        self._base = f"/api/v1/namespaces/{namespace}"

    def __repr__(self) -> str:
        return f"<Files {self._base}>"

    async def read(self) -> Kept:
        """Both, as the API server has them now. api.Error when it cannot be asked."""
        return Kept(await self._get(f"secrets/{SECRET}"), await self._get(f"configmaps/{CONFIG_MAP}"))

    async def write_secret(self, kept: Kept, data: dict[str, str], own: str) -> None:
        """Put that into the Secret, and say whose it is. api.ApiError 409 when somebody else was first."""
        await self._put("secrets", SECRET, kept.secret, secret(kept, data, own))

    async def write_state(
        self, kept: Kept, state: rotation.State, missing: tuple[str, ...], *, own: bool
    ) -> None:
        """Publish the bundle and the state. api.ApiError 409 when somebody else was first."""
        body = config_map(kept, state, missing, own=own)
        await self._put("configmaps", CONFIG_MAP, kept.config_map, body)

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._cluster.get(f"{self._base}/{path}")
        except api.ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _put(self, plural: str, name: str, before: dict[str, Any] | None, body: dict[str, Any]) -> None:
        body["metadata"]["name"] = name
        if before is None:
            await self._cluster.create(f"{self._base}/{plural}", body)
        else:
            await self._cluster.replace(f"{self._base}/{plural}/{name}", body)


def _changed(before: dict[str, Any] | None, added: dict[str, str]) -> dict[str, Any]:
    """The object with these annotations too. A new one says that it is ours."""
    fresh: dict[str, Any] = {"metadata": {"labels": {"app.kubernetes.io/part-of": "retic"}}}
    body = {**(before or fresh)}
    body["metadata"] = {**body["metadata"], "annotations": {**annotations(before), **added}}
    body["metadata"].pop("managedFields", None)
    return body


def unix(moment: datetime.datetime) -> int:
    """Seconds since 1970."""
    return int(moment.timestamp())
