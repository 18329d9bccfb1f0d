"""Installing, upgrading and uninstalling at a real API server with its controllers; `kubelet` makes pods ready."""

import asyncio
import datetime
import os
import subprocess
import sys

import everything
import gateway_api
import kubelet
import pytest
import yaml
from tools import helm
from tools.cluster import control_plane

from retic.install import chart, faults, given, names, operations, record, uninstall, values
from retic.install.checks import cluster as clusters
from retic.install.checks import running
from retic.sources import api
from retic.testing import wait

NOT_WAITING = operations.Options(wait=None)
PATIENT = operations.Options(wait=120)
SOON = uninstall.Options(timeout=120)
DEPLOYMENT = f"/apis/apps/v1/namespaces/{names.NAMESPACE}/deployments/{names.CONTROLLER}"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory):
    """An API server with controllers, of this module's own."""
    folder = tmp_path_factory.mktemp("controllers")
    try:
        yield control_plane.start(folder, controllers=True)
    finally:
        control_plane.stop(folder)


@pytest.fixture
async def cluster(kubeconfig):
    """Its client; what a test has installed is gone afterwards."""
    async with await api.connect(kubeconfig) as made:
        await forgotten(made)
        await settled(made)
        yield made
        await uninstalled(made, uninstall.Options(timeout=120, force=True), quiet)
        for node in (await made.get("/api/v1/nodes"))["items"]:
            await made.delete(f"/api/v1/nodes/{node['metadata']['name']}")


def quiet(_):
    """Says nothing."""


async def as_before(cluster, before):
    """An API server takes a moment to forget a group whose kinds are gone."""

    async def same():
        found = await everything.of(cluster)
        assert not found ^ before, (sorted(found - before), sorted(before - found))
        return True

    await wait.until_async(same, "all is as it was", seconds=60)


async def gone(cluster):
    """Until the namespace is."""

    async def there():
        return f"/api/v1/namespaces /{names.NAMESPACE}" not in await everything.of(cluster)

    await wait.until_async(there, "the namespace to be gone", seconds=120)


async def uninstalled(cluster, options, say):
    """Uninstall, once that is of use."""
    await listable(cluster)
    return await uninstall.run(cluster, options, say)


