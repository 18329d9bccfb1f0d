"""Objects to the API server, by server-side apply: tried first, then applied, then what is old removed.

What is tried and refused has changed nothing. What is interrupted is gone on with by running it again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from retic.install import faults, manifest, names, record, rights_needed, values, waiting
from retic.sources.api import Api, ApiError

Object = dict[str, Any]
Say = Callable[[str], None]
MANAGER = "retic"

_LEAVING = 120.0
"""Seconds to wait for an object that is being deleted; a definition goes after all of its objects."""

# Objects whose fields cannot be changed, and which nothing breaks without for a moment.
_REPLACED = ("PriorityClass",)


async def served(api: Api, wanted: Iterable[Object], say: Say) -> list[Object]:
    """Those of the objects whose kinds the cluster has; what is left out is said. InstallError for our own parts."""
    found = []
    for value in wanted:
        if await api.resource(value["apiVersion"], value["kind"]) is not None:
            found.append(value)
        elif value["kind"] == "GatewayClass":
            say(
                "left out GatewayClass retic: the cluster has no Gateway API; install its CRDs "
                "(https://gateway-api.sigs.k8s.io/guides/), then run retic upgrade"
            )
        else:
            raise faults.InstallError(
                f"{manifest.about(value)}: the cluster does not serve {value['apiVersion']}; Retic needs "
                "Kubernetes 1.30 or newer"
            )
    return found


async def path(api: Api, wanted: record.Item) -> str | None:
    """Where an object is; None when the cluster no longer has its kind."""
    resource = await api.resource(wanted.api_version, wanted.kind)
    return resource.path(wanted.namespace, wanted.name) if resource else None


async def run(
    api: Api, wanted: list[Object], overrides: Mapping[str, Any], *, force: bool, wait: float | None, say: Say
) -> None:
    """Apply them all and remove what an earlier version or other values had made. InstallError, ApiError.

    Unless `wait` (seconds) is None, the nodes' agents come once the controller is ready: it makes the root that their
    pods mount, and a new one knows what an old agent speaks, not the other way round.
    """
    await rights_needed.ensure(api, wanted)
    await attempt(api, wanted, force=force)
    before = await record.read(api)
    kept = before.items if before else ()
    items = record.items(wanted)
    both = tuple(dict.fromkeys((*kept, *items)))
    namespaces = [value for value in wanted if value["kind"] == "Namespace"]
    for value in namespaces:
        await _apply(api, value, force=force)
    await _write(api, record.Record(values.VERSION, record.State.APPLYING, dict(overrides), both))
    for value in wanted:
        if value in namespaces:
            continue
        if value["kind"] == "DaemonSet" and wait is not None:
            say("waiting for the controller")
            await ready(api, "deployments", names.CONTROLLER, timeout=wait)
        await _apply(api, value, force=force)
    for old in old_items(kept, items):
        where = await path(api, old)
        if where:
            await api.delete(where)
            say(f"removed {old}, which this version does not have")
    await _write(api, record.Record(values.VERSION, record.State.INSTALLED, dict(overrides), items))


def old_items(kept: Iterable[record.Item], items: Iterable[record.Item]) -> list[record.Item]:
    """What is to be removed, last applied first. A namespace never is: more may be in it than ours."""
    now = set(items)
    return [one for one in reversed(list(kept)) if one not in now and one.kind != "Namespace"]


async def attempt(api: Api, wanted: Iterable[Object], *, force: bool) -> list[Object]:
    """What applying would give, for those that can be tried: what a namespace that is not there yet holds cannot.

    Raises InstallError for the first that is refused. Nothing is changed.
    """
    answers = []
    for value in wanted:
        try:
            answers.append(await _apply(api, value, force=force, dry_run=True))
        except _NoNamespaceError:
            answers.append(value)
    return answers


class _NoNamespaceError(Exception):
    """The object's namespace is not there."""


async def _apply(api: Api, value: Object, *, force: bool, dry_run: bool = False) -> Object:
    where = await path(api, record.item(value))
    assert where is not None
    try:
        made: Object = await api.apply(where, value, manager=MANAGER, force=force, dry_run=dry_run)
        if dry_run or not made["metadata"].get("deletionTimestamp"):
            return made
        await _leave(api, where, value)
        return await api.apply(where, value, manager=MANAGER, force=force)
    except ApiError as error:
        if error.status == 422 and value["kind"] in _REPLACED:
            return await _replace(api, where, value, dry_run=dry_run)
        if dry_run and error.status == 403 and "being terminated" in error.message:
            raise _NoNamespaceError from error  # the namespace itself is waited for
        if error.status == 404 and "namespaces" in error.message:
            if dry_run:
                raise _NoNamespaceError from error
            raise faults.InstallError(
                f"namespace {names.NAMESPACE} is not there: make it, or leave createNamespace true"
            ) from error
        raise faults.refused(manifest.about(value), error) from error


async def _leave(api: Api, where: str, value: Object) -> None:
    """What somebody has deleted takes what is applied and goes all the same: until it is gone. InstallError."""
    if not await waiting.gone(api, where, timeout=_LEAVING):
        still = f"is being deleted, and is still there after {_LEAVING:.0f} s: try again once it is gone"
        raise faults.InstallError(f"{manifest.about(value)} {still}")


async def _replace(api: Api, where: str, value: Object, *, dry_run: bool) -> Object:
    if dry_run:
        return value
    await api.delete(where)
    return await api.apply(where, value, manager=MANAGER)


async def _write(api: Api, made: record.Record) -> None:
    try:
        await record.write(api, made)
    except ApiError as error:
        if error.status == 404:
            raise faults.InstallError(
                f"namespace {names.NAMESPACE} is not there: make it, or leave createNamespace true"
            ) from error
        raise faults.refused(f"ConfigMap {names.NAMESPACE}/{names.RECORD}", error) from error


async def ready(api: Api, plural: str, name: str, *, timeout: float) -> None:
    """Until a Deployment or DaemonSet of ours runs as applied. InstallError says what does not, and why."""
    collection = f"/apis/apps/v1/namespaces/{names.NAMESPACE}/{plural}"
    try:
        await waiting.until(
            api, collection, waiting.rolled_out, timeout=timeout, fieldSelector=f"metadata.name={name}"
        )
    except faults.InstallError as error:
        reasons = await waiting.pods_say(api)
        more = f": {reasons}" if reasons else f"; see kubectl describe pods -n {names.NAMESPACE}"
        raise faults.InstallError(f"{error}{more}") from error
