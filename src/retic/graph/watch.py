"""A watch: one subscriber's view of one answer, the newest value only."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from retic.graph import errors, memory, node

V = TypeVar("V")


class Watch(Generic[V]):
    """Asynchronous iterator over the good values of an answer: the first at once when there is one, then
    the newest whenever it changed; values in between are not kept. Ends when the watch is closed.

    While the query raises, nothing is yielded, `error` is what it raised, and `latest` the last good value.
    An open watch keeps its answer evaluated at every commit and must be closed, by `close` or `with`.
    One task at a time may wait for it. `ready` is called, if given, each time there is a new value after
    the first, once the whole commit has been evaluated; it may watch, ask and close.
    """

    __slots__ = ("_memo", "_memory", "_ready", "_seen", "_waiting")

    def __init__(
        self, memo: node.Memo, kept: memory.Memory, ready: Callable[["Watch[V]"], None] | None
    ) -> None:
        self._memo: node.Memo | None = memo
        self._memory = kept
        self._ready = ready
        self._seen = 0
        self._waiting: asyncio.Future[None] | None = None
        if memo.watches is None:
            memo.watches = {}
        memo.watches[self] = None
        kept.pin(memo)

    @property
    def closed(self) -> bool:
        """Whether the watch has been closed."""
        return self._memo is None

    @property
    def latest(self) -> V:
        """The last good value. Raises `error` when there was none; `errors.Misuse` after closing."""
        memo = self._open()
        if memo.value is node.MISSING:
            raise memo.error or errors.Misuse("the first evaluation was interrupted")
        return memo.value  # type: ignore[no-any-return]

    @property
    def error(self) -> Exception | None:
        """What the query raises now; None while it answers. `errors.Misuse` after closing."""
        return self._open().error

    def close(self) -> None:
        """Unsubscribe; a waiting iteration ends. Closing twice is closing once."""
        memo, self._memo = self._memo, None
        if memo is None:
            return
        if memo.watches is not None:
            del memo.watches[self]
            if not memo.watches:
                memo.watches = None
        self._memory.unpin(memo)
        self._memory.trim()
        self._wake_waiting()

    def wake(self) -> None:
        """There is a new value. Called by the graph."""
        if self._memo is not None:
            self._wake_waiting()
            if self._ready is not None:
                self._ready(self)

    def __aiter__(self) -> "Watch[V]":
        return self

    async def __anext__(self) -> V:
        while self._memo is not None:
            if self._memo.version != self._seen:
                self._seen = self._memo.version
                return self._memo.value  # type: ignore[no-any-return]
            if self._waiting is not None:
                raise errors.Misuse("two tasks wait for one watch")
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        raise StopAsyncIteration

    def __enter__(self) -> "Watch[V]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> node.Memo:
        if self._memo is None:
            raise errors.Misuse("the watch is closed")
        return self._memo

    def _wake_waiting(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
