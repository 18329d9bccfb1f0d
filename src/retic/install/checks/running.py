"""The checks in their order, each with its outcome. The first one failing means that nothing else can be asked."""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from retic.install import faults
from retic.install.checks import afterwards, beforehand, catalogue, pods
from retic.install.checks.cluster import Cluster
from retic.sources.api import Error

Probe = Callable[[Cluster], Awaitable[list[str] | None]]
_SHOWN = 10  # faults of one check that are written out

PROBES: dict[str, Probe] = {
    name.replace("_", "-"): getattr(room, name)
    for room, wanted in (
        (beforehand, (
            "api_reachable", "api_version", "clock_skew", "rights", "gateway_api_present", "gateway_api_version",
            "nodes_supported", "pod_networks", "service_networks", "cilium_socket_lb",
        )),
        (afterwards, (
            "installed", "same_version", "objects", "controller_ready", "leader", "ca_valid", "ca_ends",
            "root_published", "webhook_ca", "agents_ready", "agents_reported", "agent_versions", "envoy_versions",
            "cni_chain", "kernel_features", "plaintext",
        )),
        (pods, ("captured", "left_out", "strict", "may_bypass")),
    )
    for name in wanted
}  # fmt: skip


class Result(msgspec.Struct, frozen=True):
    """One check's outcome. `message` is what was found, or the check's claim where that holds.

    `hint` and `url` are empty where there is nothing to say.
    """

    section: str
    check: str
    ok: bool
    severity: catalogue.Severity
    message: str
    hint: str = ""
    url: str = ""


async def run(cluster: Cluster, *, pre: bool) -> AsyncIterator[Result]:
    """Every check that applies; of those beforehand only, when `pre`. Raises nothing that an API server causes."""
    absent = False
    for check in catalogue.CHECKS.values():
        if pre and not check.pre:
            continue
        if check.id == "rights" and not pre:
            continue  # whoever may only look can look
        if absent and not check.pre:
            continue
        result = await outcome(cluster, check)
        if result is None:
            continue
        yield result
        if check.id == "api-reachable" and not result.ok:
            return
        if check.id == "installed" and not result.ok:
            absent = await _absent(cluster)


async def _absent(cluster: Cluster) -> bool:
    try:
        return await cluster.installed() is None
    except (Error, faults.InstallError):
        return True


async def outcome(cluster: Cluster, check: catalogue.Check) -> Result | None:
    """Of one check; None when it does not apply."""
    try:
        found = await PROBES[check.id](cluster)
    except (Error, faults.InstallError) as error:
        return Result(check.section, check.id, False, _grave(check), str(error), check.hint, check.url)
    if found is None:
        return None
    informs = check.severity is catalogue.Severity.INFO
    if not found:
        return Result(check.section, check.id, True, check.severity, f"no {check.claim}" if informs else check.claim)
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    message = "; ".join(found[:_SHOWN]) + more
    return Result(check.section, check.id, informs, check.severity, message, check.hint, check.url)


def _grave(check: catalogue.Check) -> catalogue.Severity:
    """What could not be asked is a warning at least."""
    return catalogue.Severity.ERROR if check.severity is catalogue.Severity.ERROR else catalogue.Severity.WARNING
