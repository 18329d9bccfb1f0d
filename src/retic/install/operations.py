"""`retic install` and `retic upgrade`: which values hold, whether the step may be taken, then apply and wait."""

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from retic.install import applying, difference, faults, given, manifest, names, record, settling, values, versions
from retic.install.checks import cluster as clusters
from retic.install.checks import pods
from retic.sources.api import Api

Say = applying.Say
_MOST_SAID = 10  # pods that are named


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to apply. `wait` is in seconds, None for not waiting; `force` takes fields that others have set."""

    wait: float | None = 300.0
    force: bool = False


async def install(api: Api, overrides: Mapping[str, Any], options: Options, say: Say) -> None:
    """Install; again with the same values: see that all is as it was applied. InstallError, ValuesError."""
    rendered = manifest.render(given.load(overrides))
    await _not_helms(api)
    before = await record.read(api)
    if before is not None:
        _may_install(before, overrides)
    await _apply(api, rendered, overrides, options, say)
    say(f"Retic {values.VERSION} is installed" + ("" if options.wait is None else " and ready"))


def _may_install(before: record.Record, overrides: Mapping[str, Any]) -> None:
    if before.state is record.State.REMOVING:
        raise faults.InstallError("an uninstallation was interrupted: finish it with retic uninstall, then install")
    if before.version != values.VERSION:
        raise faults.InstallError(
            f"Retic {before.version} is installed, and this is {values.VERSION}: use retic upgrade"
        )
    if before.state is record.State.INSTALLED and before.values != dict(overrides):
        shown = ", ".join(f"{name}={value}" for name, value in flat(before.values)) or "the defaults"
        raise faults.InstallError(
            f"Retic {before.version} is installed with other values ({shown}): change some with "
            "retic upgrade --set NAME=VALUE, which keeps the rest"
        )


def flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested values as `--set` names them."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        found += flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]
    return found


class Plan(msgspec.Struct, frozen=True):
    """What an upgrade would apply."""

    before: record.Record
    overrides: dict[str, Any]
    rendered: list[dict[str, Any]]


async def plan(api: Api, overrides: Mapping[str, Any], *, reset: bool) -> Plan:
    """The earlier values with these over them; only these when `reset`. InstallError when it must not be done."""
    await _not_helms(api)
    before = await record.read(api)
    if before is None:
        raise faults.InstallError("Retic is not installed on this cluster: use retic install")
    if before.state is record.State.REMOVING:
        raise faults.InstallError("an uninstallation was interrupted: finish it with retic uninstall, then install")
    versions.may(before.version, values.VERSION)
    wanted = dict(overrides) if reset else given.merged(before.values, overrides)
    if not reset and "image" not in overrides and before.values.get("image") == _image(before.version):
        wanted.pop("image", None)  # the default of an earlier version, written out
    return Plan(before, wanted, manifest.render(given.load(wanted)))


def _image(version: str) -> str:
    return values.IMAGE.rpartition(":")[0] + f":{version}"


async def changes(api: Api, planned: Plan, options: Options, say: Say) -> str:
    """The diff of the plan, "" when nothing would change."""
    wanted = await applying.served(api, planned.rendered, say)
    return await difference.of(api, wanted, planned.before.items, force=options.force)


async def warn(api: Api, planned: Plan, say: Say) -> None:
    """Where the plan sets STRICT: what has come until now that STRICT will refuse."""
    before = given.load(planned.before.values).mode
    if before is values.Mode.STRICT or given.load(planned.overrides).mode is not values.Mode.STRICT:
        return
    found = await pods.refused(clusters.Cluster(api, datetime.datetime.now(datetime.UTC)))
    for line in found[:_MOST_SAID]:
        say(f"STRICT will refuse what came in plaintext to {line}")
    if len(found) > _MOST_SAID:
        say(f"and to {len(found) - _MOST_SAID} pods more: retic check")
    if not found:
        say("STRICT will refuse nothing that the nodes' agents have seen so far")


async def upgrade(api: Api, planned: Plan, options: Options, say: Say) -> None:
    """Apply the plan, wait, and remove what is old. InstallError."""
    await _apply(api, planned.rendered, planned.overrides, options, say)
    step = planned.before.version
    said = f"upgraded from {step} to {values.VERSION}" if step != values.VERSION else f"as these values say ({step})"
    say(f"Retic is {said}" + ("" if options.wait is None else ", and ready"))


async def _apply(
    api: Api, rendered: list[dict[str, Any]], overrides: Mapping[str, Any], options: Options, say: Say
) -> None:
    wanted = await applying.served(api, rendered, say)
    await applying.run(api, wanted, overrides, force=options.force, wait=options.wait, say=say)
    if options.wait is not None:
        say("waiting for the nodes' agents")
        await applying.ready(api, "daemonsets", names.NODE, timeout=options.wait)
        await settling.done(api, timeout=options.wait)


async def _not_helms(api: Api) -> None:
    if await record.by_helm(api):
        raise faults.InstallError(
            f"Retic in {names.NAMESPACE} was installed with Helm: change it with helm upgrade, remove it with "
            "retic uninstall and then helm uninstall"
        )
