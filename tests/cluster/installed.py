"""Retic on a cluster with nodes, as a user has it: installed by its own command, from the image of this tree."""

import contextlib
import os
import pathlib
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping

from tests.cluster import kubectl as commands
from tools import deploy
from tools.cluster import steps

from retic.install import values

IMAGE = values.IMAGE


class Installed:
    """One installation. Commands run as a user's would, with the cluster's kubeconfig."""

    def __init__(self, kubeconfig: pathlib.Path) -> None:
        self.kubeconfig = kubeconfig

    def retic(self, *words: str, seconds: float = 600) -> str:
        """What it prints. AssertionError with all of that where it fails."""
        done = self.attempt(*words, seconds=seconds)
        assert done.returncode == 0, f"retic {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(self, *words: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it."""
        return subprocess.run(
            [sys.executable, "-m", "retic.cli", *words],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def kubectl(self, namespace: str = "retic-system") -> commands.Kubectl:
        """kubectl in a namespace."""
        return commands.Kubectl(self.kubeconfig, namespace)

    @contextlib.contextmanager
    def namespace(self, labels: Mapping[str, str] | None = None) -> Iterator[commands.Kubectl]:
        """kubectl in a new namespace, with these labels (in the mesh unless told otherwise), to the block's end."""
        made = self.kubectl(f"retic-test-{secrets.token_hex(3)}")
        chosen = {"retic.dev/mesh": "enabled"} if labels is None else dict(labels)
        made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace, "labels": chosen}})
        try:
            made.run("wait", "serviceaccount/default", "--for=create", "--timeout=110s")
            yield made
        finally:
            made.run("delete", "namespace", made.namespace, "--wait=false")

    @contextlib.contextmanager
    def values(self, **wanted: str) -> Iterator[None]:
        """The installation with other values, to the block's end, and everything as it was after that."""
        self.retic("upgrade", *(f"--set={name}={value}" for name, value in wanted.items()))
        try:
            yield
        finally:
            self.retic("upgrade", "--reset-values")
            self.settled()

    def settled(self) -> None:
        """Wait until no part of it rolls any more."""
        for what in ("daemonset/retic-node", "deployment/retic-controller"):
            self.kubectl().rolled(what)


@contextlib.contextmanager
def on(kubeconfig: pathlib.Path) -> Iterator[Installed]:
    """Retic with its defaults on that cluster; taken away at the end unless it was there before."""
    made = Installed(kubeconfig)
    was = made.kubectl().attempt("get", "configmap", "retic-install").returncode == 0
    deploy.deploy(kubeconfig, steps.Steps())
    try:
        yield made
    finally:
        if not was:
            made.retic("uninstall", seconds=400)
