"""`retic check` at a real API server: what it finds, what it says, its exit code."""

import base64
import datetime
import json
import os
import subprocess
import sys

import gateway_api
import kubelet
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tools.cluster import control_plane

from retic.install import manifest, names, record, values
from retic.install.checks import catalogue, running
from retic.install.checks import cluster as clusters
from retic.sources import api

NOW = datetime.datetime.now(datetime.UTC)
OWN = f"/api/v1/namespaces/{names.NAMESPACE}"


@pytest.fixture(scope="module")
def apiserver(tmp_path_factory):
    """One of this file's own: others install the Gateway API's CRDs on theirs."""
    folder = tmp_path_factory.mktemp("apiserver")
    try:
        yield control_plane.start(folder)
    finally:
        control_plane.stop(folder)


@pytest.fixture
async def cluster(apiserver):
    """A client; what tests make is removed."""
    async with await api.connect(apiserver) as made:
        yield made
        for value in reversed(manifest.render(values.Values())):
            resource = await made.resource(value["apiVersion"], value["kind"])
            if resource is not None and value["kind"] not in ("Namespace", "CustomResourceDefinition"):
                await made.delete(resource.path(value["metadata"].get("namespace"), value["metadata"]["name"]))
        for kind, name in (("configmaps", names.ROOT), ("configmaps", names.NODES), ("secrets", names.AUTHORITY),
                           ("configmaps", names.RECORD)):  # fmt: skip
            await made.delete(f"{OWN}/{kind}/{name}")
        await made.delete(f"/apis/coordination.k8s.io/v1/namespaces/{names.NAMESPACE}/leases/{names.LEASE}")
        for pod in (await made.get("/api/v1/pods"))["items"]:
            await made.delete(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}")
        for node in (await made.get("/api/v1/nodes"))["items"]:
            await made.delete(f"/api/v1/nodes/{node['metadata']['name']}")


async def asked(cluster, *, pre=False, now=NOW):
    return {one.check: one async for one in running.run(clusters.Cluster(cluster, now), pre=pre)}


async def install(cluster):
    """The objects, without controllers: nothing is made of them."""
    rendered = [v for v in manifest.render(values.Values()) if v["kind"] != "GatewayClass"]
    for value in rendered:
        resource = await cluster.resource(value["apiVersion"], value["kind"])
        await cluster.apply(resource.path(value["metadata"].get("namespace"), value["metadata"]["name"]), value)
    await record.write(cluster, record.Record(values.VERSION, record.State.INSTALLED, {}, record.items(rendered)))


def authority(ends):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    begins = min(NOW, ends) - datetime.timedelta(days=1)
    made = builder.serial_number(1).not_valid_before(begins).not_valid_after(ends).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


async def certificates(cluster, ends, published=None):
    pem = authority(ends)
    data = {key: base64.b64encode(pem).decode() for key in ("tls.crt", "ca.crt")}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": names.AUTHORITY}, "data": data}
    await cluster.apply(f"{OWN}/secrets/{names.AUTHORITY}", secret, manager="test")
    root = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": names.ROOT},
            "data": {names.ROOT_KEY: (published or pem).decode()}}  # fmt: skip
    await cluster.apply(f"{OWN}/configmaps/{names.ROOT}", root, manager="test")
    hook = {"webhooks": [{"name": "validate.retic.dev", "clientConfig": {"caBundle": base64.b64encode(pem).decode()}}]}
    await cluster.patch(
        f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{names.WEBHOOK}", hook,
        kind="strategic",
    )  # fmt: skip


async def make_node(cluster, name="node-1", kernel="6.1.0-9-amd64", architecture="amd64"):
    await cluster.create("/api/v1/nodes", {
        "metadata": {"name": name}, "spec": {"podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24"]},
    })  # fmt: skip
    info = {
        "operatingSystem": "linux", "architecture": architecture, "kernelVersion": kernel, "machineID": "",
        "systemUUID": "", "bootID": "", "osImage": "", "containerRuntimeVersion": "", "kubeletVersion": "",
        "kubeProxyVersion": "",
    }  # fmt: skip
    await cluster.patch(f"/api/v1/nodes/{name}/status", {"status": {"nodeInfo": info}})


