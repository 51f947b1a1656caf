"""Containers, their endpoints in networks, and published ports."""

from __future__ import annotations

from weft.core.model.address import Cidr, from_packed, parse_address
from weft.core.model.errors import Conflict, Damaged, NotFound
from weft.core.model.names import check_ifname, check_mac, check_name
from weft.core.model.network import Endpoint, Sandbox
from weft.core.model.publish import Publish
from weft.core.model.state import State
from weft.core.plan.plan import dump_spec, load_spec
from weft.store import texts
from weft.store.lean import sqlite
from weft.store.networks import WANTS_DNS, Networks
from weft.store.schema import CONTAINER, ENDPOINT, hop, hop_words, one_of, some, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.model.oci import Spec

#: What a container's state may be.
STATES = ("created", "running", "paused", "restarting", "exited")


def _publish(row: Any) -> Publish:
    proto, host, host_port, port = row
    numbers = whole(host_port, 1, 1 << 16), whole(port, 1, 1 << 16)
    return Publish(one_of(proto, "tcp", "udp"), parse_address(host), *numbers)


class Members(Networks):
    """The part of the store that knows containers and endpoints."""

    def has_container(self, name: str) -> bool:
        """Whether a container of this name exists."""
        return self._one("SELECT 1 FROM container WHERE name=?", name) is not None

    def add_container(self, sandbox: Sandbox, state: str) -> None:
        """Stores a container; Conflict when the name is taken."""
        # As bytes: words of a command need not be UTF-8.
        command = "\0".join(sandbox.command).encode("utf-8", "surrogateescape")
        lists = (" ".join(sandbox.dns), " ".join(sandbox.search), command)
        kept = (sandbox.mode, sandbox.target, sandbox.inode)
        pairs = [texts.join(some) for some in (sandbox.extra_hosts, sandbox.sysctls, sandbox.labels)]
        row = (
            sandbox.name,
            sandbox.hostname,
            *lists,
            int(sandbox.auto_remove),
            sandbox.created,
            *kept,
            *pairs,
        )
        try:
            self._db.execute(
                "INSERT INTO container VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,NULL,NULL,NULL,NULL,NULL)",
                (*row, state),
            )
        except sqlite.IntegrityError:
            raise Conflict(f"container {sandbox.name} exists already") from None

    def set_auto_remove(self, name: str, wanted: bool) -> None:
        """Whether a container is removed when it ends."""
        self._db.execute("UPDATE container SET auto_remove=? WHERE name=?", (int(wanted), name))

    def set_state(self, name: str, state: State) -> None:
        """Stores what became of a container's process."""
        self._db.execute(
            "UPDATE container SET state=?, pid=?, started=?, exit_code=?, watcher=?, watcher_started=?"
            " WHERE name=?",
            (*state._astuple(), name),
        )

    def set_spec(self, name: str, spec: Spec) -> None:
        """Stores what a container is."""
        self._db.execute(
            "INSERT OR REPLACE INTO spec VALUES (?,?,?)", (name, int(bool(spec.root)), dump_spec(spec))
        )

    def spec(self, name: str) -> Spec | None:
        """What a container is; None when nothing but its networks was asked for. Damaged."""
        row = self._one("SELECT text FROM spec WHERE container=?", name)
        if row is None:
            return None
        try:
            return load_spec(row[0])
        except (ValueError, SyntaxError) as error:
            raise Damaged(f"the database's row of container {name} is damaged: {error}") from None

    def rooted(self) -> frozenset[str]:
        """The containers that have a root of their own."""
        return frozenset([row[0] for row in self._db.execute("SELECT container FROM spec WHERE rooted=1")])

    def placed(self) -> list[tuple[Any, ...]]:
        """Every address with its network and container."""
        return self._all("SELECT network, container, address FROM address")

    def answered(self, container: str = "") -> list[tuple[Any, ...]]:
        """Every address in the networks that want DNS, or those of one container, a row each: see
        core/naming/wishes.py."""
        sql = (
            "SELECT a.network, a.container, a.address, c.hostname, e.aliases, c.dns, c.target, c.inode,"
            " c.labels, n.internal=0 OR EXISTS (SELECT 1 FROM endpoint o JOIN network m ON m.name=o.network"
            " WHERE o.container=a.container AND m.internal=0)"
            " FROM network n JOIN address a ON a.network=n.name JOIN container c ON c.name=a.container"
            " JOIN endpoint e ON e.container=a.container AND e.network=a.network"
            f" WHERE {WANTS_DNS.replace('options', 'n.options')}"
        )
        return self._all(f"{sql} AND a.container=?", container) if container else self._all(sql)

    def drop_foreign(self, name: str) -> None:
        """Forgets a namespace of somebody else's that is in no network any more."""
        self._db.execute(
            "DELETE FROM container WHERE name=? AND target<>'' AND NOT EXISTS"
            " (SELECT 1 FROM endpoint WHERE container=?)",
            (name, name),
        )

    def remove_container(self, name: str) -> None:
        """Forgets a container; its endpoint goes first."""
        self._db.execute("DELETE FROM spec WHERE container=?", (name,))
        self._db.execute("DELETE FROM life WHERE container=?", (name,))
        self._db.execute("DELETE FROM container WHERE name=?", (name,))

    def container(self, name: str) -> tuple[Sandbox, State]:
        """A container by name or unique id prefix; NotFound otherwise."""
        row = self._one(f"SELECT {CONTAINER} FROM container WHERE name=?", name)
        if row is None and len(name) >= 4:
            near = [pair for pair in self.containers() if pair[0].id.startswith(name)]
            if len(near) == 1:
                return near[0]
            engine, colon, called = name.partition(":")
            named = self.labelled(f"{engine}.name", called) if colon else []
            if len(named) == 1:
                return self.container(named[0])
        if row is None:
            raise NotFound(f"no container {name!a}", "`weft ps -a` lists them")
        return self._read(self._container, row)

    def containers(self) -> list[tuple[Sandbox, State]]:
        """All containers of weft's own, by name."""
        sql = f"SELECT {CONTAINER} FROM container WHERE target='' ORDER BY name"
        return [self._read(self._container, row) for row in self._all(sql)]

    def foreign(self) -> list[tuple[Sandbox, State]]:
        """The namespaces of others that were connected to networks."""
        sql = f"SELECT {CONTAINER} FROM container WHERE target<>'' ORDER BY name"
        return [self._read(self._container, row) for row in self._all(sql)]

    def foreign_at(self, inode: int) -> list[Sandbox]:
        """Those whose network namespace had this inode when they were connected."""
        sql = f"SELECT {CONTAINER} FROM container WHERE target<>'' AND inode=? ORDER BY name"
        return [self._read(self._container, row)[0] for row in self._all(sql, inode)]

    def set_foreign(self, sandbox: Sandbox) -> None:
        """Stores what became known of a namespace of somebody else's: inode, host name, labels."""
        self._db.execute(
            "UPDATE container SET hostname=?, inode=?, labels=? WHERE name=? AND target<>''",
            (sandbox.hostname, sandbox.inode, texts.join(sandbox.labels), sandbox.name),
        )

    def labelled(self, key: str, value: str) -> list[str]:
        """The namespaces of others that have a label."""
        sql = (
            "SELECT name FROM container WHERE target<>''"
            " AND instr(char(10) || labels || char(10), char(10) || ? || char(10)) ORDER BY name"
        )
        return [row[0] for row in self._all(sql, f"{key}={value}")]

    def supervised(self) -> list[tuple[Sandbox, State]]:
        """The containers that have a process or get one again, as far as is stored."""
        sql = f"SELECT {CONTAINER} FROM container WHERE pid IS NOT NULL OR watcher IS NOT NULL"
        return [self._read(self._container, row) for row in self._all(sql)]

    def joiners(self, name: str) -> list[str]:
        """The containers that share a container's network namespace."""
        return [r[0] for r in self._all("SELECT name FROM container WHERE mode=?", f"container:{name}")]

    def _container(self, row: Any) -> tuple[Sandbox, State]:
        name, hostname, dns, search, command, auto_remove, created, *more = row
        mode, target, inode, extra_hosts, sysctls, labels, *state = more
        sandbox = Sandbox(
            root=self.root,
            name=name if target else check_name(name, ""),
            hostname=hostname,
            dns=tuple(dns.split()),
            search=tuple(search.split()),
            command=tuple(command.decode("utf-8", "surrogateescape").split("\0")) if command else (),
            auto_remove=bool(auto_remove),
            created=created,
            mode=mode,
            target=target,
            inode=inode,
            extra_hosts=texts.pairs(extra_hosts),
            sysctls=texts.pairs(sysctls),
            labels=texts.pairs(labels),
        )
        word, *numbers = state
        if not all(n is None or isinstance(n, int) for n in numbers):
            raise ValueError(f"{numbers} are no numbers")
        return sandbox, State(one_of(word, *STATES), *numbers)

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """Stores an endpoint with its published ports; Conflict when address or port is taken."""
        try:
            self._add_endpoint(endpoint)
        except sqlite.IntegrityError:
            raise Conflict(f"an address or port of container {endpoint.container} is taken already") from None

    def _add_endpoint(self, endpoint: Endpoint) -> None:
        place = (endpoint.network, endpoint.container)
        words = (" ".join(endpoint.aliases), endpoint.priority, texts.join(endpoint.sysctls))
        routes = texts.join([hop_words(r) for r in endpoint.routes])
        self._db.execute(
            f"INSERT INTO endpoint ({ENDPOINT}, own_hosts) VALUES (?,?,?,?,?,?,?,?,?,?,0)",
            (
                *place,
                endpoint.mac,
                endpoint.ifname,
                *words,
                routes,
                endpoint.shard,
                texts.join(endpoint.options),
            ),
        )
        for cidr in endpoint.addresses:
            row = (endpoint.network, cidr.address.packed, endpoint.container, cidr.prefix)
            self._db.execute("INSERT INTO address VALUES (?,?,?,?)", row)
            self._db.execute("DELETE FROM resting WHERE network=? AND address=?", row[:2])
        for publish in endpoint.publish:
            self.add_publish(endpoint, publish)

    def set_endpoint_options(self, endpoint: Endpoint) -> None:
        """What its engine asks of it by now."""
        self._db.execute(
            "UPDATE endpoint SET options=? WHERE container=? AND network=?",
            (texts.join(endpoint.options), endpoint.container, endpoint.network),
        )

    def add_publish(self, endpoint: Endpoint, publish: Publish) -> None:
        """Stores a published port. IntegrityError's Conflict is the caller's: ``port_holder`` asks first."""
        where = (endpoint.container, endpoint.network, int(endpoint.is_proxied(publish)))
        self._db.execute(
            "INSERT INTO publish VALUES (?,?,?,?,?,?,?)",
            (publish.proto, publish.host_port, str(publish.host), publish.port, *where),
        )

    def remove_publish(self, publish: Publish) -> None:
        """Frees a published port."""
        self._db.execute(
            "DELETE FROM publish WHERE proto=? AND host_port=? AND host=?",
            (publish.proto, publish.host_port, str(publish.host)),
        )

    def remove_endpoints(self, container: str) -> None:
        """Frees a container's addresses and ports."""
        for table in ("publish", "address", "endpoint"):
            self._db.execute(f"DELETE FROM {table} WHERE container=?", (container,))

    def remove_endpoint(self, network: str, container: str) -> None:
        """Frees a container's addresses and ports in one network."""
        for table in ("publish", "address", "endpoint"):
            self._db.execute(f"DELETE FROM {table} WHERE container=? AND network=?", (container, network))

    def set_own_hosts(self, container: str) -> None:
        """Notes that a container has a hosts file of its own, to which all its networks write."""
        self._db.execute("UPDATE endpoint SET own_hosts=1 WHERE container=?", (container,))

    def set_shared_hosts(self, container: str) -> None:
        """Notes that a container sees its network's hosts file again."""
        self._db.execute("UPDATE endpoint SET own_hosts=0 WHERE container=?", (container,))

    def own_hosts(self, network: str) -> list[str]:
        """The members of a network that have a hosts file of their own."""
        return [
            r[0] for r in self._all("SELECT container FROM endpoint WHERE network=? AND own_hosts=1", network)
        ]

    def endpoint(self, container: str, network: str = "") -> Endpoint | None:
        """A container's endpoint in a network, or its first; None when it has none (any more)."""
        found = self.endpoints_of(container)
        return next((e for e in found if not network or e.network == network), None)

    def endpoints_of(self, container: str) -> tuple[Endpoint, ...]:
        """All endpoints of a container, by interface name and network."""
        sql = f"SELECT {ENDPOINT} FROM endpoint WHERE container=? ORDER BY length(ifname), ifname, network"
        return tuple([self._read(self._endpoint, row) for row in self._all(sql, container)])

    def endpoints(self, network: str) -> tuple[Endpoint, ...]:
        """All endpoints of a network, by container."""
        sql = f"SELECT {ENDPOINT} FROM endpoint WHERE network=? ORDER BY container"
        return tuple([self._read(self._endpoint, row) for row in self._all(sql, network)])

    def count_endpoints(self, network: str) -> int:
        """How many containers a network has."""
        return int(self._one("SELECT count(*) FROM endpoint WHERE network=?", network)[0])

    def count_shard(self, network: str, shard: int) -> int:
        """How many containers are plugged into one bridge of a network."""
        sql = "SELECT count(*) FROM endpoint WHERE network=? AND shard=?"
        return int(self._one(sql, network, shard)[0])

    def mac_holder(self, network: str, mac: str) -> str:
        """The container that was given a MAC in a network, or ""."""
        row = self._one("SELECT container FROM endpoint WHERE network=? AND mac=? AND mac<>''", network, mac)
        return row[0] if row else ""

    def everyone(self) -> dict[str, list[Endpoint]]:
        """All endpoints by container, in the order of ``endpoints_of``: three questions for any number."""
        ports: dict[tuple[str, str], list[Any]] = {}
        for one, two, *row in self._all(
            "SELECT container, network, proto, host, host_port, port FROM publish ORDER BY 3, 5"
        ):
            ports.setdefault((one, two), []).append(row)
        addresses: dict[tuple[str, str], list[Any]] = {}
        for one, two, *row in self._all(
            "SELECT container, network, address, prefix FROM address ORDER BY length(address)"
        ):
            addresses.setdefault((one, two), []).append(row)
        found: dict[str, list[Endpoint]] = {}
        for row in self._all(f"SELECT {ENDPOINT} FROM endpoint ORDER BY length(ifname), ifname, network"):
            key = row[1], row[0]
            mine = (row, ports.get(key, []), addresses.get(key, []))
            found.setdefault(row[1], []).append(self._read(self._made, mine))
        return found

    def with_own_hosts(self) -> frozenset[str]:
        """All containers that have a hosts file of their own."""
        return frozenset([r[0] for r in self._all("SELECT container FROM endpoint WHERE own_hosts=1")])

    def _endpoint(self, row: Any) -> Endpoint:
        network, container = row[:2]
        ports = self._all(
            "SELECT proto, host, host_port, port FROM publish WHERE container=? AND network=? ORDER BY 1, 3",
            container,
            network,
        )
        addresses = self._all(
            "SELECT address, prefix FROM address WHERE container=? AND network=? ORDER BY length(address)",
            container,
            network,
        )
        return self._made((row, ports, addresses))

    def _made(self, rows: Any) -> Endpoint:
        row, ports, addresses = rows
        network, container, mac, ifname, aliases, priority, sysctls, routes, shard, options = row
        return Endpoint(
            root=self.root,
            network=network,
            container=container,
            addresses=some([Cidr(from_packed(raw), whole(prefix, 0, 129)) for raw, prefix in addresses]),
            mac=check_mac(mac) if mac else "",
            ifname=check_ifname(ifname),
            aliases=tuple(aliases.split()),
            publish=tuple([_publish(row) for row in ports]),
            priority=priority,
            sysctls=texts.pairs(sysctls),
            routes=tuple([hop(to, via) for to, via in texts.pairs(routes)]) if routes else (),
            shard=shard,
            options=texts.pairs(options),
        )

    def port_holder(self, publish: Publish) -> str:
        """The container whose published port clashes with this one, or ""."""
        row = self._one(
            "SELECT container FROM publish WHERE proto=? AND host_port=?"
            " AND (host=? OR host=? OR (? AND (instr(host, ':') > 0)=?))",
            publish.proto,
            publish.host_port,
            str(publish.host),
            "::" if publish.host.version == 6 else "0.0.0.0",
            publish.every_address,
            publish.host.version == 6,
        )
        return row[0] if row else ""

    def needs_proxy(self) -> bool:
        """Whether a published port covers 127.x."""
        return self._one("SELECT 1 FROM publish WHERE loopback=1 LIMIT 1") is not None

    def proxied(self) -> frozenset[tuple[str, str]]:
        """Container and network of the endpoints with a published port that covers 127.x."""
        return frozenset(self._all("SELECT DISTINCT container, network FROM publish WHERE loopback=1"))

    def published(self) -> tuple[Endpoint, ...]:
        """All endpoints with published ports."""
        rows = self._all("SELECT DISTINCT container, network FROM publish")
        return tuple([e for e in [self.endpoint(*r) for r in rows] if e is not None])
