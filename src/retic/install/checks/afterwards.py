"""Probes of an installation: its parts, its certificates, the nodes' agents."""

import base64
import datetime
from typing import Any

from cryptography import x509

from retic.install import applying, names, nodes, record, values, waiting
from retic.install.checks.cluster import Cluster

SOON = datetime.timedelta(days=30)
# A leader that ends gives the Lease back; the next asks for it every 2.4 s at most (kube.lease). The rest is for
# clocks that differ.
_HANDING_OVER = datetime.timedelta(seconds=15)


async def installed(cluster: Cluster) -> list[str]:
    """By the record."""
    found = await cluster.installed()
    if found is None:
        return ["it is not"]
    if found.state is not record.State.INSTALLED:
        return [f"it was interrupted while {found.state.value}"]
    return []


async def same_version(cluster: Cluster) -> list[str] | None:
    """This command's against the record's."""
    found = await cluster.installed()
    if found is None:
        return None
    if found.version == values.VERSION:
        return []
    return [f"{found.version} is installed, and this command is {values.VERSION}"]


async def objects(cluster: Cluster) -> list[str] | None:
    """Each one that the record names."""
    found = await cluster.installed()
    if found is None:
        return None
    missing = []
    for item in found.items:
        where = await applying.path(cluster.api, item)
        if where is None or await cluster.get(where) is None:
            missing.append(f"{item} is missing")
    return missing


async def controller_ready(cluster: Cluster) -> list[str]:
    """By the Deployment's status, with what its pods say."""
    live = await cluster.own("apps/v1/deployments", names.CONTROLLER)
    return await _rolled_out(cluster, live)


async def agents_ready(cluster: Cluster) -> list[str]:
    """By the DaemonSet's status, with what its pods say."""
    live = await cluster.own("apps/v1/daemonsets", names.NODE)
    return await _rolled_out(cluster, live)


async def _rolled_out(cluster: Cluster, live: dict[str, Any] | None) -> list[str]:
    said = waiting.rolled_out([live] if live else [])
    reasons = await waiting.pods_say(cluster.api) if said else ""
    return [part for part in (said, reasons) if part]


async def leader(cluster: Cluster) -> list[str]:
    """The Lease has a holder who has renewed it within its duration, and as much again for clocks that differ; or
    was given back a moment ago."""
    lease = await cluster.own("coordination.k8s.io/v1/leases", names.LEASE)
    spec = (lease or {}).get("spec") or {}
    renewed = spec.get("renewTime")
    since = cluster.now - datetime.datetime.fromisoformat(renewed) if renewed else datetime.timedelta.max
    if not spec.get("holderIdentity"):
        return ["nobody holds the Lease"] if since > _HANDING_OVER else []
    if since > datetime.timedelta(seconds=2 * spec.get("leaseDurationSeconds", 15)):
        return [f"{spec['holderIdentity']} holds the Lease and does not renew it (last at {spec.get('renewTime')})"]
    return []


async def ca_valid(cluster: Cluster) -> list[str]:
    """Those certificates of the Secret that sign."""
    found = await _authority(cluster)
    if not found:
        return [f"Secret {names.NAMESPACE}/{names.AUTHORITY} has no certificate in tls.crt"]
    one = found[0]
    if not one.not_valid_before_utc <= cluster.now <= one.not_valid_after_utc:
        return [f"it holds from {one.not_valid_before_utc:%Y-%m-%d %H:%M} to {one.not_valid_after_utc:%Y-%m-%d %H:%M}"]
    return []


async def ca_ends(cluster: Cluster) -> list[str] | None:
    """The first that ends, of the one that signs and those above it."""
    found = await _authority(cluster)
    if not found:
        return None
    end = min(one.not_valid_after_utc for one in found)
    return [f"it ends on {end:%Y-%m-%d %H:%M} UTC"] if end - cluster.now < SOON else []


