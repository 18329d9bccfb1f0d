"""The collector that cases with traces send their spans to: a real one, on the node that is not measured."""

import pathlib

from tools.bench import manifests
from tools.cluster import gobuild, places, steps

from retic.testing import collected

NAME, PORT = "otel", 4317
_NODE = "node-2"


def built() -> None:
    """Build it, where that has not been done."""
    gobuild.build(gobuild.COLLECTOR, steps.Steps())


def objects(folder: pathlib.Path) -> list[manifests.Object]:
    """Its pod and Service. Spans come from the agents, in plaintext. `folder` gets its configuration and the spans."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "otel.yaml"
    file.write_text(collected.configuration(folder / "spans.json"))
    command = [str(places.binary("otelcol")), "--config", str(file)]
    found = manifests.pod(NAME, _NODE, [manifests.container("collector", command)])
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": "default"},
        "spec": {"selector": {"app": NAME}, "ports": [{"name": "grpc", "port": PORT}]},
    }  # fmt: skip
    open_port = {
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": NAME}}, "mtls": {"mode": "STRICT"},
            "portLevelMtls": {PORT: {"mode": "PERMISSIVE"}},
        },
    }  # fmt: skip
    return [found, service, open_port]
