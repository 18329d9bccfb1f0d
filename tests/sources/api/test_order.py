"""There is no order between kinds at an API server: whichever comes first, the mesh comes to the same answers."""

import pathlib
import random

import pytest

from retic import graph, xds
from retic.envoy import names, resources
from retic.mesh import faults, tables
from retic.sources import store, stream
from retic.testing import golden

CASES = sorted(path for path in (pathlib.Path(__file__).parents[2] / "golden" / "cases").iterdir() if path.is_dir())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("folder", CASES, ids=lambda path: path.name)
def test_kinds_in_any_order_come_to_the_same(folder, seed):
    case = golden.Case(folder)
    kinds = {}
    for located in case.loaded.objects:
        ref = located.ref
        kinds.setdefault(ref.kind, []).append(stream.Change(ref.kind, ref.namespace, ref.name, located.object))
    order = list(kinds.values())
    random.Random(seed).shuffle(order)

    case.db = fresh(case)
    kept = store.Store(case.db, tables.changes)
    asked(case)
    for batch in order:
        kept.apply(batch)
        asked(case)
    assert case.actual() == case.expected()


def fresh(case):
    """A graph with the case's settings and no object."""
    settings = case.db.get(tables.SETTINGS, tables.ONE)
    made = graph.Graph()
    made.commit([graph.Set(tables.SETTINGS, tables.ONE, settings)])
    return made


def asked(case):
    """Every answer of the case as it is by now, so that all of them have to be mended later."""
    lines = (line.split() for line in (case.folder / "render").read_text().splitlines() if line.strip())
    for client, name in lines:
        case.db.ask(resources.resource, resources.scope(names.parse(name).type_url, name, xds.Client(client)))
    for located in case.loaded.objects:
        case.db.ask(faults.of, located.ref)
