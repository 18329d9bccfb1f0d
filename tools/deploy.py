"""`python -m tools.deploy`: Retic of this tree on the cluster, as a user installs it; again is the same as once.

On the cluster of `make cluster` the image is built and brought to the nodes; with KUBECONFIG another cluster is meant,
whose nodes must be able to have it.
"""

import os
import pathlib
import subprocess
import sys

from tools import cluster, image
from tools.cluster import images, places, steps, whole

_BUILT = "retic.dev/built-from"  # on the namespace: which archive the running pods were started from
_PARTS = ("deployment/retic-controller", "daemonset/retic-node")


def deploy(kubeconfig: pathlib.Path, run: steps.Steps) -> None:
    """The Gateway API's CRDs, the image, the installation. FailedError with what went wrong.

    The image's reference is that of the release, whatever is in it: pods that run from another build are rolled.
    """
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    own = not whole.given()

    def kubectl(*words: str | pathlib.Path) -> str:
        return run.command(places.kubectl(), *words, env=environment)

    built = ""
    if own:
        with run.part("Retic's image"):
            archive = image.build()
            images.load(archive)
            built = archive.stem
    with run.part("the Gateway API's CRDs"):
        kubectl("apply", "--server-side", "--force-conflicts", "-f", cluster.crds())
    with run.part("retic install"):
        run.command(sys.executable, "-m", "retic.cli", "install", env=environment)
    if own:
        before = kubectl("get", "namespace", "retic-system", "-o", f"jsonpath={{.metadata.annotations.{_escaped()}}}")
        if before and before != built:
            with run.part("rollout"):
                kubectl("rollout", "restart", "-n", "retic-system", *_PARTS)
                for part in _PARTS:
                    kubectl("rollout", "status", "-n", "retic-system", "--timeout=180s", part)
        kubectl("annotate", "namespace", "retic-system", "--overwrite", f"{_BUILT}={built}")


def _escaped() -> str:
    return _BUILT.replace(".", "\\.")


def main() -> int:
    """1 with the part that failed, else 0."""
    try:
        deploy(whole.given() or places.kubeconfig(), steps.Steps())
    except (steps.FailedError, steps.OverBudgetError, subprocess.SubprocessError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
