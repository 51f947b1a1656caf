"""The wishes, on disk: SQLite in WAL mode, every commit durable (synchronous FULL).

The ``sqlite3`` package takes 2 ms more to import than the C module under it, which has all that is
used here.
"""

from __future__ import annotations

from weft.core.model.address import Address, Cidr, parse_address, parse_subnet
from weft.core.model.errors import Conflict, NotFound, StoreError
from weft.core.model.network import Endpoint, Network, Pool, Sandbox
from weft.core.model.publish import Publish
from weft.core.model.state import Entry, State
from weft.store.lean import sqlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

    from weft.core.model.namespace import NamedNs

SCHEMA_VERSION = 2
#: Seconds to wait for another process's transaction.
_TIMEOUT = 30.0
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE network (
  name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, subnet TEXT NOT NULL, gateway TEXT NOT NULL,
  bridge TEXT NOT NULL UNIQUE, mtu INTEGER NOT NULL, labels TEXT NOT NULL, created INTEGER NOT NULL,
  next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE container (
  name TEXT PRIMARY KEY, hostname TEXT NOT NULL, dns TEXT NOT NULL, search TEXT NOT NULL,
  command BLOB NOT NULL, auto_remove INTEGER NOT NULL, created INTEGER NOT NULL,
  state TEXT NOT NULL, pid INTEGER, started INTEGER, exit_code INTEGER,
  watcher INTEGER, watcher_started INTEGER) WITHOUT ROWID;
CREATE INDEX container_pid ON container (pid) WHERE pid IS NOT NULL;
CREATE TABLE endpoint (
  container TEXT NOT NULL REFERENCES container, network TEXT NOT NULL REFERENCES network,
  address TEXT NOT NULL, prefix INTEGER NOT NULL, mac TEXT NOT NULL, ifname TEXT NOT NULL,
  aliases TEXT NOT NULL, PRIMARY KEY (container, network), UNIQUE (network, address)) WITHOUT ROWID;
CREATE TABLE publish (
  proto TEXT NOT NULL, host_port INTEGER NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
  container TEXT NOT NULL, network TEXT NOT NULL, loopback INTEGER NOT NULL,
  PRIMARY KEY (proto, host_port, host)) WITHOUT ROWID;
CREATE INDEX publish_container ON publish (container);
CREATE INDEX publish_loopback ON publish (loopback) WHERE loopback = 1;
CREATE TABLE journal (
  id INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL, subject TEXT NOT NULL,
  plan TEXT NOT NULL, undo TEXT NOT NULL, forward INTEGER NOT NULL);
"""
#: Names under /run/netns that weft gave. A removed one stays until its namespace is known to be gone.
_NAMESPACES = """
CREATE TABLE namespace (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, how TEXT NOT NULL, inode INTEGER NOT NULL, handle BLOB NOT NULL,
  created INTEGER NOT NULL, removed INTEGER NOT NULL);
CREATE UNIQUE INDEX namespace_name ON namespace (name) WHERE removed = 0;
"""
_SCHEMA += _NAMESPACES
#: What brings a database of an earlier format to the next one.
_MIGRATIONS = {1: _NAMESPACES}
_CONTAINER = (
    "name, hostname, dns, search, command, auto_remove, created,"
    " state, pid, started, exit_code, watcher, watcher_started"
)
_ENDPOINT = "network, container, address, prefix, mac, ifname, aliases"


#: SQLITE_CORRUPT, SQLITE_NOTADB: only then is it the file's fault.
_DAMAGED = frozenset((11, 26))


def _unusable(error: Exception, path: str = "") -> StoreError:
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
            raise _unusable(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        except sqlite.Error as failed:
            raise _unusable(failed) from None
        finally:
            # A full disk takes the transaction back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        if isinstance(error, sqlite.Error):
            raise _unusable(error) from None


class SqliteStore:
    """One root's wishes. ``path`` may be ":memory:" for tests and measurements."""

    def __init__(self, path: str, root: str) -> None:
        self.root = root
        try:
            self._db = sqlite.connect(path, timeout=_TIMEOUT, isolation_level=None, cached_statements=64)
            self._open()
        except sqlite.Error as error:
            raise _unusable(error, path) from None

    def _open(self) -> None:
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._create()
        elif version in _MIGRATIONS:
            self._migrate()
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"the database has format {version}, this weft knows format {SCHEMA_VERSION}",
                "use the weft that wrote it, or a newer one",
            )

    def _create(self) -> None:
        self._to_wal()
        with self.write():
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                self._run(_SCHEMA)
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

    def _migrate(self) -> None:
        with self.write():
            while (version := self._db.execute("PRAGMA user_version").fetchone()[0]) in _MIGRATIONS:
                self._run(_MIGRATIONS[version])
                self._db.execute(f"PRAGMA user_version={version + 1}")

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
            raise _unusable(error) from None

    def _all(self, sql: str, *values: Any) -> list[Any]:
        try:
            return list(self._db.execute(sql, values).fetchall())
        except sqlite.Error as error:
            raise _unusable(error) from None

    # networks

    def networks(self) -> tuple[Network, ...]:
        """All networks, by name."""
        return tuple([self._network(r) for r in self._all("SELECT * FROM network ORDER BY name")])

    def find_network(self, name: str) -> Network | None:
        """A network by name."""
        row = self._one("SELECT * FROM network WHERE name=?", name)
        return self._network(row) if row else None

    def network(self, name: str) -> Network:
        """A network by name or unique id prefix; NotFound otherwise."""
        found = self.find_network(name)
        if found is None and len(name) >= 4:
            near = [n for n in self.networks() if n.id.startswith(name)]
            found = near[0] if len(near) == 1 else None
        if found is None:
            raise NotFound(f"no network {name!a}", "`weft net ls` lists them")
        return found

    def _network(self, row: Any) -> Network:
        name, number, subnet, gateway, bridge, mtu, labels, created, _ = row
        pairs = [line.partition("=") for line in labels.split("\n") if line]
        return Network(
            root=self.root,
            name=name,
            number=number,
            pools=(Pool(parse_subnet(subnet), parse_address(gateway)),),
            bridge=bridge,
            mtu=mtu,
            labels=tuple([(k, v) for k, _, v in pairs]),
            created=created,
        )

    def free_number(self) -> int:
        """The lowest network number that is free."""
        taken = {row[0] for row in self._all("SELECT number FROM network")}
        return next(n for n in range(1, 1 << 16) if n not in taken)

    def add_network(self, network: Network) -> None:
        """Stores a network; Conflict when name, bridge or number is taken."""
        pool = network.pool4
        labels = "\n".join([f"{k}={v}" for k, v in network.labels])
        row = (network.name, network.number, str(pool.subnet), str(pool.gateway), network.bridge)
        try:
            self._db.execute(
                "INSERT INTO network VALUES (?,?,?,?,?,?,?,?,?)",
                (*row, network.mtu, labels, network.created, pool.subnet.usable[0]),
            )
        except sqlite.IntegrityError:
            raise Conflict(f"network {network.name} or bridge {network.bridge} exists already") from None

    def remove_network(self, name: str) -> None:
        """Forgets a network."""
        self._db.execute("DELETE FROM network WHERE name=?", (name,))

    def next_address(self, name: str) -> int:
        """Where the search for a free address starts."""
        return int(self._one("SELECT next FROM network WHERE name=?", name)[0])

    def set_next_address(self, name: str, value: int) -> None:
        """Where the next search starts."""
        self._db.execute("UPDATE network SET next=? WHERE name=?", (value, name))

    def address_holder(self, network: str, address: Address) -> str:
        """The container that has an address, or ""."""
        row = self._one("SELECT container FROM endpoint WHERE network=? AND address=?", network, str(address))
        return row[0] if row else ""

    # containers

    def has_container(self, name: str) -> bool:
        """Whether a container of this name exists."""
        return self._one("SELECT 1 FROM container WHERE name=?", name) is not None

    def add_container(self, sandbox: Sandbox, state: str) -> None:
        """Stores a container; Conflict when the name is taken."""
        # As bytes: words of a command need not be UTF-8.
        command = "\0".join(sandbox.command).encode("utf-8", "surrogateescape")
        lists = (" ".join(sandbox.dns), " ".join(sandbox.search), command)
        row = (sandbox.name, sandbox.hostname, *lists, int(sandbox.auto_remove), sandbox.created, state)
        try:
            self._db.execute("INSERT INTO container VALUES (?,?,?,?,?,?,?,?,NULL,NULL,NULL,NULL,NULL)", row)
        except sqlite.IntegrityError:
            raise Conflict(f"container {sandbox.name} exists already") from None

    def set_state(self, name: str, state: State) -> None:
        """Stores what became of a container's process."""
        self._db.execute(
            "UPDATE container SET state=?, pid=?, started=?, exit_code=?, watcher=?, watcher_started=?"
            " WHERE name=?",
            (*state._astuple(), name),
        )

    def remove_container(self, name: str) -> None:
        """Forgets a container; its endpoint goes first."""
        self._db.execute("DELETE FROM container WHERE name=?", (name,))

    def container(self, name: str) -> tuple[Sandbox, State]:
        """A container by name or unique id prefix; NotFound otherwise."""
        row = self._one(f"SELECT {_CONTAINER} FROM container WHERE name=?", name)
        if row is None and len(name) >= 4:
            near = [pair for pair in self.containers() if pair[0].id.startswith(name)]
            if len(near) == 1:
                return near[0]
        if row is None:
            raise NotFound(f"no container {name!a}", "`weft ps -a` lists them")
        return self._container(row)

    def containers(self) -> list[tuple[Sandbox, State]]:
        """All containers, by name."""
        sql = f"SELECT {_CONTAINER} FROM container ORDER BY name"
        return [self._container(row) for row in self._all(sql)]

    def supervised(self) -> list[tuple[Sandbox, State]]:
        """The containers that have a process, as far as is stored."""
        sql = f"SELECT {_CONTAINER} FROM container WHERE pid IS NOT NULL"
        return [self._container(row) for row in self._all(sql)]

    def _container(self, row: Any) -> tuple[Sandbox, State]:
        name, hostname, dns, search, command, auto_remove, created, *state = row
        sandbox = Sandbox(
            root=self.root,
            name=name,
            hostname=hostname,
            dns=tuple(dns.split()),
            search=tuple(search.split()),
            command=tuple(command.decode("utf-8", "surrogateescape").split("\0")) if command else (),
            auto_remove=bool(auto_remove),
            created=created,
        )
        return sandbox, State(*state)

    # endpoints and published ports

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """Stores an endpoint with its published ports; Conflict when address or port is taken."""
        try:
            self._add_endpoint(endpoint)
        except sqlite.IntegrityError:
            raise Conflict(f"an address or port of container {endpoint.container} is taken already") from None

    def _add_endpoint(self, endpoint: Endpoint) -> None:
        row = (
            endpoint.network,
            endpoint.container,
            str(endpoint.address),
            endpoint.addresses[0].prefix,
            endpoint.mac,
        )
        self._db.execute(
            f"INSERT INTO endpoint ({_ENDPOINT}) VALUES (?,?,?,?,?,?,?)",
            (*row, endpoint.ifname, " ".join(endpoint.aliases)),
        )
        for p in endpoint.publish:
            where = (endpoint.container, endpoint.network, int(p.covers_loopback))
            self._db.execute(
                "INSERT INTO publish VALUES (?,?,?,?,?,?,?)",
                (p.proto, p.host_port, str(p.host), p.port, *where),
            )

    def remove_endpoints(self, container: str) -> None:
        """Frees a container's addresses and ports."""
        self._db.execute("DELETE FROM publish WHERE container=?", (container,))
        self._db.execute("DELETE FROM endpoint WHERE container=?", (container,))

    def endpoint(self, container: str) -> Endpoint | None:
        """A container's endpoint; None when it has none (any more)."""
        row = self._one(f"SELECT {_ENDPOINT} FROM endpoint WHERE container=?", container)
        return self._endpoint(row) if row else None

    def endpoints(self, network: str) -> tuple[Endpoint, ...]:
        """All endpoints of a network, by container."""
        sql = f"SELECT {_ENDPOINT} FROM endpoint WHERE network=? ORDER BY container"
        return tuple([self._endpoint(row) for row in self._all(sql, network)])

    def count_endpoints(self, network: str) -> int:
        """How many containers a network has."""
        return int(self._one("SELECT count(*) FROM endpoint WHERE network=?", network)[0])

    def _endpoint(self, row: Any) -> Endpoint:
        network, container, address, prefix, mac, ifname, aliases = row
        ports = self._all(
            "SELECT proto, host, host_port, port FROM publish WHERE container=? ORDER BY 1, 3", container
        )
        return Endpoint(
            root=self.root,
            network=network,
            container=container,
            addresses=(Cidr(parse_address(address), prefix),),
            mac=mac,
            ifname=ifname,
            aliases=tuple(aliases.split()),
            publish=tuple([Publish(p, parse_address(h), hp, c) for p, h, hp, c in ports]),
        )

    def port_holder(self, publish: Publish) -> str:
        """The container whose published port clashes with this one, or ""."""
        row = self._one(
            "SELECT container FROM publish WHERE proto=? AND host_port=?"
            " AND (host=? OR host='0.0.0.0' OR ?='0.0.0.0')",
            publish.proto,
            publish.host_port,
            str(publish.host),
            str(publish.host),
        )
        return row[0] if row else ""

    def needs_proxy(self) -> bool:
        """Whether a published port covers 127.x."""
        return self._one("SELECT 1 FROM publish WHERE loopback=1 LIMIT 1") is not None

    def proxied(self) -> frozenset[str]:
        """The containers with a published port that covers 127.x."""
        return frozenset([r[0] for r in self._all("SELECT container FROM publish WHERE loopback=1")])

    def published(self) -> tuple[Endpoint, ...]:
        """All endpoints with published ports."""
        rows = self._all("SELECT DISTINCT container FROM publish")
        return tuple([e for e in [self.endpoint(r[0]) for r in rows] if e is not None])

    # names of namespaces

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

    # journal

    def begin(self, verb: str, subject: str, plan: str, undo: str, forward: bool) -> int:
        """Writes a journal entry, inside a transaction; its number."""
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
        return [Entry(i, verb, subject, undo, bool(forward)) for i, verb, subject, undo, forward in rows]

    def get(self, key: str) -> str:
        """A value of the root itself, or ""."""
        row = self._one("SELECT value FROM meta WHERE key=?", key)
        return row[0] if row else ""

    def put(self, key: str, value: str) -> None:
        """Stores a value of the root itself."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))
