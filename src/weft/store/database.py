"""SQLite in WAL mode, every commit durable (synchronous FULL).

The ``sqlite3`` package takes 2 ms more to import than the C module under it, which has all that is
used here.
"""

from __future__ import annotations

from weft.core.model.errors import Damaged, StoreError, WeftError
from weft.store.ballast import Ballast
from weft.store.lean import sqlite
from weft.store.schema import SCHEMA, SCHEMA_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    T = TypeVar("T")

#: Seconds to wait for another process's transaction.
_TIMEOUT = 30.0
#: SQLITE_CORRUPT, SQLITE_NOTADB: only then is it the file's fault.
_DAMAGED = frozenset((11, 26))
#: SQLITE_IOERR_SHORT_READ: the file ends where a page should be.
_SHORT_READ = 522
#: What sqlite3 says of text that is no UTF-8, for which it has no code, and of a schema that is not weft's.
_SIGNS = ("Could not decode", "no such table", "no such column", "malformed", "has no column", "values for")
#: Where SQLite's own message quotes what is damaged, it may be no UTF-8, and then sqlite3 says that instead.
_ERRORS = (sqlite.Error, UnicodeDecodeError)
#: SQLITE_FULL, and SQLITE_IOERR: its shared memory is a file, for which there may be no room.
_FULL = frozenset((13, 10))


def unusable(error: Exception, path: str = "") -> StoreError:
    """What SQLite says, in the reader's words."""
    said = f"the database{path and ' '}{path}"
    code = getattr(error, "sqlite_errorcode", 0)
    torn = code == _SHORT_READ or isinstance(error, UnicodeDecodeError)
    if torn or code & 0xFF in _DAMAGED or any(sign in str(error) for sign in _SIGNS):
        return Damaged(f"{said} is damaged: {error}")
    return StoreError(
        f"cannot use {said}: {error}", "is its disk full, or read-only? is another program in it?"
    )


def _is_full(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _FULL and code != _SHORT_READ


class _Transaction:
    """``with store.write():`` commits at the end, or takes all back on an error."""

    __slots__ = ("_ballast", "_db")

    def __init__(self, db: Any, ballast: Ballast) -> None:
        self._db = db
        self._ballast = ballast

    def __enter__(self) -> None:
        short = self._ballast.settle()
        try:
            if short:
                self._fold()
            self._db.execute("BEGIN IMMEDIATE")
        except _ERRORS as error:
            raise unusable(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        except _ERRORS as failed:
            raise self._refused(failed) from None
        finally:
            # A full disk takes the transaction back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        if isinstance(error, _ERRORS):
            raise self._refused(error) from None

    def _fold(self) -> None:
        """Folds the log into the database, so that it is written again from its start and does not grow.
        Nobody is waited for."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except _ERRORS as error:
            if not _is_full(error):
                raise

    def _refused(self, error: Exception) -> StoreError:
        """A disk that is full for this user only (a quota) shows here first."""
        if _is_full(error) and self._ballast.give_up():
            return StoreError("the disk is full", "some room was kept for removals: try that again")
        return unusable(error)


class Database:
    """An open database. ``path`` may be ":memory:" for tests and measurements."""

    def __init__(self, path: str, root: str) -> None:
        self.root = root
        self._path = path
        self._ballast = Ballast("" if path == ":memory:" else path)
        used = self._ballast.there
        try:
            try:
                self._connect(used)
            except _ERRORS as error:
                if not _is_full(error) or not self._ballast.give_up():
                    raise
                self._connect(used)
        except _ERRORS as error:
            raise unusable(error, path) from None

    def _connect(self, used: bool) -> None:
        self._db = sqlite.connect(self._path, timeout=_TIMEOUT, isolation_level=None, cached_statements=64)
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and used:
            # The ballast is made after the first commit, and was seen before this look.
            raise Damaged(f"the database {self._path} is empty, and was not")
        if version == 0:
            self._create()
        elif not 0 < version < 256:
            raise Damaged(f"the database {self._path} is damaged: its format is {version}")
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"the database has format {version}, this weft knows format {SCHEMA_VERSION}",
                "use the weft that wrote it, or a newer one",
            )

    def _create(self) -> None:
        self._to_wal()
        with _Transaction(self._db, Ballast("")):
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
        return _Transaction(self._db, self._ballast)

    def _one(self, sql: str, *values: Any) -> Any:
        try:
            return self._db.execute(sql, values).fetchone()
        except _ERRORS as error:
            raise unusable(error) from None

    def _all(self, sql: str, *values: Any) -> list[Any]:
        try:
            return list(self._db.execute(sql, values).fetchall())
        except _ERRORS as error:
            raise unusable(error) from None

    def _read(self, make: Callable[[Any], T], row: Any) -> T:
        """What a row stands for. Damaged when it is none that weft has written."""
        try:
            return make(row)
        except (WeftError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            if isinstance(error, StoreError):
                raise
            where = "" if self._path == ":memory:" else f" {self._path}"
            raise Damaged(f"the database{where} is damaged: {error}") from None
