"""A Kubernetes cluster of the real parts on one Linux machine, to develop and test against.

`python -m tools.cluster up|down|status|kubeconfig`; `control_plane.start` for an API server alone; `images.load`
brings an image to the nodes, `oci.write` makes one, `base.layer` is what images stand on.
"""

import json
import pathlib

from tools.cluster import gobuild, steps

GATEWAY_API = "sigs.k8s.io/gateway-api@v1.6.1"


def crds() -> pathlib.Path:
    """The folder of the Gateway API's kinds, standard channel, in its Go module: for `kubectl apply -f`."""
    said = steps.Steps().command("go", "mod", "download", "-json", GATEWAY_API, env=gobuild.ENVIRONMENT)
    return pathlib.Path(json.loads(said)["Dir"]) / "config" / "crd" / "standard"