async def make_pod(cluster, name, *, namespace="shop", labels=None, spec=None):
    container = {"name": "c", "image": "i"}
    body = {"metadata": {"name": name, "labels": labels or {}}, "spec": {"containers": [container], **(spec or {})}}
    await cluster.create(f"/api/v1/namespaces/{namespace}/pods", body)
    status = {"status": {"phase": "Running", "podIP": "10.42.0.7"}}
    await cluster.patch(f"/api/v1/namespaces/{namespace}/pods/{name}/status", status, kind="strategic")


async def test_beforehand(cluster):
    found = await asked(cluster, pre=True)
    assert set(found) <= {one.id for one in catalogue.CHECKS.values() if one.pre}
    assert {one for one in found if not found[one].ok} == {"gateway-api-present", "pod-networks"}
    assert found["gateway-api-present"].url == "https://retic.dev/checks#gateway-api-present"
    await make_node(cluster)
    await make_node(cluster, "old", kernel="4.18.0-553.el8")
    await make_node(cluster, "other", architecture="s390x")
    found = await asked(cluster, pre=True)
    assert found["pod-networks"].ok
    assert found["nodes-supported"].message == "old: kernel 4.18.0-553.el8; other: s390x"


async def test_the_gateway_api(cluster):
    await gateway_api.install(cluster, version="v1.4.1")
    assert (await asked(cluster, pre=True))["gateway-api-version"].ok
    await gateway_api.install(cluster, version="v0.8.0")
    found = (await asked(cluster, pre=True))["gateway-api-version"]
    assert (found.ok, found.message) == (False, "they are of v0.8.0")
    await gateway_api.remove(cluster)


async def test_cilium(cluster):
    config = {"metadata": {"name": "cilium-config"}, "data": {"kube-proxy-replacement": "true"}}
    await cluster.create("/api/v1/namespaces/kube-system/configmaps", config)
    assert not (await asked(cluster, pre=True))["cilium-socket-lb"].ok
    where = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
    await cluster.patch(where, {"data": {"bpf-lb-sock-hostns-only": "true"}})
    assert (await asked(cluster, pre=True))["cilium-socket-lb"].ok
    await cluster.delete(where)


async def test_not_installed(cluster):
    found = await asked(cluster)
    assert (found["installed"].ok, found["installed"].message) == (False, "it is not")
    assert "agents-ready" not in found


