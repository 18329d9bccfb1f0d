"""`retic ca rotate` and `retic ca status`: order a rotation of the root, and watch it. No key passes here."""

import pathlib
import time
from collections.abc import Callable

import msgspec

from retic.cli import cluster, failure, running, which
from retic.control import model
from retic.kube import ordering

_EVERY = 1.0  # seconds between two looks


class _Local:
    """The mesh of a state folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def rotate(self) -> ordering.Status:
        return self._ask(model.AskRotate())

    def status(self) -> ordering.Status:
        return self._ask(model.AskRoot())

    def _ask(self, request: model.Request) -> ordering.Status:
        return msgspec.convert(running.ask(self._folder, request), ordering.Status)


class _Cluster:
    """The mesh of a cluster."""

    def __init__(self, target: cluster.Target) -> None:
        self._target = target

    def rotate(self) -> ordering.Status:
        return cluster.run(self._target, ordering.rotate)

    def status(self) -> ordering.Status:
        return cluster.run(self._target, ordering.status)


def rotate(options: which.Options, *, wait: bool, timeout: float) -> None:
    """Order it and, with `wait`, print each step until the new root signs. Raises Failure."""
    mesh = _mesh(options)
    now = _asked(mesh.rotate)
    print(now, flush=True)
    end = time.monotonic() + timeout
    while wait and (now.ordered or now.phase == "spreading"):
        if time.monotonic() > end:
            raise failure.Failure(f"after {timeout:g} s not done, and going on: {now}")
        time.sleep(_EVERY)
        said, now = str(now), _asked(mesh.status)
        if str(now) != said:
            print(now, flush=True)


def status(options: which.Options, *, as_json: bool) -> None:
    """Print it. Raises Failure."""
    found = _asked(_mesh(options).status)
    print(msgspec.json.encode(found).decode() if as_json else found)


def _mesh(options: which.Options) -> "_Local | _Cluster":
    where = which.mesh(options)
    return _Cluster(where) if isinstance(where, cluster.Target) else _Local(where)


def _asked(question: Callable[[], ordering.Status]) -> ordering.Status:
    try:
        return question()
    except ordering.CannotRotateError as error:
        raise failure.Failure(str(error)) from error
