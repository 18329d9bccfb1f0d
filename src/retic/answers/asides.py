"""What an API server tells beside the objects: events on pods that are not as they should be, and who wrote a field.

Each is a small question of its own, asked only where the answer is shown. What may not be read is left out.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from retic.answers.cluster import ref_of
from retic.control import model
from retic.explain import belonging
from retic.explain import why as explain
from retic.objects import KINDS
from retic.sources.api import Api, ApiError, kinds

_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_MOST_SPACES, _MOST_SOURCES, _LONGEST = 10, 30, 300


async def reasons(api: Api, pods: Iterable[model.MeshPod]) -> tuple[str, ...]:
    """The last warning about each pod that waits for the mesh or is not ready: `shop/web-1: REASON: message`."""
    wanted = [
        pod for pod in pods
        if pod.mesh == belonging.State.WAITING or (not pod.ready and pod.mesh != belonging.State.OVER)
    ]  # fmt: skip
    spaces = sorted({pod.namespace for pod in wanted})[:_MOST_SPACES]
    said: dict[str, dict[str, Any]] = {}
    for events in await asyncio.gather(*(_warnings(api, space) for space in spaces)):
        for each in events:
            about = each.get("involvedObject") or {}
            key = f"{about.get('namespace')}/{about.get('name')}"
            if key not in said or _when(each) >= _when(said[key]):
                said[key] = each
    names = [f"{pod.namespace}/{pod.name}" for pod in wanted]
    return tuple(f"{name}: {_text(said[name])}" for name in names if name in said)


async def _warnings(api: Api, namespace: str) -> list[dict[str, Any]]:
    try:
        path = f"/api/v1/namespaces/{namespace}/events"
        found = await api.get(path, fieldSelector="involvedObject.kind=Pod,type=Warning", limit=500)
    except ApiError:
        return []
    return list(found.get("items") or ())


def _when(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _text(event: dict[str, Any]) -> str:
    text = " ".join(f"{event.get('reason')}: {event.get('message')}".split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


class _Entry(msgspec.Struct, frozen=True):
    manager: str = ""
    time: str = ""
    subresource: str = ""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    managed_fields: tuple[_Entry, ...] = ()


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


async def written(api: Api, sources: Sequence[explain.Source]) -> tuple[explain.Source, ...]:
    """The same, those that people write with who last did so."""
    reads = {read.kind: read for read in kinds.mesh()}
    asked = [one for one in sources if one.present and not one.made_of and ref_of(one.object).kind in reads]
    answers = await asyncio.gather(*(_last(api, reads, one) for one in asked[:_MOST_SOURCES]))
    found = {one.object: entry for one, entry in zip(asked, answers, strict=False) if entry is not None}
    return tuple(
        msgspec.structs.replace(one, manager=found[one.object].manager, time=found[one.object].time)
        if one.object in found else one
        for one in sources
    )  # fmt: skip


async def _last(api: Api, reads: dict[str, kinds.Read], source: explain.Source) -> _Entry | None:
    """By the newest entry of metadata.managedFields that is not about a status."""
    ref = ref_of(source.object)
    for path in reads[ref.kind].paths:
        prefix, _, plural = path.rpartition("/")
        inside = f"/namespaces/{ref.namespace}" if KINDS[ref.kind].namespaced else ""
        try:
            body = await api.content(f"{prefix}{inside}/{plural}/{ref.name}", accept=_METADATA)
            entries = msgspec.json.decode(body, type=_Object).metadata.managed_fields
        except (ApiError, msgspec.MsgspecError):
            continue
        return max((one for one in entries if not one.subresource), key=lambda one: one.time, default=None)
    return None
