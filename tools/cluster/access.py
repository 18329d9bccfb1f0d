"""Kubeconfigs: where a server is, whom to trust, and who one is. Secrets: mode 0600."""

import base64
import json
import os
import pathlib

from tools.cluster import certificates


def write(path: pathlib.Path, server: str, trust: pathlib.Path, pair: certificates.Pair, *, user: str) -> pathlib.Path:
    """A kubeconfig that holds everything itself, so that it can be copied."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "retic",
        "contexts": [{"name": "retic", "context": {"cluster": "retic", "user": user}}],
        "clusters": [
            {"name": "retic", "cluster": {"server": server, "certificate-authority-data": _encoded(trust)}},
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _encoded(pair.certificate),
                    "client-key-data": _encoded(pair.key),
                },
            },
        ],
    }
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=1)
    return path


def _encoded(path: pathlib.Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
