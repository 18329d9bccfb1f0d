"""What is installed: one ConfigMap with the values set, the version, and every object that was applied.

It is written before the first object and after the last, so that whatever was interrupted can be gone on with.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from retic.install import faults, names
from retic.sources.api import Api, ApiError

PATH = f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/{names.RECORD}"
_KEY = "record.json"


class State(enum.StrEnum):
    """How far it went."""

    APPLYING = "applying"
    INSTALLED = "installed"
    REMOVING = "removing"


class Item(msgspec.Struct, frozen=True, order=True):
    """One object."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


class Record(msgspec.Struct, frozen=True):
    """`values` is what the user has set, not the defaults: those come with each version."""

    version: str
    state: State
    values: dict[str, Any]
    items: tuple[Item, ...]


def item(value: Mapping[str, Any]) -> Item:
    """The item of an object."""
    meta = value["metadata"]
    return Item(value["apiVersion"], value["kind"], meta["name"], meta.get("namespace", ""))


def items(values: Iterable[Mapping[str, Any]]) -> tuple[Item, ...]:
    """Those of objects, in their order."""
    return tuple(item(value) for value in values)


async def read(api: Api) -> Record | None:
    """The record, None when there is none. InstallError for one that a newer Retic wrote in another way."""
    try:
        found = await api.get(PATH)
    except ApiError as error:
        if error.status == 404:
            return None
        raise faults.refused(f"ConfigMap {names.NAMESPACE}/{names.RECORD}", error) from error
    try:
        return msgspec.json.decode((found.get("data") or {}).get(_KEY, ""), type=Record)
    except msgspec.MsgspecError as error:
        raise faults.InstallError(
            f"ConfigMap {names.NAMESPACE}/{names.RECORD}: its record cannot be read ({error}); was it written by a "
            "newer retic? Use that one, or delete the ConfigMap and run retic install again"
        ) from error


async def write(api: Api, record: Record) -> None:
    """Write it. ApiError."""
    await api.apply(
        PATH,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": names.RECORD,
                "namespace": names.NAMESPACE,
                "labels": names.labels("install"),
            },
            "data": {_KEY: msgspec.json.format(msgspec.json.encode(record), indent=1).decode()},
        },
    )


async def by_helm(api: Api) -> bool:
    """Whether Helm has installed Retic here: it says so in a label of everything it makes."""
    path = f"/apis/apps/v1/namespaces/{names.NAMESPACE}/deployments/{names.CONTROLLER}"
    try:
        found = await api.get(path)
    except ApiError as error:
        if error.status == 404:
            return False
        raise faults.refused(f"Deployment {names.NAMESPACE}/{names.CONTROLLER}", error) from error
    return (found["metadata"].get("labels") or {}).get(names.MANAGED_BY) == "Helm"
