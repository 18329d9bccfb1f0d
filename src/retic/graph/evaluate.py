"""Bringing answers up to date: marking after a change, verifying before an answer is used, running bodies.

A change marks what read it DIRTY, and everything behind that MAYBE. Before a MAYBE answer is used, what it
read is brought up to date in the order it was read; as soon as one of these turns out different the body
runs again, and if none does the answer holds without running. Nothing is run that was not asked for.

Marking and verifying do not recurse. Bodies that ask questions never answered before do run inside each
other, at most `DEPTH` of them.
"""

import sys
import types
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from retic.graph import declared, errors, inputs, memory, node

K = TypeVar("K")
V = TypeVar("V")
I = TypeVar("I")  # noqa: E741

DEPTH = 1_000
"""How many query bodies may run inside each other."""

_FRAMES_PER_BODY = 20  # Python frames that one body may take: three are the engine's

OnError = Callable[[declared.Query[Any, Any], Any, Exception], None]


class Frame:
    """A running body: what it has read so far, the exceptions that reached it from other answers, and
    the cycle that it turned out to be a member of."""

    __slots__ = ("caught", "cycle", "memo", "reads", "union")

    def __init__(self, memo: node.Memo) -> None:
        self.memo = memo
        self.reads: dict[node.Node, None] = {}
        self.caught: list[Exception] = []
        self.cycle: errors.Cycle | None = None
        self.union: dict[node.Node, None] = {}


@dataclass(slots=True)
class Failure:
    """An exception as first raised by a body, until it is told."""

    memo: node.Memo
    error: Exception
    trace: types.TracebackType | None


