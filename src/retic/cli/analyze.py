"""`retic analyze`: what is wrong with manifests, without running them."""

import pathlib
from collections.abc import Sequence

from retic import findings
from retic.cli import failure, show
from retic.explain import places


def run(files: Sequence[pathlib.Path], *, as_json: bool) -> int:
    """Print the findings; 1 when one of them is an error, else 0. Raises Failure for a missing path."""
    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise failure.Failure(f"{', '.join(missing)}: no such file or folder", code=2)
    found = examine(files)
    if as_json:
        show.json({"findings": found})
    else:
        show.print_findings(found)
    return int(any(one.severity is findings.Severity.ERROR for one in found))


def examine(files: Sequence[pathlib.Path]) -> tuple[findings.Finding, ...]:
    """The faults of form and of meaning, in the order of the files."""
    from retic import wiring
    from retic.sources import manifests

    loaded = manifests.load(files)
    return places.ordered([*loaded.findings, *wiring.offline(loaded)])