async def listable(cluster):
    """Until the API server can list what it is to delete: a kind that is deleted right after it was made it takes away
    minutes later only (InstanceDeletionFailed, "storage is (re)initializing")."""

    async def listed():
        for each in (await cluster.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions"))["items"]:
            if each["spec"]["group"] == "retic.dev":
                try:
                    await cluster.get(f"/apis/retic.dev/v1alpha1/{each['spec']['names']['plural']}")
                except api.ApiError:
                    return False
        return True

    await wait.until_async(listed, "objects of our own kinds to be listed", seconds=120)


async def forgotten(cluster):
    """Until the controllers have taken away what the test before has installed."""

    async def clean():
        left = sorted(name for name in await everything.of(cluster) if "retic" in name)
        assert not left, left
        return True

    await wait.until_async(clean, "nothing of Retic to be left", seconds=200)


async def settled(cluster, *more):
    """Until the controllers have made what every namespace has."""

    async def there():
        found = await everything.of(cluster)
        return all(
            f"/api/v1/{kind} {namespace}/{name}" in found
            for namespace in ("default", "kube-system", "kube-public", "kube-node-lease", *more)
            for kind, name in (("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt"))
        )

    await wait.until_async(there, "service accounts and root certificates in every namespace", seconds=60)


async def versions(cluster, items):
    found = {}
    for item in items:
        resource = await cluster.resource(item.api_version, item.kind)
        live = await cluster.get(resource.path(item.namespace, item.name))
        found[str(item)] = (live["metadata"].get("generation", 0), live.get("data"))
    return found


async def test_uninstalling_leaves_nothing(cluster):
    await gateway_api.install(cluster)
    try:
        before = await everything.of(cluster)
        await operations.install(cluster, {}, NOT_WAITING, quiet)
        installed = (await record.read(cluster)).items
        assert len(installed) == 20
        planned = await operations.plan(cluster, {"mode": "STRICT"}, reset=False)
        await operations.upgrade(cluster, planned, NOT_WAITING, quiet)
        # What the controller makes while it runs.
        own = f"/api/v1/namespaces/{names.NAMESPACE}"
        for kind, name in (("configmaps", names.ROOT), ("configmaps", names.NODES), ("secrets", names.AUTHORITY)):
            await cluster.create(f"{own}/{kind}", {"metadata": {"name": name}})
        labels = {names.MANAGED_BY: names.INSTALLED, names.GATEWAY_NAME: "web"}
        for kind in ("configmaps", "serviceaccounts"):
            meta = {"name": "web-gateway", "labels": labels}
            await cluster.create(f"/api/v1/namespaces/default/{kind}", {"metadata": meta})
        assert await uninstalled(cluster, SOON, quiet)
        await as_before(cluster, before)
        assert not await uninstalled(cluster, SOON, quiet)
    finally:
        await gateway_api.remove(cluster)


async def test_again_changes_nothing(cluster):
    said = []
    await operations.install(cluster, {"mode": "STRICT"}, NOT_WAITING, said.append)
    assert "left out GatewayClass" in said[0]
    items = (await record.read(cluster)).items
    before = await versions(cluster, items)
    await operations.install(cluster, {"mode": "STRICT"}, NOT_WAITING, quiet)
    assert await versions(cluster, items) == before
    planned = await operations.plan(cluster, {}, reset=False)
    assert await operations.changes(cluster, planned, NOT_WAITING, quiet) == ""


async def test_install_does_not_change_values_in_passing(cluster):
    await operations.install(cluster, {"mode": "STRICT"}, NOT_WAITING, quiet)
    with pytest.raises(faults.InstallError, match=r"with other values \(mode=STRICT\): .*retic upgrade --set"):
        await operations.install(cluster, {}, NOT_WAITING, quiet)


async def test_upgrade_keeps_values_shows_what_changes_and_resets(cluster):
    await operations.install(cluster, {"mode": "STRICT", "controller": {"replicas": 3}}, NOT_WAITING, quiet)
    planned = await operations.plan(cluster, {"controller": {"replicas": 1}}, reset=False)
    shown = await operations.changes(cluster, planned, NOT_WAITING, quiet)
    assert "-  replicas: 3\n+  replicas: 1" in shown
    assert (await cluster.get(DEPLOYMENT))["spec"]["replicas"] == 3
    await operations.upgrade(cluster, planned, NOT_WAITING, quiet)
    assert (await cluster.get(DEPLOYMENT))["spec"]["replicas"] == 1
    assert (await record.read(cluster)).values == {"mode": "STRICT", "controller": {"replicas": 1}}
    await operations.upgrade(cluster, await operations.plan(cluster, {}, reset=True), NOT_WAITING, quiet)
    assert (await record.read(cluster)).values == {}


async def test_what_cannot_be_changed_is_made_anew(cluster):
    await operations.install(cluster, {}, NOT_WAITING, quiet)
    planned = await operations.plan(cluster, {"priority": 7}, reset=False)
    await operations.upgrade(cluster, planned, NOT_WAITING, quiet)
    live = await cluster.get(f"/apis/scheduling.k8s.io/v1/priorityclasses/{names.PRIORITY_CLASS}")
    assert live["value"] == 7


async def test_what_a_new_version_no_longer_has_is_removed(cluster, monkeypatch):
    await operations.install(cluster, {}, NOT_WAITING, quiet)
    old = record.Item("v1", "ConfigMap", "retic-old", names.NAMESPACE)
    await cluster.create(f"/api/v1/namespaces/{names.NAMESPACE}/configmaps", {"metadata": {"name": "retic-old"}})
    found = await record.read(cluster)
    await record.write(cluster, record.Record("0.1.0", found.state, {}, (*found.items, old)))
    monkeypatch.setattr(values, "VERSION", "0.2.0")
    with pytest.raises(faults.InstallError, match=r"Retic 0.1.0 is installed, and this is 0.2.0: use retic upgrade"):
        await operations.install(cluster, {}, NOT_WAITING, quiet)
    planned = await operations.plan(cluster, {}, reset=False)
    assert "--- ConfigMap retic-system/retic-old (now)\n+++ (removed)" in (
        await operations.changes(cluster, planned, NOT_WAITING, quiet)
    )
    await operations.upgrade(cluster, planned, NOT_WAITING, quiet)
    with pytest.raises(api.ApiError, match="404"):
        await cluster.get(f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/retic-old")
    assert (await record.read(cluster)).version == "0.2.0"
    monkeypatch.setattr(values, "VERSION", "0.4.0")
    with pytest.raises(faults.InstallError, match=r"upgrade to 0\.3 first"):
        await operations.plan(cluster, {}, reset=False)


class Interrupted(api.Api):
    """Ends, as a lost machine would, at the first object of a kind."""

    def __init__(self, other, plural):
        self.__dict__.update(other.__dict__)
        self._plural = plural

    async def apply(self, path, body, *, dry_run=False, **more):
        if self._plural in path and not dry_run:
            raise ConnectionAbortedError
        return await super().apply(path, body, dry_run=dry_run, **more)


class Watched(api.Api):
    """Tells when an object has been applied for the first time."""

    def __init__(self, other, path):
        self.__dict__.update(other.__dict__)
        self._path, self.applied = path, asyncio.Event()

    async def apply(self, path, body, *, dry_run=False, **more):
        answer = await super().apply(path, body, dry_run=dry_run, **more)
        if path == self._path and not dry_run:
            self.applied.set()
        return answer


async def test_what_is_being_deleted_is_installed_once_it_is_gone(cluster):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ratelimits.retic.dev"
    await operations.install(cluster, {}, NOT_WAITING, quiet)
    await cluster.patch(path, {"metadata": {"finalizers": ["example.com/hold"]}})
    before = (await cluster.get(path))["metadata"]["uid"]
    await cluster.delete(path)
    watched = Watched(cluster, path)
    again = asyncio.create_task(operations.install(watched, {}, NOT_WAITING, quiet))
    async with asyncio.timeout(90):
        await watched.applied.wait()
    assert not again.done()
    await cluster.patch(path, {"metadata": {"finalizers": None}})
    await again
    now = (await cluster.get(path))["metadata"]
    assert now["uid"] != before
    assert "deletionTimestamp" not in now


async def test_a_namespace_that_is_being_deleted_is_waited_for(cluster):
    own = f"/api/v1/namespaces/{names.NAMESPACE}"
    await operations.install(cluster, {}, NOT_WAITING, quiet)
    held = f"{own}/configmaps/held"
    await cluster.create(f"{own}/configmaps", {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    before = (await cluster.get(own))["metadata"]["uid"]
    await cluster.delete(own)
    watched = Watched(cluster, own)
    again = asyncio.create_task(operations.install(watched, {}, NOT_WAITING, quiet))
    async with asyncio.timeout(90):
        await watched.applied.wait()
    assert not again.done()
    await cluster.patch(held, {"metadata": {"finalizers": None}})
    await again
    assert (await cluster.get(own))["metadata"]["uid"] != before
    assert (await record.read(cluster)).state is record.State.INSTALLED


async def test_the_definitions_are_gone_when_the_uninstallation_ends(cluster):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ratelimits.retic.dev"
    await operations.install(cluster, {}, NOT_WAITING, quiet)
    await cluster.patch(path, {"metadata": {"finalizers": ["example.com/hold"]}})
    said = []
    ending = asyncio.create_task(uninstalled(cluster, SOON, said.append))

    async def deleted():
        return (await cluster.get(path))["metadata"].get("deletionTimestamp")

    await wait.until_async(deleted, "the definition is deleted", seconds=60)
    before = (await cluster.get(f"/api/v1/namespaces/{names.NAMESPACE}"))["metadata"]
    assert "deletionTimestamp" not in before
    assert not ending.done()
    await cluster.patch(path, {"metadata": {"finalizers": None}})
    assert await ending
    assert said[-1] == "removed all that was installed"
    with pytest.raises(api.ApiError, match="404"):
        await cluster.get(path)


@pytest.mark.parametrize("plural", ["/clusterroles/", "/daemonsets/"])
async def test_what_was_interrupted_is_gone_on_with(cluster, plural):
    with pytest.raises(ConnectionAbortedError):
        await operations.install(Interrupted(cluster, plural), {"mode": "STRICT"}, NOT_WAITING, quiet)
    assert (await record.read(cluster)).state is record.State.APPLYING
    await operations.install(cluster, {"mode": "PERMISSIVE"}, NOT_WAITING, quiet)
    found = await record.read(cluster)
    assert (found.state, found.values) == (record.State.INSTALLED, {"mode": "PERMISSIVE"})


async def test_what_was_interrupted_is_uninstalled(cluster):
    before = await everything.of(cluster)
    with pytest.raises(ConnectionAbortedError):
        await operations.install(Interrupted(cluster, "/daemonsets/"), {}, NOT_WAITING, quiet)
    assert await uninstalled(cluster, SOON, quiet)
    await as_before(cluster, before)


async def test_fields_that_others_have_set(cluster):
    await operations.install(cluster, {}, NOT_WAITING, quiet)
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": names.CONTROLLER}}
    await cluster.apply(DEPLOYMENT, {**scaled, "spec": {"replicas": 5}}, manager="somebody")
    with pytest.raises(faults.InstallError) as raised:
        await operations.install(cluster, {}, NOT_WAITING, quiet)
    for part in ("Deployment retic-system/retic-controller", '"somebody"', ".spec.replicas", "--force-conflicts"):
        assert part in str(raised.value)
    await operations.install(cluster, {}, operations.Options(wait=None, force=True), quiet)
    assert (await cluster.get(DEPLOYMENT))["spec"]["replicas"] == 2


async def user(cluster, kubeconfig, folder):
    """A kubeconfig of somebody without rights."""
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    answer = await cluster.create(path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = {"token": answer["status"]["token"]}
    file = folder / "user"
    file.write_text(yaml.safe_dump(config))
    file.chmod(0o600)
    return file


async def test_without_the_rights_nothing_is_begun(cluster, kubeconfig, tmp_path):
    before = await everything.of(cluster)
    async with await api.connect(await user(cluster, kubeconfig, tmp_path)) as theirs:
        with pytest.raises(faults.InstallError) as raised:
            await operations.install(theirs, {}, NOT_WAITING, quiet)
    assert "create clusterroles.rbac.authorization.k8s.io" in str(raised.value) or "may not" in str(raised.value)
    await as_before(cluster, before)


async def test_waiting_says_what_is_not_ready(cluster):
    with pytest.raises(faults.InstallError, match=r"retic-controller: 0 of 2 are ready \(after 10 s\)"):
        await operations.install(cluster, {}, operations.Options(wait=10), quiet)


async def make_node(cluster):
    await cluster.create("/api/v1/nodes", {
        "metadata": {"name": "node-1", "labels": {"kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24"]},
    })  # fmt: skip


async def make_pod(cluster):
    """A captured pod of a namespace of the mesh."""
    await cluster.create("/api/v1/namespaces/default/pods", {
        "metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]},
    })  # fmt: skip
    await kubelet.captured(cluster, "default", "web", "True")
    await kubelet.report(cluster, captured=1, envoy="1.40.0", retic=values.VERSION)


async def test_pods_leave_the_mesh_before_anything_is_removed(cluster):
    await make_node(cluster)
    said = []
    async with kubelet.running(cluster):
        await operations.install(cluster, {}, PATIENT, quiet)
        await make_pod(cluster)
        assert await uninstalled(cluster, SOON, said.append)
    pod = await cluster.get("/api/v1/namespaces/default/pods/web")
    await cluster.delete("/api/v1/namespaces/default/pods/web")
    assert not [c for c in pod["status"].get("conditions", []) if c["type"] == names.CAPTURED]
    assert [line for line in said if not line.startswith("removed ConfigMap")] == [
        "taking all pods out of the mesh",
        "the nodes' agents are gone",
        "taking the CNI plugin off the nodes",
        "removed all that was installed",
    ]


async def test_pods_that_do_not_leave_stop_it(cluster):
    async with kubelet.running(cluster, lets_go=False):
        await operations.install(cluster, {}, PATIENT, quiet)
        await make_pod(cluster)
        hasty = uninstall.Options(timeout=10)
        with pytest.raises(faults.InstallError, match=r"still in the mesh \(node-1: 1\) .*--force goes on"):
            await uninstalled(cluster, hasty, quiet)
        assert (await record.read(cluster)).state is record.State.REMOVING
        await cluster.get(DEPLOYMENT)  # is there
        with pytest.raises(faults.InstallError, match="finish it with retic uninstall"):
            await operations.install(cluster, {}, NOT_WAITING, quiet)
        said = []
        await uninstalled(cluster, uninstall.Options(timeout=40, force=True), said.append)
        assert said[1].startswith("going on although pods are still in the mesh")
    await cluster.delete("/api/v1/namespaces/default/pods/web")


async def test_what_helm_installed_is_helms(cluster):
    await cluster.create("/api/v1/namespaces", {"metadata": {"name": names.NAMESPACE}})
    rendered = {"spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }}  # fmt: skip
    meta = {"name": names.CONTROLLER, "labels": {names.MANAGED_BY: "Helm"}}
    await cluster.create(DEPLOYMENT.rpartition("/")[0], {"metadata": meta, **rendered})
    with pytest.raises(faults.InstallError, match="installed with Helm: change it with helm upgrade"):
        await operations.install(cluster, {}, NOT_WAITING, quiet)
    said = []
    assert await uninstalled(cluster, SOON, said.append)
    assert said[-1] == "Helm has installed the rest: remove it with helm uninstall"
    await cluster.delete(f"/api/v1/namespaces/{names.NAMESPACE}")
    await gone(cluster)


async def test_agents_come_once_the_controller_is_ready(cluster):
    said = []
    with pytest.raises(faults.InstallError, match="retic-controller: 0 of 2"):
        await operations.install(cluster, {}, operations.Options(wait=10), said.append)
    assert said[-1] == "waiting for the controller"
    with pytest.raises(api.ApiError, match="404"):
        await cluster.get(f"/apis/apps/v1/namespaces/{names.NAMESPACE}/daemonsets/{names.NODE}")
    async with kubelet.running(cluster):
        await operations.install(cluster, {}, PATIENT, said.append)
    assert said[-1] == f"Retic {values.VERSION} is installed and ready"


async def test_a_namespace_of_ones_own(cluster):
    with pytest.raises(faults.InstallError, match="namespace retic-system is not there: make it, or leave create"):
        await operations.install(cluster, {"createNamespace": False}, NOT_WAITING, quiet)
    await cluster.create("/api/v1/namespaces", {"metadata": {"name": names.NAMESPACE}})
    await settled(cluster, names.NAMESPACE)
    before = await everything.of(cluster)
    await operations.install(cluster, {"createNamespace": False}, NOT_WAITING, quiet)
    assert await uninstalled(cluster, SOON, quiet)
    await as_before(cluster, before)
    await cluster.delete(f"/api/v1/namespaces/{names.NAMESPACE}")
    await gone(cluster)


async def test_a_release_of_helm(cluster, kubeconfig, tmp_path):
    def run(*arguments):
        command = [helm.build(), "--kubeconfig", str(kubeconfig), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=400).stdout

    before = await everything.of(cluster)
    chart.write(tmp_path)
    assert "retic check" in run("install", "retic", str(tmp_path), "--set", "mode=STRICT")
    results = {
        one.check: one
        async for one in running.run(clusters.Cluster(cluster, datetime.datetime.now(datetime.UTC)), pre=False)
    }
    assert results["installed"].ok
    assert results["same-version"].ok
    with pytest.raises(faults.InstallError, match="installed with Helm"):
        await operations.install(cluster, {}, NOT_WAITING, quiet)
    run("upgrade", "retic", str(tmp_path), "--reuse-values", "--set", "controller.replicas=1")
    assert (await cluster.get(DEPLOYMENT))["spec"]["replicas"] == 1
    said = []
    assert await uninstalled(cluster, SOON, said.append)
    assert said[-1] == "Helm has installed the rest: remove it with helm uninstall"
    run("uninstall", "retic", "--wait")
    await gone(cluster)
    await as_before(cluster, before)


async def test_a_record_that_cannot_be_read(cluster):
    await operations.install(cluster, {}, NOT_WAITING, quiet)
    await cluster.patch(record.PATH, {"data": {"record.json": "{"}})
    with pytest.raises(faults.InstallError, match="its record cannot be read"):
        await operations.plan(cluster, {}, reset=False)
    await cluster.delete(record.PATH)
    await operations.install(cluster, {}, NOT_WAITING, quiet)


async def test_values_are_checked_before_the_server_is_asked(cluster):
    with pytest.raises(given.ValuesError, match="did you mean mode"):
        await operations.install(cluster, {"modes": "STRICT"}, NOT_WAITING, quiet)


def retic(kubeconfig, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "retic.cli", *arguments], capture_output=True, text=True, timeout=400, check=False,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
    )  # fmt: skip


async def test_the_commands(cluster, kubeconfig, tmp_path):
    assert "not installed on this cluster: use retic install" in retic(kubeconfig, "upgrade").stderr
    done = retic(kubeconfig, "install", "--no-wait", "--set", "mode=STRICT")
    assert (done.returncode, "Retic 0.1.0 is installed\n" in done.stdout) == (0, True)
    assert "nothing would change" in retic(kubeconfig, "upgrade", "--dry-run").stdout
    await cluster.patch("/api/v1/namespaces/default", {"metadata": {"labels": {names.MESH_LABEL: "enabled"}}})
    await listable(cluster)
    done = retic(kubeconfig, "uninstall", "--timeout", "120")
    assert done.returncode == 0
    assert "the label retic.dev/mesh=enabled is still on: default" in done.stdout
    await cluster.patch("/api/v1/namespaces/default", {"metadata": {"labels": {names.MESH_LABEL: None}}})
    done = retic(kubeconfig, "uninstall")
    assert (done.returncode, done.stdout) == (0, "Retic is not installed on this cluster: nothing to do\n")
    done = retic(kubeconfig, "install", "--context", "none")
    assert done.returncode == 1
    assert done.stderr.startswith("retic: ")
    assert "Traceback" not in done.stderr
