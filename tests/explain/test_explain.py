"""From recorded reads to lines, over a small graph of its own; and faults to findings."""

import msgspec

from retic import findings, graph
from retic.explain import places, why
from retic.sources import model as sources

REF = findings.Ref


class Thing(msgspec.Struct, frozen=True):
    text: str


ROUTES = graph.table("explained.routes", REF, Thing)
SERVICES = graph.table("explained.services", REF, Thing)
SETTINGS = graph.table("explained.settings", str, Thing)


@graph.query
def backend(db: graph.Db, ref: REF) -> Thing | None:
    return db.get(SERVICES, ref)


@graph.query
def resource(db: graph.Db, name: str) -> str | None:
    route = db.get(ROUTES, REF("HTTPRoute", "shop", name))
    db.get(SETTINGS, "domain")
    if route is None:
        return None
    both = [db.ask(backend, REF("Service", "shop", part)) for part in route.text.split()]
    return " ".join(thing.text if thing else "?" for thing in both)


@graph.query
def failing(db: graph.Db, name: str) -> str:
    db.ask(resource, name)
    raise ValueError(name)


POSITIONS = {
    REF("HTTPRoute", "shop", "web"): sources.Position("shop.yaml", 20, {"spec.rules": 25}),
    REF("Service", "shop", "cart"): sources.Position("cart.yaml", 3),
}

OWNERS = {
    REF("Service", "shop", "gone"): REF("ReplicaSet", "shop", "middle"),
    REF("ReplicaSet", "shop", "middle"): REF("HTTPRoute", "shop", "web"),
    REF("Service", "shop", "a"): REF("Service", "shop", "b"), REF("Service", "shop", "b"): REF("Service", "shop", "a"),
}


def mesh():
    made = graph.Graph()
    made.commit([
        graph.Set(ROUTES, REF("HTTPRoute", "shop", "web"), Thing("cart gone cart")),
        graph.Set(SERVICES, REF("Service", "shop", "cart"), Thing("10.96.0.1")),
        graph.Set(SETTINGS, "domain", Thing("cluster.local")),
    ])
    return made


def explained(query, key):
    made = mesh()
    present = {row.key for row in made.rows()}
    book = why.Book(lambda _, key: key if isinstance(key, REF) else None, present.__contains__, POSITIONS, OWNERS.get)
    return why.why(made, query, key, resource=f"routes/{key}", book=book)


def test_a_resource_leads_to_lines_and_to_what_was_missing():
    answer = explained(resource, "web")
    assert answer.exists
    assert answer.sources == (
        why.Source("Service shop/cart", "cart.yaml", 3, True),
        why.Source("HTTPRoute shop/web", "shop.yaml", 20, True),
        why.Source("Service shop/gone", "shop.yaml", 20, False, "HTTPRoute shop/web"),
    )


def test_owners_that_go_in_circles_lead_nowhere():
    (source,) = explained(backend, REF("Service", "shop", "a")).sources
    assert source == why.Source("Service shop/a", "", 0, False)


def test_an_absent_resource_is_explained_by_what_is_absent():
    answer = explained(resource, "nothing")
    assert not answer.exists
    assert answer.sources == (why.Source("HTTPRoute shop/nothing", "", 0, False),)


def test_a_query_that_raises_is_explained_too():
    answer = explained(failing, "web")
    assert not answer.exists
    assert len(answer.sources) == 3


def test_the_tree_has_readable_keys_and_survives_json():
    answer = explained(failing, "web")
    (inner,) = answer.reads.children
    assert [(step.kind, step.key) for step in inner.children] == [
        ("table", "HTTPRoute shop/web"), ("table", "domain"), ("query", "Service shop/cart"),
        ("query", "Service shop/gone"),
    ]
    assert msgspec.json.decode(msgspec.json.encode(answer), type=why.Why) == answer


def test_shared_reads_are_shown_once():
    class Shape(msgspec.Struct, frozen=True):
        name: str
        port: int

    leaf = graph.Read(graph.Kind.QUERY, "leaf", Shape("a", 1), (graph.Read(graph.Kind.TABLE, "t", ("k", 2)),))
    level = leaf
    for number in range(60):  # 2 to the power of 60 paths
        level = graph.Read(graph.Kind.QUERY, f"q{number}", "k", (level, level))
    step = why._step(level)
    while step.children:
        first, *others = step.children
        assert all(other.repeated and not other.children for other in others)
        step = first
    assert (step.name, step.key) == ("t", "k 2")


def fault(path, code="RT0201", name="web"):
    return findings.Fault(code, REF("HTTPRoute", "shop", name), path, "message", "fix")


def test_faults_stand_at_their_field_or_the_nearest_around_it():
    found = places.located([fault("spec.rules[2].name"), fault("metadata.name")], POSITIONS)
    assert [(one.file, one.line) for one in found] == [("shop.yaml", 20), ("shop.yaml", 25)]
    assert found[0].severity is findings.Severity.ERROR


def test_a_fault_of_an_object_in_no_file_has_no_place():
    (found,) = places.located([fault("spec", name="made")], POSITIONS)
    assert (found.file, found.line) == ("", 0)


def test_order_is_that_of_the_files_without_repetitions():
    warning = fault("spec.rules", "RT0206")
    found = places.located([warning, fault("spec.rules"), fault("spec.rules"), fault("")], POSITIONS)
    assert [(one.line, one.code) for one in found] == [(20, "RT0201"), (25, "RT0201"), (25, "RT0206")]
