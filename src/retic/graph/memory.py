"""Which answers are kept: those that are watched or read by a kept one, and a bounded number of others.

A memo is *pinned* when it is watched or a pinned memo reads it, *cold* otherwise. Cold memos that nobody
reads stand in order of last use; when there are more cold memos than allowed, the oldest of these go, and
then what only they had read. Nothing here runs a query.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

from retic.graph import declared, node


class Memory:
    """The memos of one graph. `room` is how many cold ones may stay; while `held`, nothing is dropped."""

    __slots__ = ("_cold", "_memos", "_unread", "held", "room")

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = False
        self._memos: dict[declared.Query[Any, Any], dict[Any, node.Memo]] = {}
        self._cold = 0
        self._unread: OrderedDict[node.Memo, None] = OrderedDict()  # exactly: no pins, no readers

    def __len__(self) -> int:
        return sum(map(len, self._memos.values()))

    def memo(self, query: declared.Query[Any, Any], key: Hashable) -> node.Memo:
        """The memo of a question, made (cold, and never run) when there is none."""
        by_key = self._memos.get(query)
        if by_key is None:
            by_key = self._memos[query] = {}
        memo = by_key.get(key)
        if memo is None:
            memo = by_key[key] = node.Memo(query, key)
            self._cold += 1
            self._unread[memo] = None
        return memo

    def used(self, memo: node.Memo) -> None:
        """The memo was asked for from outside: last to go."""
        if memo in self._unread:
            self._unread.move_to_end(memo)

    def reread(self, memo: node.Memo, reads: dict[node.Node, None]) -> None:
        """The memo has read these, and nothing else."""
        after = tuple(reads)
        before = memo.reads
        if before == after:
            return
        memo.reads = after
        known = dict.fromkeys(before)
        for new in after:
            if new not in known:
                new.readers[memo] = None
                if isinstance(new, node.Memo):
                    self._unread.pop(new, None)
                    if memo.pins:
                        self.pin(new)
        for old in before:
            if old not in reads:
                self._unlink(memo, old)

    def pin(self, memo: node.Memo) -> None:
        """One more watch or pinned reader."""
        stack = [memo]
        while stack:
            memo = stack.pop()
            memo.pins += 1
            if memo.pins == 1:
                self._cold -= 1
                self._unread.pop(memo, None)
                stack += [read for read in memo.reads if isinstance(read, node.Memo)]

    def unpin(self, memo: node.Memo) -> None:
        """One watch or pinned reader less."""
        stack = [memo]
        while stack:
            memo = stack.pop()
            memo.pins -= 1
            if memo.pins == 0:
                self._cold += 1
                if not memo.readers:
                    self._unread[memo] = None
                stack += [read for read in memo.reads if isinstance(read, node.Memo)]

    def trim(self) -> None:
        """Drop the cold memos for which there is no room."""
        while self._cold > self.room and not self.held:
            memo, _ = self._unread.popitem(last=False)
            self._cold -= 1
            by_key = self._memos[memo.query]
            del by_key[memo.key]
            if not by_key:
                del self._memos[memo.query]
            for read in memo.reads:
                self._unlink(memo, read)
                if read in self._unread:
                    self._unread.move_to_end(read, last=False)  # type: ignore[arg-type]
            memo.reads = ()
        if not self._unread:
            self._unread.clear()  # gives back the memory of what was in it

    def _unlink(self, memo: node.Memo, read: node.Node) -> None:
        read.readers.pop(memo, None)
        if not isinstance(read, node.Memo):
            read.release()
            return
        if memo.pins:
            self.unpin(read)
        elif not read.readers and not read.pins:
            self._unread[read] = None


def forget_unread(reads: Iterable[node.Node]) -> None:
    """Drop the cells and buckets that were made for a body whose reads are not kept after all."""
    for read in reads:
        if not isinstance(read, node.Memo):
            read.release()
