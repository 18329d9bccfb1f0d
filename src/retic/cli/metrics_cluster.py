"""`retic metrics` for a cluster: a scrape configuration for a Prometheus that runs there."""

from typing import TYPE_CHECKING

import msgspec

from retic.cli import cluster, failure, ps_cluster, show
from retic.identity import certificate
from retic.install import names

if TYPE_CHECKING:
    from retic.sources.api import Api
    from retic.wiring import remote

_ROOT, _TOKEN = "/etc/prometheus/retic/root.pem", "/etc/prometheus/retic/token"
_CONFIGURATION = """\
# For a Prometheus on this cluster: the proxies of its nodes and Gateways, and the control plane.
# Its service account needs the rights to list and watch pods, and to get /metrics; the token is one of its own for the
# audience {audience}, and the root is what this prints:
#   kubectl get configmap -n {namespace} {config_map} -o jsonpath='{{.data.{key}}}'
scrape_configs:
- job_name: retic
  scheme: https
  honor_timestamps: false
  kubernetes_sd_configs:
  - role: pod
  relabel_configs:
  - source_labels: [{managed_by}, __meta_kubernetes_pod_phase]
    regex: {installed};Running
    action: keep
  - source_labels: [__meta_kubernetes_pod_ip]
    regex: (.+)
    target_label: __address__
    replacement: ${{1}}:{port}
  - source_labels: [__meta_kubernetes_namespace]
    target_label: namespace
  authorization:
    credentials_file: {token_file}
  tls_config:
    ca_file: {ca_file}
    server_name: {server_name}
"""


class Where(msgspec.Struct, frozen=True):
    """What a scraper needs: the port of every part's pod, the name in their certificates, where the root is, whom
    tokens are for, and the right that RBAC must give to their bearer."""

    port: int
    path: str
    server_name: str
    namespace: str
    config_map: str
    key: str
    audience: str
    right: str


def run(target: cluster.Target, *, as_json: bool) -> None:
    """Print it. Raises Failure."""
    from retic.wiring import remote

    async def work(api: "Api") -> "remote.Told":
        told = await remote.what_is_told(api)
        if told.installed is False:
            raise failure.Failure(ps_cluster.not_installed(api))
        return told

    told = cluster.run(target, work)
    if told.installed is None:
        raise failure.Failure(f"you may not {'; '.join(told.lacking)}: ask for that right")
    if not told.config.metrics_port:
        raise failure.Failure(
            "no part of this installation serves metrics: choose a port with retic upgrade --set metrics.port=15014"
        )
    where = Where(
        told.config.metrics_port, "/metrics", certificate.METRICS_NAME, names.NAMESPACE, names.ROOT, names.ROOT_KEY,
        names.METRICS_AUDIENCE, "get /metrics",
    )  # fmt: skip
    if as_json:
        show.json(where)
        return
    label = "__meta_kubernetes_pod_label_app_kubernetes_io_managed_by"
    words = {**msgspec.structs.asdict(where), "key": where.key.replace(".", "\\.")}
    print(
        _CONFIGURATION.format(
            **words, managed_by=label, installed=names.INSTALLED, token_file=_TOKEN, ca_file=_ROOT
        ),
        end="",
    )
