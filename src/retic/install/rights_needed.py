"""Which rights the installing user needs, and which of them are missing: SelfSubjectAccessReview, one each."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from retic.install import faults
from retic.sources.api import Api, ApiError

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_VERBS = ("get", "create", "patch", "delete")


class Right(msgspec.Struct, frozen=True, order=True):
    """A verb on a resource; `namespace` "" is the whole cluster."""

    verb: str
    group: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        group = f".{self.group}" if self.group else ""
        return f"{self.verb} {self.resource}{group}" + (f" in {self.namespace}" if self.namespace else "")


async def needed(api: Api, wanted: Iterable[dict[str, Any]]) -> list[Right]:
    """The rights that applying and removing these objects takes."""
    found: dict[Right, None] = {}
    for value in wanted:
        resource = await api.resource(value["apiVersion"], value["kind"])
        if resource is None:
            continue
        group = value["apiVersion"].rpartition("/")[0]
        for verb in _VERBS:
            found[Right(verb, group, resource.plural, value["metadata"].get("namespace", ""))] = None
    return list(found)


async def missing(api: Api, rights: Iterable[Right]) -> list[Right]:
    """Those that the API server would refuse. ApiError when it cannot be asked."""
    wanted = list(rights)
    limit = asyncio.Semaphore(8)

    async def allowed(right: Right) -> bool:
        async with limit:
            return await _ask(api, right)

    answers = await asyncio.gather(*(allowed(right) for right in wanted))
    return [right for right, yes in zip(wanted, answers, strict=True) if not yes]


async def _ask(api: Api, right: Right) -> bool:
    attributes = {"verb": right.verb, "group": right.group, "resource": right.resource}
    if right.namespace:
        attributes["namespace"] = right.namespace
    answer = await api.review(
        _REVIEWS,
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
    )
    return bool((answer.get("status") or {}).get("allowed"))


async def ensure(api: Api, wanted: Iterable[dict[str, Any]]) -> None:
    """InstallError naming every right that is missing."""
    try:
        lacking = await missing(api, await needed(api, wanted))
    except ApiError as error:
        raise faults.refused("your rights cannot be asked for", error) from error
    if lacking:
        raise faults.InstallError(
            f"you may not: {', '.join(str(one) for one in lacking)}; installing needs a cluster administrator's "
            "rights: ask for them, or use another --context"
        )
