"""`retic uninstall`: every pod out of the mesh, the plugin off the nodes, then everything that was made.

In this order no request is lost and no new pod waits for an agent that is gone. Each step finds out by itself
whether it is to be done, so an interrupted uninstallation is finished by running it again.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from retic.install import applying, faults, given, manifest, names, nodes, record, template, unmarking, values, waiting
from retic.install.parts import node
from retic.sources.api import Api, ApiError

Say = applying.Say
_APPS = f"/apis/apps/v1/namespaces/{names.NAMESPACE}"
_CORE = f"/api/v1/namespaces/{names.NAMESPACE}"
_NAMESPACE = f"/api/v1/namespaces/{names.NAMESPACE}"

# Kinds of which the controller makes objects in other namespaces, for Gateways.
GENERATED = (
    ("apps/v1", "Deployment"), ("v1", "Service"), ("v1", "ServiceAccount"), ("v1", "ConfigMap"),
    ("policy/v1", "PodDisruptionBudget"),
)  # fmt: skip


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`timeout` is in seconds, for each wait. `force`: go on though pods could not be taken out, or nodes cleaned.

    `drain`: seconds to wait for connections that were open through the proxy when the pods left; 0 for not at all.
    """

    timeout: float = 300.0
    drain: float = 90.0
    force: bool = False


async def run(api: Api, options: Options, say: Say) -> bool:
    """Remove it; False when nothing was installed. InstallError when a step cannot be done."""
    helm = await record.by_helm(api)
    before = await record.read(api)
    left = [] if before else await _leftovers(api)
    if before is None and not left and not helm:
        return False
    made = before.items if before else tuple(left)
    if before is not None and before.state is not record.State.REMOVING:
        await record.write(api, msgspec.structs.replace(before, state=record.State.REMOVING))
    given_values = given.load(before.values) if before else values.Values()
    await _step(_take_out(api, options, say), options, say)
    await _step(_remove(api, f"{_APPS}/daemonsets", names.NODE, "node", options), options, say)
    say("the nodes' agents are gone")
    await _step(_clean_nodes(api, await _image(api, given_values), options, say), options, say)
    if helm:
        say("Helm has installed the rest: remove it with helm uninstall")
        return True
    await _everything(api, made, options, say)
    return True


async def _step(step: Any, options: Options, say: Say) -> None:
    """A step that `force` goes on without."""
    try:
        await step
    except faults.InstallError as error:
        if not options.force:
            raise faults.InstallError(f"{error}; --force goes on nevertheless") from error
        say(f"going on although {error}")


async def _leftovers(api: Api) -> list[record.Item]:
    """Objects of an installation by their labels, when there is no record: what Retic would make, if it is there."""
    found = []
    for value in manifest.render(values.Values()):
        item = record.item(value)
        where = await applying.path(api, item)
        live = await _get(api, where) if where else None
        if live is not None and (live["metadata"].get("labels") or {}).get(names.PART_OF) == "retic":
            found.append(item)
    return found


async def _get(api: Api, path: str) -> dict[str, Any] | None:
    try:
        return await api.get(path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def _image(api: Api, given_values: values.Values) -> values.Values:
    """The values with the image that runs: a Helm release's are not in our record."""
    live = await _get(api, f"{_APPS}/deployments/{names.CONTROLLER}")
    if live is None:
        return given_values
    container = live["spec"]["template"]["spec"]["containers"][0]
    return msgspec.structs.replace(given_values, image=container["image"])


async def _take_out(api: Api, options: Options, say: Say) -> None:
    """Tell the controller that nothing is enrolled, and wait until every agent has let go."""
    config = await _get(api, f"{_CORE}/configmaps/{names.CONFIG}")
    if config is None or not await _in_mesh(api):
        return
    await api.apply(
        f"{_CORE}/configmaps/{names.CONFIG}",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": names.CONFIG,
                "namespace": names.NAMESPACE,
                "labels": config["metadata"].get("labels") or {},
            },
            "data": {**(config.get("data") or {}), names.DRAIN_KEY: "true"},
        },
        manager=applying.MANAGER,
    )
    controller = await _get(api, f"{_APPS}/deployments/{names.CONTROLLER}")
    if controller is None or not (controller.get("status") or {}).get("readyReplicas"):
        raise faults.InstallError("pods are in the mesh, and no controller is ready that could take them out")
    say("taking all pods out of the mesh")
    await waiting.until(api, nodes.COLLECTION, nodes.still, timeout=options.timeout)
    await waiting.until(api, "/api/v1/pods", _captured, timeout=options.timeout)
    await _let_end(api, options.drain, say)


async def _let_end(api: Api, drain: float, say: Say) -> None:
    """Leave what is open through the proxy some time; what is still open then ends with the proxy."""
    reports = (await nodes.read(api)).values()
    if drain <= 0 or not any(report.leaving for report in reports):
        return
    say(f"waiting up to {drain:.0f} s for connections that are open through the proxy")
    try:
        await waiting.until(api, nodes.COLLECTION, nodes.closing, timeout=drain)
    except faults.InstallError as error:
        say(f"{error}: they end with it")


def _captured(pods: Iterable[dict[str, Any]]) -> str:
    left = [f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in pods if nodes.captured(pod)]
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return f"pods are still in the mesh: {', '.join(sorted(left)[:3])}{more}" if left else ""


