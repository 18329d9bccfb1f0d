"""Which proxies have what an object came to."""

import types

from retic import findings
from retic.kube import live, progress
from retic.testing import clock

REF = findings.Ref("HTTPRoute", "shop", "web")
ROUTES = "routes"


class Stream:
    """One proxy's stream, whose debts a test sets."""

    def __init__(self, name, *pending, begun=True):
        self.client = types.SimpleNamespace(id=name)
        self.pending, self.refused, self.begun = set(pending), set(), begun

    @property
    def idle(self):
        return not self.pending

    def progress(self):
        refused = tuple((ROUTES, types.SimpleNamespace(name=name)) for name in self.refused)
        return types.SimpleNamespace(pending=tuple((ROUTES, name) for name in self.pending), refused=refused)


class House:
    def __init__(self, *streams):
        self.all = list(streams)
        self.told = []
        self.made = progress.Progress(self, clock.Fake(), lambda refs: self.told.append(set(refs)))

    def streams(self):
        return iter(self.all)

    def of(self, generation=1):
        self.made.look()
        return self.made.of(REF, generation, lambda client: client.startswith("node/"))


def test_a_proxy_has_it_once_what_it_owed_then_is_answered():
    one, two, gate = Stream("node/1"), Stream("node/2"), Stream("gateway/x/y")
    house = House(one, two, gate)
    house.of()
    one.pending = {"a", "b"}
    house.made.changed(REF, 1)
    assert house.of() == live.Live(1, 2)
    one.pending = {"b", "c"}
    assert house.of() == live.Live(1, 2)
    one.pending = {"c"}
    assert house.of() == live.Live(2, 2)
    assert house.told[-1] == {REF}


def test_an_older_generation_counts_for_nothing():
    house = House(Stream("node/1"))
    assert house.of() == live.Live(0, 1)
    house.made.changed(REF, 1)
    assert house.of() == live.Live(1, 1)
    assert house.of(2) == live.Live(0, 1)


def test_a_stream_that_begins_owes_everything():
    house = House()
    house.made.changed(REF, 1)
    late = Stream("node/1", begun=False)
    house.all.append(late)
    assert house.of() == live.Live(0, 1)
    late.begun, late.pending = True, {"z"}
    assert house.of() == live.Live(0, 1)
    late.pending = set()
    assert house.of() == live.Live(1, 1)


def test_a_stream_that_ends_counts_no_more():
    one = Stream("node/1")
    house = House(one)
    house.of()
    one.pending = {"a"}
    house.made.changed(REF, 1)
    house.all.clear()
    assert house.of() == live.Live(0, 0)


def test_a_refusal_stands_against_the_object_until_it_changes():
    one = Stream("node/1")
    house = House(one)
    house.of()
    one.pending = {"a"}
    house.made.changed(REF, 1)
    one.pending, one.refused = set(), {"a", "unrelated"}
    assert house.of() == live.Live(1, 1, ("a",))
    house.made.changed(REF, 2)
    assert house.of(2) == live.Live(1, 1)


def test_what_is_gone_is_forgotten():
    house = House(Stream("node/1"))
    house.made.changed(REF, 1)
    house.made.changed(REF, None)
    assert house.of() == live.Live(0, 1)
