"""Orders a rotation of the root and tells how far it is: the command's end, which never sees a key."""

import datetime
import secrets

import msgspec

from retic.identity import rotation
from retic.kube import rootfiles
from retic.sources import api


class CannotRotateError(RuntimeError):
    """The root cannot be rotated by order. The message says what to do instead."""


class Status(msgspec.Struct, frozen=True):
    """How far a rotation is. `signer` and `next` are fingerprints; `ends` is when the old root goes, RFC 3339.

    `missing` are the agents that have not confirmed the bundle; `ordered` says that a rotation has yet to begin.
    """

    phase: str
    signer: str
    next: str = ""
    ends: str = ""
    missing: tuple[str, ...] = ()
    ordered: bool = False

    def __str__(self) -> str:
        if self.ordered:
            return "ordered: a controller makes the new root"
        if self.phase == rotation.Phase.SPREADING:
            who = f"{len(self.missing)} agents to come: {', '.join(self.missing)}" if self.missing else "nobody to come"
            return f"spreading {self.next[:12]}: {who}"
        if self.phase == rotation.Phase.RETIRING:
            return f"signing with {self.signer[:12]}: the old root goes at {self.ends}"
        return f"steady: signing with {self.signer[:12]}"


def _path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{rootfiles.CONFIG_MAP}"


async def rotate(cluster: api.Api, namespace: str = "retic-system") -> Status:
    """Order a rotation, or show the one that is under way: doing it twice is doing it once.

    CannotRotateError when there is no root, or when it is not Retic's own.
    """
    kept = await _kept(cluster, namespace)
    present = told(kept)
    if kept.told is not None and not kept.told.own:
        raise CannotRotateError(
            f"the root in Secret {namespace}/{rootfiles.SECRET} is your own: change it there (cert-manager: renew its"
            " Certificate); Retic makes the new one known, signs with it and lets the old one go by itself"
        )
    if present.ordered or present.phase != rotation.Phase.STEADY:
        return present
    annotation = {rootfiles.REQUEST: secrets.token_hex(8)}
    made = await cluster.patch(_path(namespace), {"metadata": {"annotations": annotation}})
    return told(rootfiles.Kept(None, made))


async def status(cluster: api.Api, namespace: str = "retic-system") -> Status:
    """How far it is. CannotRotateError when there is no root."""
    return told(await _kept(cluster, namespace))


async def _kept(cluster: api.Api, namespace: str) -> rootfiles.Kept:
    try:
        return rootfiles.Kept(None, await cluster.get(_path(namespace)))
    except api.ApiError as error:
        if error.status == 404:
            raise CannotRotateError(
                f"there is no ConfigMap {namespace}/{rootfiles.CONFIG_MAP}: is Retic installed, and is a controller up?"
            ) from None
        raise


def told(kept: rootfiles.Kept) -> Status:
    """What the state says. CannotRotateError when there is none yet."""
    told = kept.told
    if told is None:
        raise CannotRotateError(f"{rootfiles.CONFIG_MAP} says nothing of the root yet: is a control plane up?")
    ends = datetime.datetime.fromtimestamp(told.until, datetime.UTC) if told.until else None
    return Status(
        phase=told.phase.value, signer=told.signer, next=told.next,
        ends=f"{ends:%Y-%m-%dT%H:%M:%SZ}" if ends else "", missing=told.missing,
        ordered=bool(kept.request) and kept.request != told.request and told.phase is rotation.Phase.STEADY,
    )  # fmt: skip
