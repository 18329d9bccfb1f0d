"""control.json: what the control plane is told at its start."""

import pathlib
from typing import Literal

import msgspec

from retic.control.model import Accepted, TrustedRoot

__all__ = ["Accepted", "Authority", "Config", "Counting", "TrustedRoot", "load"]


class Authority(msgspec.Struct, frozen=True):
    """A user's own authority: the files of its certificate and chain, its key, and its roots ("": in the chain)."""

    certificate: str
    key: str
    roots: str = ""


class Counting(msgspec.Struct, frozen=True):
    """Where global rate limits are counted: the address of a Redis, "" for in memory, and the file or folder with its
    user and password (`retic.counting.place`)."""

    redis: str = ""
    credentials: str = ""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All paths absolute, addresses host:port, CIDRs as text.

    `listen` serves discovery and signing to clients with a certificate, `enrol` enrolment to those without
    one yet. `lifetime` of workload certificates is in seconds. `enrolment`, `mode` and `access_logs`: see
    `mesh.network.Settings`.
    `authority` None: one of the mesh's own is made. `accepted` is what the mesh begins with.
    `metrics` is where Prometheus reads, "": nowhere.
    """

    folder: pathlib.Path
    listen: str = "172.31.255.1:15010"
    enrol: str = "172.31.255.1:15011"
    trust_domain: str = "cluster.local"
    pod_networks: tuple[str, ...] = ("10.244.0.0/16",)
    service_networks: tuple[str, ...] = ("10.96.0.0/16",)
    netns_folder: str = ""
    lifetime: float = 86400.0
    enrolment: Literal["all", "labelled"] = "all"
    mode: Literal["STRICT", "PERMISSIVE"] = "STRICT"
    access_logs: bool = False
    authority: Authority | None = None
    accepted: Accepted = Accepted()
    counting: Counting = Counting()
    metrics: str = ""


def load(file: pathlib.Path) -> Config:
    """The configuration in the file. ValueError naming what is wrong with it."""
    return msgspec.json.decode(file.read_bytes(), type=Config, dec_hook=_path)


def _path(wanted: type, value: object) -> object:
    if wanted is pathlib.Path and isinstance(value, str):
        return pathlib.Path(value)
    raise NotImplementedError
