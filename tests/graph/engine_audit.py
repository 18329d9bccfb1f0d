"""The engine's invariants, read from its insides after every step of a random test."""

from retic import graph
from retic.graph import node


def audit(of: graph.Graph) -> None:
    memory, inputs = of._memory, of._inputs
    memos = [memo for by_key in memory._memos.values() for memo in by_key.values()]
    known = set(memos)
    assert all(memory._memos.values()), "an empty table of memos was left"
    _audit_edges(memos, known)
    for memo in memos:
        pinned_readers = sum(reader.pins > 0 for reader in memo.readers)
        assert memo.pins == len(memo.watches or ()) + pinned_readers
        if memo.state is node.CLEAN:
            assert all(read.state is node.CLEAN for read in memo.reads), "a clean answer over a stale one"
        if memo.watches:
            assert memo.state is node.CLEAN, "a watched answer was left stale"
    cold = [memo for memo in memos if not memo.pins]
    assert memory._cold == len(cold) <= memory.room
    assert set(memory._unread) == {memo for memo in cold if not memo.readers}
    for rows in inputs._tables.values():
        assert all(cell.readers for cell in rows.cells.values()), "a cell that nobody reads"
        for index, entries in rows.indexes.items():
            for value, bucket in entries.buckets.items():
                assert bucket.readers or bucket.keys, "an empty bucket that nobody reads"
                assert bucket.keys == {key for key, row in rows.rows.items() if value in index.by(key, row)}
                assert bucket.found() == bucket.keys
            assert set(entries.found_by) == {key for key, row in rows.rows.items() if index.by(key, row)}


def _audit_edges(memos: list[node.Memo], known: set[node.Memo]) -> None:
    for memo in memos:
        assert not memo.running
        for read in memo.reads:
            assert memo in read.readers, "a read that does not know its reader"
            assert not isinstance(read, node.Memo) or read in known, "a read of a dropped answer"
        for reader in memo.readers:
            assert reader in known, "a reader that was dropped"
            assert memo in reader.reads, "a reader that does not read"