async def root_published(cluster: Cluster) -> list[str] | None:
    """Whether the bundle has the root above the certificate that signs."""
    secret = await cluster.own("v1/secrets", names.AUTHORITY)
    if secret is None:
        return None
    published = await cluster.own("v1/configmaps", names.ROOT)
    bundle = _certificates(((published or {}).get("data") or {}).get(names.ROOT_KEY, "").encode())
    roots = _certificates(_decoded(secret, "ca.crt")) or _certificates(_decoded(secret, "tls.crt"))
    if not bundle:
        return [f"ConfigMap {names.NAMESPACE}/{names.ROOT} has no certificate in {names.ROOT_KEY}"]
    return [] if any(one in bundle for one in roots) else ["the root is another one"]


async def webhook_ca(cluster: Cluster) -> list[str] | None:
    """Filled in, readable and not ended."""
    path = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{names.WEBHOOK}"
    found = await cluster.get(path)
    if found is None:
        return None
    wrong = []
    for hook in found.get("webhooks") or ():
        bundle = _certificates(_base64(hook["clientConfig"].get("caBundle", "")))
        if not bundle:
            wrong.append(f"{hook['name']} has no caBundle")
        elif all(one.not_valid_after_utc < cluster.now for one in bundle):
            wrong.append(f"the caBundle of {hook['name']} ended on {bundle[0].not_valid_after_utc:%Y-%m-%d}")
    return wrong


async def agents_reported(cluster: Cluster) -> list[str]:
    """A report for each node that an agent's pod runs on."""
    reports = await _reports(cluster)
    labels = ",".join(f"{key}={value}" for key, value in names.selector("node").items())
    pods = await cluster.items(f"/api/v1/namespaces/{names.NAMESPACE}/pods", labelSelector=labels)
    silent = {pod["spec"].get("nodeName", "") for pod in pods if nodes.running(pod)} - set(reports)
    return [f"{node}: no report" for node in sorted(silent)]


async def agent_versions(cluster: Cluster) -> list[str] | None:
    """Of each report, against the record's."""
    found = await cluster.installed()
    if found is None:
        return None
    return [
        f"{node}: {report.retic}"
        for node, report in sorted((await _reports(cluster)).items())
        if report.retic and report.retic != found.version
    ]


async def envoy_versions(cluster: Cluster) -> list[str]:
    """Of each report, against the others."""
    reports = sorted((await _reports(cluster)).items())
    versions = {report.envoy for _, report in reports if report.envoy}
    return [f"{node}: {report.envoy}" for node, report in reports if report.envoy] if len(versions) > 1 else []


async def cni_chain(cluster: Cluster) -> list[str] | None:
    """As each node's agent sees it; of agents that say nothing, nothing."""
    said = {node: report.cni for node, report in (await _reports(cluster)).items() if report.cni is not None}
    return [f"{node}: {fault}" for node, fault in sorted(said.items()) if fault] if said else None


async def kernel_features(cluster: Cluster) -> list[str] | None:
    """As each node's agent sees it; of agents that say nothing, nothing."""
    said = {node: report.kernel for node, report in (await _reports(cluster)).items() if report.kernel is not None}
    return [f"{node}: no {', '.join(lacks)}" for node, lacks in sorted(said.items()) if lacks] if said else None


async def plaintext(cluster: Cluster) -> list[str]:
    """By the agents' count."""
    return [
        f"{node}: {sum(one.connections for one in report.plaintext)}"
        for node, report in sorted((await _reports(cluster)).items())
        if report.plaintext
    ]


async def _reports(cluster: Cluster) -> dict[str, nodes.Report]:
    found = await cluster.get(nodes.PATH)
    return nodes.parse(found) if found else {}


async def _authority(cluster: Cluster) -> list[x509.Certificate]:
    """The certificate that signs, and those above it."""
    secret = await cluster.own("v1/secrets", names.AUTHORITY)
    return [*_certificates(_decoded(secret, "tls.crt")), *_certificates(_decoded(secret, "ca.crt"))] if secret else []


def _decoded(secret: dict[str, Any], key: str) -> bytes:
    return _base64((secret.get("data") or {}).get(key, ""))


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """Those in the text; none when it holds none."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []
