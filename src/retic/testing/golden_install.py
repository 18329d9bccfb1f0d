"""Golden folders of the installation: from `values.yaml` to every object, as `objects.yaml`. No code in a case."""

import pathlib

from retic.install import given, manifest


class Case:
    """One folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def expected(self) -> dict[str, str]:
        """What the folder holds now, by path within it."""
        path = self.folder / "objects.yaml"
        return {"objects.yaml": path.read_text()} if path.exists() else {}

    def actual(self) -> dict[str, str]:
        """What it should hold, made anew."""
        values = given.load(given.collect([self.folder / "values.yaml"], []))
        return {"objects.yaml": manifest.text(manifest.render(values))}


def cases(folder: pathlib.Path) -> list[pathlib.Path]:
    """Every case below `folder`."""
    return sorted(path.parent for path in folder.glob("*/values.yaml"))
