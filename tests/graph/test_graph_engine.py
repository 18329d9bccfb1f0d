"""What the engine promises of commits, cut-off, laziness, exceptions, cycles and depth."""

import engine_audit
import engine_shop as shop
import pytest

from retic import graph

ON, OFF = shop.Pod("n1", True), shop.Pod("n1", False)


@pytest.fixture
def of() -> graph.Graph:
    made = graph.Graph()
    made.commit([graph.Set(shop.PODS, "a", ON), graph.Set(shop.PODS, "b", ON)])
    return made


def runs(of: graph.Graph, *changes: graph.Change) -> graph.Counters:
    before = of.counters
    of.commit(changes)
    engine_audit.audit(of)
    return of.counters - before


def test_an_equal_answer_stops_the_change(of):
    with of.watch(shop.summary, "n1") as watch:
        done = runs(of, graph.Set(shop.PODS, "a", OFF))
        # ready(a) and ready_on change; some_on is still True, so summary is not run.
        assert done == graph.Counters(run=3, cut_off=1, changed=2, failed=0)
        assert watch.latest == "up"
        assert runs(of, graph.Set(shop.PODS, "b", OFF)).run == 4
        assert watch.latest == "down"


def test_what_is_not_watched_is_not_run(of):
    assert of.ask(shop.summary, "n1") == "up"
    assert runs(of, graph.Set(shop.PODS, "a", OFF), graph.Set(shop.PODS, "b", OFF)).run == 0
    assert of.ask(shop.ready, "a") is False
    before = of.counters
    assert of.ask(shop.summary, "n1") == "down"
    assert (of.counters - before).run == 4  # ready(b), ready_on, some_on, summary
    assert of.ask(shop.summary, "n1") == "down"
    assert (of.counters - before).run == 4


def test_a_change_and_back_while_nobody_looked_runs_only_what_read_it(of):
    assert of.ask(shop.summary, "n1") == "up"
    of.commit([graph.Set(shop.PODS, "a", OFF)])
    of.commit([graph.Set(shop.PODS, "a", ON)])
    before = of.counters
    assert of.ask(shop.summary, "n1") == "up"
    # The change left the row's place in the index alone: only ready(a) is run, and comes out equal.
    assert of.counters - before == graph.Counters(run=1, cut_off=1, changed=0, failed=0)


def test_one_commit_of_many_changes_runs_each_watched_answer_once(of):
    with of.watch(shop.ready_on, "n1") as watch:
        pods = [graph.Set(shop.PODS, f"p{number}", ON) for number in range(20)]
        assert runs(of, *pods).run == 20 + 1
        assert len(watch.latest) == 22


def test_an_equal_row_is_no_change(of):
    revision = of.revision
    with of.watch(shop.summary, "n1"):
        done = runs(of, graph.Set(shop.PODS, "a", shop.Pod("n1", True)), graph.Delete(shop.PODS, "zzz"))
    assert done.run == 0
    assert of.revision == revision


def test_equal_rows_of_different_classes_are_a_change():
    numbers = graph.table("numbers", str, int)
    of = graph.Graph()
    of.commit([graph.Set(numbers, "a", 1)])
    assert of.commit([graph.Set(numbers, "a", True)]) == 2
    assert of.get(numbers, "a") is True


def test_of_several_changes_of_a_row_the_last_counts(of):
    changes = [graph.Delete(shop.PODS, "a"), graph.Set(shop.PODS, "a", OFF), graph.Set(shop.PODS, "a", ON)]
    with of.watch(shop.ready, "a"):
        assert runs(of, *changes).run == 0


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (graph.Set(shop.PODS, "bad", shop.Pod("nowhere", True)), ValueError),
        (graph.Set(shop.PODS, 7, ON), TypeError),
        (graph.Set(shop.PODS, "bad", "a string"), TypeError),
        (graph.Set(shop.PODS, "bad", None), TypeError),
        (graph.Delete(shop.PODS, 7), TypeError),
        ("not a change", TypeError),
    ],
)
def test_a_refused_commit_changes_nothing(of, bad, error):
    with of.watch(shop.ready_on, "n1") as watch:
        rows, before, revision = list(of.rows()), of.counters, of.revision
        with pytest.raises(error):
            of.commit([graph.Delete(shop.PODS, "a"), graph.Set(shop.PODS, "c", ON), bad])
        assert (list(of.rows()), of.counters, of.revision) == (rows, before, revision)
        assert of.find(shop.BY_NODE, "n1") == {"a", "b"}
        assert watch.latest == ("a", "b")
    engine_audit.audit(of)


