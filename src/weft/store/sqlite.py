"""The wishes of one root, on disk: networks, containers, names of namespaces, and the journal."""

from __future__ import annotations

from weft.core.model.errors import Conflict, Damaged
from weft.core.model.state import Entry
from weft.store.lean import sqlite
from weft.store.lives import Lives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from weft.core.model.namespace import NamedNs
    from weft.core.model.network import Network


#: Columns that name what must exist.
_REFERENCES = (
    ("endpoint", "network", "network"),
    ("endpoint", "container", "container"),
    ("address", "network", "network"),
    ("address", "container", "container"),
    ("publish", "container", "container"),
    ("pool", "network", "network"),
)


def _lies(raw: bytes, low: bytes, high: bytes) -> bool:
    return len(raw) == len(low) and low <= raw <= high


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _entry(row: Any) -> Entry:
    id, verb, subject, undo, forward = row
    return Entry(id, _text(verb), _text(subject), _text(undo), bool(forward))


class SqliteStore(Lives):
    """One root's wishes."""

    def add_namespace(self, name: str, how: str, created: int) -> None:
        """Stores a name that weft gives: ``how`` is "made" or "adopted"."""
        try:
            self._db.execute("INSERT INTO namespace VALUES (NULL,?,?,0,?,?,0)", (name, how, b"", created))
        except sqlite.IntegrityError:
            raise Conflict(f"namespace {name} exists already") from None

    def set_namespace(self, name: str, inode: int, handle: bytes) -> None:
        """Stores what namespace a name leads to."""
        self._db.execute(
            "UPDATE namespace SET inode=?, handle=? WHERE name=? AND removed=0", (inode, handle, name)
        )

    def namespaces(self) -> list[NamedNs]:
        """All names that weft gave, also removed ones that are not known to be gone, by name."""
        from weft.core.model.namespace import NamedNs

        rows = self._all("SELECT id, name, how, inode, handle, removed FROM namespace ORDER BY name, id")
        return [
            NamedNs(id, name, how, inode, handle, bool(gone)) for id, name, how, inode, handle, gone in rows
        ]

    def drop_namespace(self, name: str) -> None:
        """Forgets a name."""
        self._db.execute("DELETE FROM namespace WHERE name=? AND removed=0", (name,))

    def retire_namespace(self, name: str) -> None:
        """Keeps a removed name's handle, where there is one: it tells whether the namespace went too."""
        self._db.execute("DELETE FROM namespace WHERE name=? AND removed=0 AND handle=x''", (name,))
        self._db.execute("UPDATE namespace SET removed=1 WHERE name=? AND removed=0", (name,))

    def bury_namespaces(self, ids: Iterable[int]) -> None:
        """Forgets removed names whose namespaces are gone."""
        self._db.executemany("DELETE FROM namespace WHERE id=? AND removed=1", [(i,) for i in ids])

    def version(self) -> tuple[int, int]:
        """Another value after every change, by whomever (PRAGMA data_version tells of other connections)."""
        return int(self._one("PRAGMA data_version")[0]), int(self._db.total_changes)

    def check(self, deep: bool = False) -> None:
        """Damaged when some of it is not what weft has written. ``deep``: also what its reader will see."""
        for (said,) in self._all("PRAGMA integrity_check(1)"):
            if said != "ok":
                raise Damaged(f"the database {self._path} is damaged: {said}".replace("\n", " "))
        networks = {n.name: n for n in self.networks()}
        known = {row[0] for row in self._all("SELECT name FROM container")}
        for table, column, wanted in _REFERENCES:
            names = {row[0] for row in self._all(f"SELECT DISTINCT {column} FROM {table}")}
            strays = names.difference(known if wanted == "container" else networks)
            if strays:
                raise Damaged(f"the database {self._path} is damaged: no {wanted} {min(map(str, strays))!a}")
        if deep:
            self.containers()
            self.foreign()
            self.everyone()
            self.lives()
            self.events()
        self._check_addresses(networks.values())
        self.journal()
        self.namespaces()

    def _check_addresses(self, networks: Iterable[Network]) -> None:
        for network in networks:
            pools = [(p.subnet.first.packed, p.subnet.last.packed) for p in network.pools]
            for (raw,) in self._all("SELECT address FROM address WHERE network=?", network.name):
                if not isinstance(raw, bytes) or not any(_lies(raw, *ends) for ends in pools):
                    raise Damaged(
                        f"the database {self._path} is damaged: an address outside of {network.name}"
                    )

    # journal

    def begin(self, verb: str, subject: str, plan: str, undo: str, forward: bool) -> int:
        """Writes a journal entry, inside a transaction; its number."""
        if not forward and verb != "repair":
            self._ballast.check()
        cursor = self._db.execute(
            "INSERT INTO journal (verb, subject, plan, undo, forward) VALUES (?,?,?,?,?)",
            (verb, subject, plan, undo, int(forward)),
        )
        return int(cursor.lastrowid or 0)

    def end(self, entry: int) -> bool:
        """Strikes a journal entry out; whether it was there."""
        return bool(self._db.execute("DELETE FROM journal WHERE id=?", (entry,)).rowcount)

    def journal(self) -> list[Entry]:
        """All journal entries, newest first: the order in which they are taken back."""
        rows = self._all("SELECT id, verb, subject, undo, forward FROM journal ORDER BY id DESC")
        return [self._read(_entry, row) for row in rows]

    def get(self, key: str) -> str:
        """A value of the root itself, or ""."""
        row = self._one("SELECT value FROM meta WHERE key=?", key)
        return self._read(_text, row[0]) if row else ""

    def put(self, key: str, value: str) -> None:
        """Stores a value of the root itself."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))

    def below(self, prefix: str) -> list[tuple[str, str]]:
        """The values whose keys begin so, by key."""
        sql = "SELECT key, value FROM meta WHERE key>=? AND key<? ORDER BY key"
        rows = self._all(sql, prefix, prefix + "\U0010ffff")
        return [(self._read(_text, row[0]), self._read(_text, row[1])) for row in rows]

    def take(self, key: str) -> None:
        """Forgets a value."""
        self._db.execute("DELETE FROM meta WHERE key=?", (key,))
