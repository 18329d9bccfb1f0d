"""`retic metrics`: where Prometheus reads a mesh's metrics, as a configuration that it takes."""

import msgspec

from retic.cli import cluster, failure, metrics_cluster, running, show, which
from retic.identity import certificate
from retic.wiring import measuring

_CONFIGURATION = """\
# For Prometheus: all proxies of the mesh on this machine, and its control plane.
scrape_configs:
- job_name: retic
  scheme: https
  honor_timestamps: false
  static_configs:
  - targets: ["{address}"]
  authorization:
    credentials_file: {token_file}
  tls_config:
    ca_file: {ca_file}
    server_name: {server_name}
"""


class Where(msgspec.Struct, frozen=True):
    """What a scraper needs. `url` is of everything; each proxy has a page of its own in `proxies`."""

    url: str
    server_name: str
    ca_file: str
    token_file: str
    proxies: dict[str, str]


def run(options: which.Options, *, as_json: bool) -> None:
    """Print it. Raises Failure."""
    path = which.mesh(options)
    if isinstance(path, cluster.Target):
        metrics_cluster.run(path, as_json=as_json)
        return
    address = running.cluster(path, {"get": "status"}).get("metrics", "")
    if not address:
        raise failure.Failure(f"no port of this machine could be had for metrics: see {path / 'logs' / 'cluster.log'}")
    from retic.control import admin

    base = f"https://{address}"
    where = Where(
        url=f"{base}/metrics",
        server_name=certificate.METRICS_NAME,
        ca_file=str(path / "ca" / "root.pem"),
        token_file=str(path / measuring.TOKEN),
        proxies={one: f"{base}/proxies/{one}/metrics" for one in admin.proxies(path).values()},
    )
    if as_json:
        show.json(where)
        return
    print(_CONFIGURATION.format(address=address, **msgspec.structs.asdict(where)), end="")