def test_absence_is_a_read(of):
    with of.watch(shop.greeting, "x") as watch:
        assert watch.latest == "hello nobody"
        of.commit([graph.Set(shop.NAMES, "x", "Ann")])
        assert watch.latest == "hello Ann"
        of.commit([graph.Delete(shop.NAMES, "x")])
        assert watch.latest == "hello nobody"


def test_an_empty_look_up_is_a_read(of):
    with of.watch(shop.ready_on, "n2") as watch:
        of.commit([graph.Set(shop.PODS, "a", shop.Pod("n2", True))])
        assert watch.latest == ("a",)


def test_deleted_rows_leave_nothing():
    of = graph.Graph(cold=0)
    with of.watch(shop.ready_on, "n1"):
        of.commit([graph.Set(shop.PODS, f"p{number}", ON) for number in range(50)])
        assert of.memos == 51
        of.commit([graph.Delete(shop.PODS, f"p{number}") for number in range(50)])
        assert of.memos == 1
    assert of.memos == 0
    content = of._inputs.rows(shop.PODS)
    entries = content.indexes[shop.BY_NODE]
    assert [len(kept) for kept in (content.rows, content.cells, entries.found_by, entries.buckets)] == [0] * 4


def test_an_index_declared_late_finds_earlier_rows():
    table = graph.table("late", str, int)
    of = graph.Graph()
    of.commit([graph.Set(table, "a", 1)])
    by_value = graph.index(table, lambda key, value: [value])
    assert of.find(by_value, 1) == {"a"}
    of.commit([graph.Set(table, "a", 2)])
    assert (of.find(by_value, 1), of.find(by_value, 2)) == (frozenset(), {"a"})


def test_an_exception_is_memoised_and_watchers_keep_the_last_good_value():
    told = []
    of = graph.Graph(on_error=lambda query, key, error: told.append((query, key, str(error))))
    of.commit([graph.Set(shop.PODS, "a", ON)])
    with of.watch(shop.must_be_ready, "a") as watch:
        assert runs(of, graph.Set(shop.PODS, "a", OFF)).failed == 1
        assert isinstance(watch.error, shop.Unready)
        assert watch.latest == "a is ready"
        assert told == [(shop.must_be_ready, "a", "a")]
        before = of.counters
        with pytest.raises(shop.Unready):
            of.ask(shop.must_be_ready, "a")
        assert of.counters == before
        assert {read.key for read in of.inputs(shop.must_be_ready, "a")} == {"a"}
        of.commit([graph.Set(shop.PODS, "a", ON)])
        assert (watch.error, watch.latest) == (None, "a is ready")


def test_latest_raises_what_the_query_raised_when_there_never_was_a_value(of):
    with of.watch(shop.must_be_ready, "nobody") as watch, pytest.raises(shop.Unready):
        _ = watch.latest


def test_a_kept_exception_holds_no_frames():
    of = graph.Graph(on_error=lambda query, key, error: traces.append(error.__traceback__ is not None))
    traces: list[bool] = []
    with of.watch(shop.must_be_ready, "a") as watch:
        assert traces == [True]
        assert watch.error.__traceback__ is None


def test_a_failing_callback_does_not_keep_others_from_being_told(of):
    def fail(watch):
        raise RuntimeError("no")

    told = []
    with of.watch(shop.ready, "a", ready=fail), of.watch(shop.ready, "a", ready=told.append) as second:
        with pytest.raises(ExceptionGroup):
            of.commit([graph.Set(shop.PODS, "a", OFF)])
        assert told == [second]
        assert of.get(shop.PODS, "a") == OFF


CYCLE = (graph.Call(shop.even.name, 4), graph.Call(shop.odd.name, 4), graph.Call(shop.even.name, 4))


def test_a_cycle_is_named_whole():
    of = graph.Graph()
    with pytest.raises(graph.Cycle) as caught:
        of.ask(shop.even, 4)
    assert caught.value.path == CYCLE
    assert str(caught.value).count(" -> ") == 2
    assert of.ask(shop.patient, 4) == "cycle of 2"
    engine_audit.audit(of)


def test_a_member_cannot_catch_its_own_cycle():
    with pytest.raises(graph.Cycle):
        graph.Graph().ask(shop.stubborn, 1)