async def test_parts_that_are_missing(cluster):
    await install(cluster)
    await cluster.delete(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{names.CONTROLLER}")
    found = await asked(cluster)
    assert found["installed"].ok
    assert found["objects"].message == "ClusterRole retic-controller is missing"
    assert found["controller-ready"].message.startswith("retic-controller is not begun yet")
    assert found["leader"].message == "nobody holds the Lease"
    assert found["webhook-ca"].message == "validate.retic.dev has no caBundle"
    assert found["ca-valid"].severity is catalogue.Severity.ERROR


async def test_certificates(cluster):
    await install(cluster)
    await certificates(cluster, NOW + datetime.timedelta(days=365))
    found = await asked(cluster)
    assert all(found[one].ok for one in ("ca-valid", "ca-ends", "root-published", "webhook-ca"))
    await certificates(cluster, NOW + datetime.timedelta(days=3))
    found = await asked(cluster)
    assert found["ca-valid"].ok
    assert found["ca-ends"].message.startswith("it ends on ")
    await certificates(cluster, NOW - datetime.timedelta(days=3), authority(NOW + datetime.timedelta(days=9)))
    found = await asked(cluster)
    assert found["ca-valid"].message.startswith("it holds from ")
    assert found["root-published"].message == "the root is another one"
    assert "ended on" in found["webhook-ca"].message


async def test_leader(cluster):
    await install(cluster)
    where = f"/apis/coordination.k8s.io/v1/namespaces/{names.NAMESPACE}/leases/{names.LEASE}"
    renewed = NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lease = {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": names.LEASE},
        "spec": {"holderIdentity": "retic-controller-a", "leaseDurationSeconds": 15, "renewTime": renewed},
    }  # fmt: skip
    await cluster.apply(where, lease, manager="test")
    assert (await asked(cluster))["leader"].ok
    late = NOW + datetime.timedelta(minutes=5)
    assert "does not renew it" in (await asked(cluster, now=late))["leader"].message
    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
    await cluster.apply(where, lease, manager="test")
    assert (await asked(cluster))["leader"].ok, "it was given back a moment ago"
    assert (await asked(cluster, now=late))["leader"].message == "nobody holds the Lease"


async def test_reports_of_nodes(cluster):
    await install(cluster)
    await make_node(cluster)
    spec = {"nodeName": "node-1", "hostNetwork": True}
    await make_pod(cluster, "agent", namespace=names.NAMESPACE, labels=names.labels("node"), spec=spec)
    assert (await asked(cluster))["agents-reported"].message == "node-1: no report"
    old = [{"uid": "u", "connections": 2}]
    await kubelet.report(cluster, captured=3, plaintext=old, envoy="1.40.0", retic=values.VERSION)
    found = await asked(cluster)
    assert all(found[one].ok for one in ("agents-reported", "agent-versions"))
    assert not {"cni-chain", "kernel-features"} & set(found)  # nobody said anything of them
    await kubelet.report(cluster, plaintext=old, cni="", kernel=[])
    found = await asked(cluster)
    assert all(found[one].ok for one in ("cni-chain", "kernel-features"))
    assert (found["plaintext"].ok, found["plaintext"].message) == (True, "node-1: 2")
    await kubelet.report(cluster, retic="0.0.9", cni="no retic-cni in 10-flannel.conflist", kernel=["nf_tables"])
    found = await asked(cluster)
    assert found["agent-versions"].message == "node-1: 0.0.9"
    assert found["cni-chain"].message == "node-1: no retic-cni in 10-flannel.conflist"
    assert found["kernel-features"].message == "node-1: no nf_tables"


async def test_pods(cluster):
    await install(cluster)
    meta = {"name": "shop", "labels": {names.MESH_LABEL: "enabled"}}
    await cluster.apply("/api/v1/namespaces/shop", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    await make_pod(cluster, "web")
    await make_pod(cluster, "cart")
    await make_pod(cluster, "apart", labels={names.MESH_LABEL: "disabled"})
    await make_pod(cluster, "host", spec={"hostNetwork": True})
    tool = {"name": "c", "image": "i", "securityContext": {"capabilities": {"add": ["NET_RAW"]}}}
    await make_pod(cluster, "tool", spec={"containers": [tool]})
    await make_pod(cluster, "elsewhere", namespace="default")
    await make_pod(cluster, "ends")
    await cluster.patch("/api/v1/namespaces/shop/pods/ends", {"metadata": {"finalizers": ["example.com/hold"]}})
    await cluster.delete("/api/v1/namespaces/shop/pods/ends")
    await kubelet.captured(cluster, "shop", "web", "True")
    found = await asked(cluster)
    assert found["captured"].message == "shop/cart; shop/tool"
    assert found["left-out"].message == (
        "shop/apart: its label retic.dev/mesh=disabled says so; shop/host: it uses the host's network"
    )
    assert found["may-bypass"].message == "shop/tool: NET_RAW"
    assert found["left-out"].ok
    assert (await cluster.get("/api/v1/namespaces/shop/pods/ends"))["metadata"]["deletionTimestamp"]
    await cluster.patch("/api/v1/namespaces/shop/pods/ends", {"metadata": {"finalizers": None}})


def retic(kubeconfig, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "retic.cli", *arguments], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
    )  # fmt: skip


async def test_the_command(cluster, apiserver, tmp_path):
    await make_node(cluster)
    done = retic(apiserver, "check", "--pre")
    assert (done.returncode, done.stderr) == (0, "")
    assert "✓ you may install" in done.stdout
    assert done.stdout.endswith("\n0 errors, 1 warning\n")
    done = retic(apiserver, "check", "-o", "json")
    assert done.returncode == 1
    rows = json.loads(done.stdout)
    assert {tuple(row) for row in rows} == {("section", "check", "ok", "severity", "message", "hint", "url")}
    assert "installed" in [row["check"] for row in rows if not row["ok"]]
    nobody = tmp_path / "config"
    nobody.write_text(apiserver.read_text().replace("https://127.0.0.1:", "https://127.0.0.1:1/"))
    done = retic(nobody, "check")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