async def _in_mesh(api: Api) -> bool:
    reports = await nodes.read(api)
    if any(report.captured for report in reports.values()):
        return True
    return any(nodes.captured(pod) for pod in (await api.get("/api/v1/pods")).get("items") or ())


async def _remove(api: Api, collection: str, name: str, component: str, options: Options) -> None:
    """Delete a Deployment or DaemonSet, and wait until its pods are gone with it.

    They are waited for also where an earlier run has deleted it: an agent that is ending still keeps the plugin in
    its node's chain.
    """
    await api.delete(f"{collection}/{name}")
    labels = ",".join(f"{key}={value}" for key, value in names.selector(component).items())
    for where, selector in (
        (collection, {"fieldSelector": f"metadata.name={name}"}),
        (f"{_CORE}/pods", {"labelSelector": labels}),
    ):
        await waiting.until(api, where, waiting.none(name), timeout=options.timeout, **selector)


async def _clean_nodes(api: Api, given_values: values.Values, options: Options, say: Say) -> None:
    """Take the plugin out of every node's chain, by a pod on each."""
    if not (await api.get("/api/v1/nodes", limit=1)).get("items"):
        return
    account = await _get(api, f"{_CORE}/serviceaccounts/{names.NODE}")
    if account is None:
        return  # an earlier run came past this step
    cleaner = template.fill(node.clean_up(), given_values)
    name = cleaner["metadata"]["name"]
    await api.apply(f"{_APPS}/daemonsets/{name}", cleaner, manager=applying.MANAGER)
    say("taking the CNI plugin off the nodes")
    try:
        await waiting.until(
            api, f"{_APPS}/daemonsets", waiting.rolled_out, timeout=options.timeout,
            fieldSelector=f"metadata.name={name}",
        )  # fmt: skip
    except faults.InstallError as error:
        reasons = await waiting.pods_say(api)
        raise faults.InstallError(f"nodes are not cleaned up: {error}{': ' + reasons if reasons else ''}") from error
    finally:
        await _remove(api, f"{_APPS}/daemonsets", name, "clean-up", options)


async def _everything(api: Api, made: Iterable[record.Item], options: Options, say: Say) -> None:
    """The controller first, so that it makes nothing anew; the namespace last."""
    items = list(made)
    for item in items:
        if item.kind == "ValidatingWebhookConfiguration":
            await _delete(api, item)
    await _remove(api, f"{_APPS}/deployments", names.CONTROLLER, "controller", options)
    for item in await generated(api):
        await _delete(api, item)
        say(f"removed {item}")
    await unmarking.pods(api)
    await unmarking.gateway_api(api)
    await unmarking.policies(api, say)
    for item in reversed(items):
        if item.kind != "Namespace":
            await _delete(api, item)
    await _definitions_gone(api, items, options, say)
    for kind, name in (("configmaps", names.ROOT), ("configmaps", names.NODES), ("secrets", names.AUTHORITY)):
        await api.delete(f"{_CORE}/{kind}/{name}")
    await api.delete(f"/apis/coordination.k8s.io/v1/namespaces/{names.NAMESPACE}/leases/{names.LEASE}")
    await api.delete(record.PATH)
    if any(item.kind == "Namespace" for item in items):
        await _namespace(api, options)
    say("removed all that was installed")


async def _definitions_gone(api: Api, items: Iterable[record.Item], options: Options, say: Say) -> None:
    """The API server takes a definition away after its objects: whoever installs anew at once would lose it again."""
    for item in items:
        where = await applying.path(api, item) if item.kind == "CustomResourceDefinition" else None
        try:
            if where is not None and not await waiting.gone(api, where, timeout=options.timeout):
                say(f"{item} is not gone yet: the API server still takes it away")
        except ApiError as error:
            say(f"whether {item} is gone cannot be seen: {error}")


async def _delete(api: Api, item: record.Item) -> None:
    where = await applying.path(api, item)
    if where is not None:
        await api.delete(where)


async def generated(api: Api) -> list[record.Item]:
    """What the controller has made for Gateways, in any namespace."""
    found = []
    for api_version, kind in GENERATED:
        resource = await api.resource(api_version, kind)
        assert resource is not None
        selector = f"{names.MANAGED_BY}={names.INSTALLED},{names.GATEWAY_NAME}"
        listed = await api.get(resource.path(), labelSelector=selector)
        found += [
            record.Item(api_version, kind, one["metadata"]["name"], one["metadata"]["namespace"])
            for one in listed.get("items") or ()
        ]
    return found


async def _namespace(api: Api, options: Options) -> None:
    await api.delete(_NAMESPACE)
    await waiting.until(
        api, "/api/v1/namespaces", waiting.none(f"namespace {names.NAMESPACE}"), timeout=options.timeout,
        fieldSelector=f"metadata.name={names.NAMESPACE}",
    )  # fmt: skip


async def enrolled(api: Api) -> list[str]:
    """Namespaces that still have the label, for a last word."""
    listed = await api.get("/api/v1/namespaces", labelSelector=f"{names.MESH_LABEL}=enabled")
    return sorted(one["metadata"]["name"] for one in listed.get("items") or ())
