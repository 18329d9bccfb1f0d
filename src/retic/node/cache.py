"""The last good answers on disk: what Envoy acknowledged, by type and name, in one SQLite file (0600).

It serves an Envoy that (re)starts while the control plane is away. A file that cannot be read is begun
anew: it is a memory, not a source. Gateways' certificates are in it too; pods' keys are not.
"""

import os
import pathlib
import sqlite3
from collections.abc import Iterable

import msgspec
import structlog

ASKED_LIMIT = 20_000  # rows of one type that were asked for by name; the oldest go first, at opening
_log = structlog.get_logger("retic.node")
_SCHEMA = """
create table if not exists resource (
  type text, name text, version text, unasked integer, body blob, at integer, primary key (type, name)
) without rowid;
create table if not exists answered (type text primary key) without rowid;
"""


class Row(msgspec.Struct, frozen=True):
    """A resource: its name, version, the serialized Resource; `unasked` when a wildcard brought it."""

    name: str
    version: str
    body: bytes
    unasked: bool

    def __repr__(self) -> str:
        return f"<Row {self.name} {self.version}>"


class Cache:
    """All methods are synchronous and touch one small local file."""

    def __init__(self, file: pathlib.Path) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._db = _open(file)
        except sqlite3.DatabaseError as error:
            _log.warning("the kept answers cannot be read and are begun anew", reason=str(error))
            for suffix in ("", "-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            self._db = _open(file)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def put(self, type_url: str, rows: Iterable[Row], removed: Iterable[str] = ()) -> None:
        """Keep these and forget those, in one transaction."""
        with self._db:
            self._db.executemany(
                "insert or replace into resource values (?, ?, ?, ?, ?, unixepoch())",
                [(type_url, row.name, row.version, row.unasked, row.body) for row in rows],
            )
            self._db.executemany(
                "delete from resource where type = ? and name = ?", [(type_url, name) for name in removed]
            )

    def get(self, type_url: str, names: Iterable[str]) -> list[Row]:
        """The rows of those names that there are."""
        found: list[Row] = []
        for name in names:
            found += self._rows("type = ? and name = ?", type_url, name)
        return found

    def unasked(self, type_url: str) -> list[Row]:
        """The rows that a wildcard subscription brought."""
        return self._rows("type = ? and unasked", type_url)

    def answered(self, type_url: str) -> bool:
        """Whether a wildcard subscription to the type was ever answered, be it with nothing."""
        return bool(self._db.execute("select 1 from answered where type = ?", (type_url,)).fetchone())

    def set_answered(self, type_url: str) -> None:
        """A wildcard subscription to the type was answered, and acknowledged."""
        with self._db:
            self._db.execute("insert or ignore into answered values (?)", (type_url,))

    def _rows(self, where: str, *values: str) -> list[Row]:
        query = f"select name, version, body, unasked from resource where {where} order by name"
        return [Row(name, version, body, bool(unasked)) for name, version, body, unasked in
                self._db.execute(query, values)]


def _open(file: pathlib.Path) -> sqlite3.Connection:
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    file.chmod(0o600)
    db = sqlite3.connect(file)
    try:
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")
        db.executescript(_SCHEMA)
        with db:
            db.execute(
                "delete from resource where not unasked and (type, name) in (select type, name from ("
                " select type, name, row_number() over (partition by type order by at desc) as place"
                " from resource where not unasked) where place > ?)",
                (ASKED_LIMIT,),
            )
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db
