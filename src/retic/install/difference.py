"""What an upgrade would change: each object as it is and as it would be, as a unified diff."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from retic.install import applying, manifest, record
from retic.sources.api import Api, ApiError

Object = dict[str, Any]


async def of(api: Api, wanted: Sequence[Object], kept: Iterable[record.Item], *, force: bool) -> str:
    """The diff of everything, "" when nothing would change. The API server fills in its defaults on both sides."""
    out: list[str] = []
    would = await applying.attempt(api, wanted, force=force)
    for value, after in zip(wanted, would, strict=True):
        out += _lines(manifest.about(value), await _live(api, record.item(value)), after)
    for old in applying.old_items(kept, record.items(wanted)):
        live = await _live(api, old)
        if live is not None:
            out += _lines(str(old), live, None)
    return "\n".join(out)


async def _live(api: Api, item: record.Item) -> Object | None:
    where = await applying.path(api, item)
    if where is None:
        return None
    try:
        return await api.get(where)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _lines(about: str, before: Object | None, after: Object | None) -> list[str]:
    old, new = _text(before), _text(after)
    return list(
        difflib.unified_diff(
            old, new, f"{about} (now)" if before else "(not there)", f"{about} (then)" if after else "(removed)",
            lineterm="",
        )
    )  # fmt: skip


def _text(value: Object | None) -> list[str]:
    if value is None:
        return []
    meta = {k: v for k, v in value["metadata"].items() if k not in _CHANGING}
    shown = {k: v for k, v in value.items() if k != "status"} | {"metadata": meta}
    return yaml.safe_dump(shown, width=200).splitlines()


_CHANGING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")