class Evaluator(declared.Db):
    """Answers over inputs and memos; the db that query bodies are given."""

    __slots__ = (
        "_changed", "_cut_off", "_failed", "_failures", "_frame", "_frames", "_inputs", "_memory", "_news",
        "_on_error", "_run_count",
    )  # fmt: skip

    def __init__(self, *, cold: int, on_error: OnError | None) -> None:
        self._inputs = inputs.Inputs()
        self._memory = memory.Memory(cold)
        self._on_error = on_error
        self._frames: list[Frame] = []
        self._frame: Frame | None = None
        self._failures: list[Failure] = []
        self._news: dict[node.Memo, None] = {}
        self._run_count = self._cut_off = self._changed = self._failed = 0

    def get(self, table: declared.Table[K, V], key: K) -> V | None:
        rows = self._inputs.rows(table)
        if self._frame is not None:
            self._frame.reads[rows.cell(key)] = None
        return rows.rows.get(key)

    def find(self, index: declared.Index[I, K], value: I) -> frozenset[K]:
        entries = self._inputs.entries(index)
        if self._frame is not None:
            bucket = entries.bucket(value)
            self._frame.reads[bucket] = None
            return bucket.found()
        found = entries.buckets.get(value)
        return found.found() if found is not None else frozenset()

    def ask(self, query: declared.Query[K, V], key: K) -> V:
        frame = self._frame
        if frame is None:
            return self._ask_from_outside(query, key)
        memo = self._memory.memo(query, key)
        if memo.running:
            raise self._cycle(memo)
        if memo.state is not node.CLEAN:
            self._refresh(memo)
        frame.reads[memo] = None
        if memo.error is not None:
            frame.caught.append(memo.error)
            raise memo.error.with_traceback(None)
        return memo.value  # type: ignore[no-any-return]

    def _ask_from_outside(self, query: declared.Query[K, V], key: K) -> V:
        memo = self._memory.memo(query, key)
        if memo.state is not node.CLEAN:
            self._bring_up([memo])
        self._memory.used(memo)
        traces = {id(failure.error): failure.trace for failure in self._failures}
        self._conclude()
        error = memo.error
        if error is not None:
            raise error.with_traceback(traces.get(id(error)))
        return memo.value  # type: ignore[no-any-return]

    def _spread(self, touched: Iterable[node.Node], due: dict[node.Memo, None]) -> None:
        """Mark what follows from changed inputs; add the watched answers among it to `due`."""
        stack: list[node.Memo] = []
        for changed in touched:
            for reader in changed.readers:
                if reader.state is node.CLEAN:
                    stack.append(reader)
                reader.state = node.DIRTY
        while stack:
            memo = stack.pop()
            if memo.watches:
                due[memo] = None
            for reader in memo.readers:
                if reader.state is node.CLEAN:
                    reader.state = node.MAYBE
                    stack.append(reader)

    def _bring_up(self, memos: Iterable[node.Memo]) -> None:
        """Refresh from outside of any body, with a stack that has room for `DEPTH` of them."""
        limit = sys.getrecursionlimit()
        wanted = DEPTH * _FRAMES_PER_BODY + 1_000
        if limit < wanted:
            sys.setrecursionlimit(wanted)
        self._memory.held = True
        try:
            for memo in memos:
                self._refresh(memo)
        finally:
            self._memory.held = False
            if limit < wanted:
                sys.setrecursionlimit(limit)

    def _refresh(self, memo: node.Memo) -> None:
        """Bring an answer up to date. Afterwards it is clean, or a body asked for too much (`TooDeep`)."""
        path = [memo]
        at = [0]
        while path:
            top = path[-1]
            if top.state is node.MAYBE:
                stale = _next_stale(top, at)
                if stale is None:
                    top.state = node.CLEAN
                elif stale.running:  # asked again, it would ask the same: let its body find the cycle
                    top.state = node.DIRTY
                else:
                    path.append(stale)
                    at.append(0)
                    continue
            if top.state is node.DIRTY:
                self._run(top)
            path.pop()
            at.pop()

    def _run(self, memo: node.Memo) -> None:
        if len(self._frames) >= DEPTH:
            raise errors.TooDeep(f"more than {DEPTH} bodies inside each other at {call(memo)}")
        frame = Frame(memo)
        outer, self._frame = self._frame, frame
        self._frames.append(frame)
        memo.running = True
        value: Any = node.MISSING
        error: Exception | None = None
        try:
            value = memo.query.function(self, memo.key)
        except Exception as raised:
            error = raised
        except BaseException:
            memory.forget_unread(frame.reads)
            raise
        finally:
            memo.running = False
            self._frames.pop()
            self._frame = outer
        self._record(frame, value, frame.cycle or error)

    def _record(self, frame: Frame, value: Any, error: Exception | None) -> None:
        """Take over what a body came to."""
        memo = frame.memo
        self._run_count += 1
        if frame.cycle is None:
            self._memory.reread(memo, frame.reads)
        else:
            self._memory.reread(memo, frame.union)
            memory.forget_unread(frame.reads)
        memo.state = node.CLEAN
        if error is None:
            changed = self._succeed(memo, value)
        else:
            changed = self._fail(memo, error, told=any(error is caught for caught in frame.caught))
        for caught in frame.caught:
            caught.__traceback__ = None  # it would keep this body's frame
        if changed:
            for reader in memo.readers:
                if reader.state is node.MAYBE:
                    reader.state = node.DIRTY

    def _succeed(self, memo: node.Memo, value: Any) -> bool:
        equal = memo.value is not node.MISSING and _equal(memo.value, value)
        if not equal:
            memo.value = value
            memo.version += 1
            if memo.watches:
                self._news[memo] = None
        if equal and memo.error is None:
            self._cut_off += 1
            return False
        memo.error = None
        self._changed += 1
        return True

    def _fail(self, memo: node.Memo, error: Exception, *, told: bool) -> bool:
        self._failed += 1
        if not told:
            self._failures.append(Failure(memo, error, error.__traceback__))
        before = memo.error
        if before is not None and _equal_errors(before, error):
            return False
        memo.error = error
        return True

    def _cycle(self, memo: node.Memo) -> errors.Cycle:
        """The cycle that asking for a running answer closes. Its members get the union of what they read
        for their own reads, so that no answer is recorded as reading itself."""
        start = next(i for i, frame in enumerate(self._frames) if frame.memo is memo)
        members = self._frames[start:]
        calls = [call(frame.memo) for frame in members]
        cycle = errors.Cycle((*calls, calls[0]))
        union: dict[node.Node, None] = {}
        for frame in members:
            union.update(frame.union)
            union.update(frame.reads)
        for frame in members:
            frame.union = union
            frame.cycle = frame.cycle or cycle
        return cycle

    def _conclude(self) -> None:
        """After the last body: make room, tell the failures, wake the watchers."""
        self._memory.trim()
        faults: list[Exception] = []
        while self._failures or self._news:
            if self._failures:
                failure = self._failures.pop(0)
                _guarded(faults, self._tell, failure)
            else:
                memo = next(iter(self._news))
                del self._news[memo]
                for watch in list(memo.watches or ()):
                    _guarded(faults, watch.wake)
        if faults:
            raise ExceptionGroup("callbacks of the graph failed", faults)

    def _tell(self, failure: Failure) -> None:
        memo, error = failure.memo, failure.error
        try:
            if self._on_error is not None:
                self._on_error(memo.query, memo.key, error.with_traceback(failure.trace))
        finally:
            _strip(error)


def call(memo: node.Memo) -> errors.Call:
    """The question of a memo."""
    return errors.Call(memo.query.name, memo.key)


def _next_stale(memo: node.Memo, at: list[int]) -> node.Memo | None:
    """The next of the memo's reads that is not clean, `at[-1]` being moved there."""
    reads = memo.reads
    for position in range(at[-1], len(reads)):
        read = reads[position]
        if read.state is not node.CLEAN and isinstance(read, node.Memo):
            at[-1] = position
            return read
    return None


def _equal(old: object, new: object) -> bool:
    try:
        return node.same(old, new)
    except Exception:
        return False  # values that refuse to be compared are an event each time


def _equal_errors(old: Exception, new: Exception) -> bool:
    return old is new or (type(old) is type(new) and _equal((old.args, vars(old)), (new.args, vars(new))))


def _guarded(faults: list[Exception], function: Callable[..., None], *arguments: Hashable) -> None:
    try:
        function(*arguments)
    except Exception as fault:
        faults.append(fault)


def _strip(error: BaseException) -> None:
    """Drop the tracebacks of an exception that is kept: they hold every value of the frames behind it."""
    seen: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        one = stack.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            stack += [one.__cause__, one.__context__]
