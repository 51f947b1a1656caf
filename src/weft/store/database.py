"""SQLite in WAL mode, every commit durable (synchronous FULL).

The ``sqlite3`` package takes 2 ms more to import than the C module under it, which has all that is
used here.
"""

from __future__ import annotations

from weft.core.model.errors import StoreError
from weft.store.lean import sqlite
from weft.store.schema import SCHEMA, SCHEMA_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

#: Seconds to wait for another process's transaction.
_TIMEOUT = 30.0
#: SQLITE_CORRUPT, SQLITE_NOTADB: only then is it the file's fault.
_DAMAGED = frozenset((11, 26))


def unusable(error: Exception, path: str = "") -> StoreError:
    """What SQLite says, in the reader's words."""
    if path and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        hint = "move the file away to start anew"
    else:
        hint = "is its disk full, or read-only? is another program in it?"
    return StoreError(f"cannot use the database{path and ' '}{path}: {error}", hint)


class _Transaction:
    """``with store.write():`` commits at the end, or takes all back on an error."""

    __slots__ = ("_db",)

    def __init__(self, db: Any) -> None:
        self._db = db

    def __enter__(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite.Error as error:
            raise unusable(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        except sqlite.Error as failed:
            raise unusable(failed) from None
        finally:
            # A full disk takes the transaction back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        if isinstance(error, sqlite.Error):
            raise unusable(error) from None


class Database:
    """An open database. ``path`` may be ":memory:" for tests and measurements."""

    def __init__(self, path: str, root: str) -> None:
        self.root = root
        try:
            self._db = sqlite.connect(path, timeout=_TIMEOUT, isolation_level=None, cached_statements=64)
            self._open()
        except sqlite.Error as error:
            raise unusable(error, path) from None

    def _open(self) -> None:
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._create()
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"the database has format {version}, this weft knows format {SCHEMA_VERSION}",
                "use the weft that wrote it, or a newer one",
            )

    def _create(self) -> None:
        self._to_wal()
        with self.write():
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                self._run(SCHEMA)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _to_wal(self) -> None:
        """Who finds another process at the same gets SQLITE_BUSY at once here, whatever the timeout is."""
        from time import monotonic, sleep

        deadline = monotonic() + _TIMEOUT
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite.OperationalError as error:
                if "locked" not in str(error) or monotonic() > deadline:
                    raise
            sleep(0.002)  # nothing tells when the other is done

    def _run(self, script: str) -> None:
        for statement in script.split(";"):
            if statement.strip():
                self._db.execute(statement)

    def close(self) -> None:
        """Closes the database; the last one out folds the log into it."""
        self._db.close()

    def write(self) -> _Transaction:
        """A durable transaction."""
        return _Transaction(self._db)

    def _one(self, sql: str, *values: Any) -> Any:
        try:
            return self._db.execute(sql, values).fetchone()
        except sqlite.Error as error:
            raise unusable(error) from None

    def _all(self, sql: str, *values: Any) -> list[Any]:
        try:
            return list(self._db.execute(sql, values).fetchall())
        except sqlite.Error as error:
            raise unusable(error) from None
