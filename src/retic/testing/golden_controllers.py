"""Golden folders of local mode's controllers: from manifests to objects and their statuses, as text.

A case is a folder: `in.yaml`, then, when there is one, `then.yaml`, which takes its place when everything is at
rest, and `seconds`: how long to wait at the end, for what is due later. Expected are `findings.yaml` and a file
of each kind. All objects of a case are in the namespace that is called as its folder.

What a cluster makes of a case is compared with its folder by

    kubectl get pods,deploy,rs,sts,ds,jobs,cronjobs,services,endpointslices -n CASE -o json |
      python -m retic.testing.golden_controllers tests/golden/controllers/CASE
"""

import difflib
import json
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import yaml

from retic import objects
from retic.local import workloads
from retic.objects import core
from retic.sources import manifests, model
from retic.testing import normal, settled

STEPS = ("in.yaml", "then.yaml")


class Case:
    """One folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.loaded = [manifests.load([folder / step]) for step in STEPS if (folder / step).exists()]

    @property
    def seconds(self) -> float:
        """How long is waited at the end."""
        file = self.folder / "seconds"
        return float(file.read_text()) if file.exists() else 0.0

    def expected(self) -> dict[str, str]:
        """What the folder holds now, by path within it."""
        files = [file for file in sorted(self.folder.glob("*.yaml")) if file.name not in STEPS]
        return {file.name: file.read_text() for file in files}

    def actual(self, steps: int = len(STEPS)) -> dict[str, str]:
        """What it should hold, made anew, without a process; `steps`: how many manifests are applied."""
        world = workloads.World()
        now = settled.START
        for loaded in self.loaded[:steps]:
            given = workloads.identified(located.object for located in loaded.objects)
            world = settled.settle(given, world, now)
        if self.seconds:
            world = settled.settle(given, world, now + self.seconds)
        found = [{"code": f.code, "object": str(f.object), "path": f.path, "message": f.message} for f in world.faults]
        return {"findings.yaml": _dump(found), **self.files(world.listed(given).values())}

    def files(self, values: Iterable[objects.Object]) -> dict[str, str]:
        """The files of these objects: those of the case's namespace, normalised."""
        return self.files_of_json(objects.encode(value) for value in values)

    def files_of_json(self, values: Iterable[normal.Json]) -> dict[str, str]:
        """As `files`, of Kubernetes' JSON."""
        mine = [value for value in values if value["metadata"].get("namespace") == self.folder.name]
        found = normal.normal(mine, _asked(self.loaded))
        return {f"{kind}.yaml": _dump(items) for kind, items in found.items()}


def _asked(loaded: Iterable[model.Loaded]) -> set[str]:
    """The addresses that the manifests ask for."""
    given = [located.object for each in loaded for located in each.objects]
    services = [value for value in given if isinstance(value, core.Service)]
    return {value.spec.cluster_ip for value in services if value.spec.cluster_ip}


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=True, width=110, allow_unicode=True)


def cases(folder: pathlib.Path) -> list[pathlib.Path]:
    """The case folders below `folder`, by name."""
    return sorted(f.parent for f in folder.glob("*/in.yaml"))


def difference(folder: pathlib.Path, found: Iterable[normal.Json]) -> str:
    """What these objects have otherwise than the folder says, as a diff; "" when nothing."""
    case = Case(folder)
    wanted, have = case.expected(), case.files_of_json(found)
    lines: list[str] = []
    for name in sorted({*wanted, *have} - {"findings.yaml"}):
        one, other = (files.get(name, "").splitlines(keepends=True) for files in (wanted, have))
        lines += difflib.unified_diff(one, other, f"golden/{name}", f"cluster/{name}")
    return "".join(lines)


if __name__ == "__main__":
    text = difference(pathlib.Path(sys.argv[1]), json.load(sys.stdin)["items"])
    sys.stdout.write(text)
    sys.exit(bool(text))
