"""What the suite waits for and does not make: pods in the namespaces of the tests of gateways.

Its release 1.6.1, run for meshes alone, waits until pods are ready in four namespaces, and makes those of two
(utils/suite/suite.go, Setup). The other two get the first Deployment that the suite's own manifests have for them.
"""

import contextlib
import json
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import yaml
from tools.cluster import places, steps

NAMESPACES = ("gateway-conformance-app-backend", "gateway-conformance-web-backend")


def objects(suite: pathlib.Path) -> list[dict[str, Any]]:
    """The namespaces, and in each the first Deployment that mounts nothing."""
    given = [d for d in yaml.safe_load_all((suite / "base" / "manifests.yaml").read_text()) if d]
    found = [d for d in given if d["kind"] == "Namespace" and d["metadata"]["name"] in NAMESPACES]
    for namespace in NAMESPACES:
        found.append(
            next(
                d
                for d in given
                if d["kind"] == "Deployment"
                and d["metadata"].get("namespace") == namespace
                and not d["spec"]["template"]["spec"].get("volumes")
            )
        )
    return found


@contextlib.contextmanager
def there(suite: pathlib.Path, kubeconfig: pathlib.Path) -> Iterator[None]:
    """They are there to the block's end. FailedError where the cluster does not take them."""
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects(suite)})
    _kubectl(kubeconfig, "apply", "-f", "-", given=listed)
    try:
        yield
    finally:
        _kubectl(kubeconfig, "delete", "namespace", "--ignore-not-found", "--wait=false", *NAMESPACES)


def _kubectl(kubeconfig: pathlib.Path, *words: str, given: str = "") -> None:
    command = [places.kubectl(), f"--kubeconfig={kubeconfig}", *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise steps.FailedError(f"kubectl {words[0]}: {done.stderr.strip()}")