@pytest.mark.parametrize("first", [shop.even, shop.odd, shop.patient])
def test_a_cycle_heals_when_its_inputs_change(first):
    of = graph.Graph(cold=0)
    watches = [of.watch(query, 4) for query in (first, shop.even, shop.odd, shop.patient)]
    assert isinstance(watches[1].error, graph.Cycle)
    assert isinstance(watches[2].error, graph.Cycle)
    of.commit([graph.Set(shop.FLAGS, "stop", True)])
    assert [watch.latest for watch in watches[1:]] == [True, False, "True"]
    of.commit([graph.Delete(shop.FLAGS, "stop")])
    assert watches[3].latest == "cycle of 2"
    assert isinstance(watches[2].error, graph.Cycle)
    engine_audit.audit(of)
    for watch in watches:
        watch.close()
    assert of.memos == 0


def test_bodies_nest_to_the_stated_depth():
    of = graph.Graph(cold=10 * graph.DEPTH)
    of.commit([graph.Set(shop.NAMES, "bottom", "x")])
    assert of.ask(shop.below, graph.DEPTH - 1) == "x"
    with pytest.raises(graph.TooDeep):
        of.ask(shop.below, 3 * graph.DEPTH)


def test_a_chain_far_deeper_than_bodies_nest_is_kept_up_to_date():
    of = graph.Graph(cold=0)
    of.commit([graph.Set(shop.NAMES, "bottom", "x")])
    depth = 8 * graph.DEPTH
    watch = of.watch(shop.below, 0)
    for step in range(1, depth + 1):
        above = of.watch(shop.below, step)
        watch.close()
        watch = above
    assert runs(of, graph.Set(shop.NAMES, "bottom", "y")).run == depth + 1
    assert watch.latest == "y"
    assert len(of.inputs(shop.below, depth)) == 1
    watch.close()
    assert of.memos == 0


def test_the_tree_of_reads(of):
    read = graph.Read
    index, table, query = graph.Kind.INDEX, graph.Kind.TABLE, graph.Kind.QUERY
    assert of.reads(shop.ready_on, "n1") == read(
        query, shop.ready_on.name, "n1",
        (
            read(index, "pods.by_node", "n1"),
            read(query, shop.ready.name, "a", (read(table, "pods", "a"),)),
            read(query, shop.ready.name, "b", (read(table, "pods", "b"),)),
        ),
    )  # fmt: skip
    assert of.inputs(shop.summary, "n1") == {graph.Input("pods", "a"), graph.Input("pods", "b")}


def test_two_tables_of_one_name_are_refused(of):
    with pytest.raises(graph.Misuse):
        of.commit([graph.Set(graph.table("pods", str, str), "a", "b")])


INTERRUPTS: list[str] = []


@graph.query
def interrupted(db: graph.Db, key: str) -> str:
    name = db.ask(shop.greeting, key)
    db.get(shop.NAMES, f"{key} only read when interrupted")
    if INTERRUPTS:
        raise KeyboardInterrupt(INTERRUPTS.pop())
    return name


def test_an_interrupted_commit_is_applied_and_evaluated_by_the_next():
    of = graph.Graph(cold=0)
    with of.watch(interrupted, "x") as watch, of.watch(shop.greeting, "x") as other:
        INTERRUPTS.append("Ctrl-C")
        with pytest.raises(KeyboardInterrupt):
            of.commit([graph.Set(shop.NAMES, "x", "Ann")])
        assert watch.latest == "hello nobody"
        of.commit([])
        assert watch.latest == other.latest == "hello Ann"
        engine_audit.audit(of)
    assert of.memos == 0


COSTS = (100, 10_000)


def test_a_changed_row_costs_the_same_at_any_size():
    def cost(size: int) -> tuple[graph.Counters, int]:
        of = graph.Graph(cold=0)
        pods = {f"p{number}": shop.Pod(f"n{number // 10}", True) for number in range(size)}
        of.commit(graph.Set(shop.PODS, key, pod) for key, pod in pods.items())
        watches = [of.watch(shop.summary, f"n{number}") for number in range(size // 10)]
        done = runs(of, graph.Set(shop.PODS, "p5", shop.Pod("n0", False)))
        assert all(not watch.closed for watch in watches)
        return done, len(of.reads(shop.ready_on, "n0").children)

    assert cost(COSTS[0]) == cost(COSTS[1]) == (graph.Counters(run=3, cut_off=1, changed=2, failed=0), 11)
