"""Networks, their pools, and who has which address."""

from __future__ import annotations

from weft.core.model.address import Address, from_packed
from weft.core.model.errors import Conflict, NotFound
from weft.core.model.names import check_ifname, check_name
from weft.core.model.network import DEFAULT, Network
from weft.store import texts
from weft.store.database import Database
from weft.store.lean import sqlite
from weft.store.schema import DRIVER, POOL, network_row, one_of, pool, some, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from weft.core.model.address import Subnet


_DUE = "(until<=? OR until>?)"
_WITHIN = "address>=? AND address<=? AND length(address)=?"


#: Of a row of networks: the option is a line of its own.
WANTS_DNS = "instr(char(10) || options || char(10), char(10) || 'dns=true' || char(10)) > 0"


def _within(subnet: Subnet) -> tuple[bytes, bytes, int]:
    return subnet.first.packed, subnet.last.packed, len(subnet.first.packed)


class Networks(Database):
    """The part of the store that knows networks and addresses."""

    def networks(self) -> tuple[Network, ...]:
        """All networks, by name."""
        rows = self._all("SELECT * FROM network ORDER BY name")
        return tuple([self._read(self._network, row) for row in rows])

    def answered_networks(self) -> tuple[Network, ...]:
        """The networks that want DNS."""
        rows = self._all(f"SELECT * FROM network WHERE {WANTS_DNS} ORDER BY name")
        return tuple([n for n in [self._read(self._network, row) for row in rows] if n.dns])

    def wants_dns(self) -> bool:
        """Whether there is one."""
        rows = self._all(f"SELECT * FROM network WHERE {WANTS_DNS} ORDER BY name")
        return any(self._read(self._network, row).dns for row in rows)

    def find_network(self, name: str) -> Network | None:
        """A network by name."""
        row = self._one("SELECT * FROM network WHERE name=?", name)
        return self._read(self._network, row) if row else None

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
        name, number, bridge, mtu, labels, created, internal, isolated, nat, adopted, follows, *rest = row
        shards, kept = rest
        options = texts.pairs(kept)
        pools = self._all(f"SELECT {POOL} FROM pool WHERE network=? ORDER BY place", name)
        return Network(
            root=self.root,
            name=check_name(name, "") if name != DEFAULT else name,
            number=whole(number, 1, 1 << 16),
            pools=some([pool(p) for p in pools]),
            bridge=check_ifname(bridge),
            mtu=whole(mtu, 68, 1 << 17),
            labels=texts.pairs(labels),
            created=created,
            internal=bool(internal),
            isolated=bool(isolated),
            nat=one_of(nat, "nat", "routed"),
            adopted=bool(adopted),
            follows_mtu=bool(follows),
            shards=shards,
            driver=one_of(dict(options).get(DRIVER, "bridge"), "bridge", "macvlan", "ipvlan", "remote"),
            options=tuple([pair for pair in options if pair[0] != DRIVER]),
        )

    def free_number(self) -> int:
        """The lowest network number that is free."""
        taken = {row[0] for row in self._all("SELECT number FROM network")}
        return next(n for n in range(1, 1 << 16) if n not in taken)

    def add_network(self, network: Network) -> None:
        """Stores a network; Conflict when name, bridge or number is taken."""
        try:
            self._db.execute("INSERT INTO network VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", network_row(network))
        except sqlite.IntegrityError:
            raise Conflict(f"network {network.name} or bridge {network.bridge} exists already") from None
        for place, one in enumerate(network.pools):
            texts_of = (str(one.subnet), str(one.gateway), str(one.ip_range or ""))
            aux = texts.join([(name, str(address)) for name, address in one.aux])
            row = (network.name, place, *texts_of, aux, one.subnet.first.packed)
            self._db.execute("INSERT INTO pool VALUES (?,?,?,?,?,?,?)", row)

    def change_network(self, network: Network) -> None:
        """Stores what can change of a network: labels, isolation, NAT, MTU, options."""
        self._db.execute(
            "UPDATE network SET labels=?, isolated=?, nat=?, mtu=?, follows_mtu=?, options=? WHERE name=?",
            (
                texts.join(network.labels),
                int(network.isolated),
                network.nat,
                network.mtu,
                int(network.follows_mtu),
                texts.join(network.options),
                network.name,
            ),
        )

    def set_options(self, network: str, options: tuple[tuple[str, str], ...]) -> None:
        """Stores the options of a network; its driver stays."""
        found = self.network(network)._replace(options=options)
        self._db.execute("UPDATE network SET options=? WHERE name=?", (network_row(found)[-1], network))

    def set_shards(self, network: str, shards: int) -> None:
        """Stores how many further bridges a network has."""
        self._db.execute("UPDATE network SET shards=? WHERE name=?", (shards, network))

    def remove_network(self, name: str) -> None:
        """Forgets a network."""
        for table in ("pool", "resting", "address"):
            self._db.execute(f"DELETE FROM {table} WHERE network=?", (name,))
        self._db.execute("DELETE FROM network WHERE name=?", (name,))

    def next_address(self, network: str, place: int, subnet: Subnet, now: int, longest: int) -> int:
        """Below this value every address of a pool is taken or rests. Times are as of ``rests``."""
        row = self._one("SELECT next FROM pool WHERE network=? AND place=?", network, place)
        due = self._one(
            f"SELECT min(address) FROM resting WHERE network=? AND {_DUE} AND {_WITHIN}",
            network,
            now,
            now + longest,
            *_within(subnet),
        )[0]
        low = self._read(lambda found: found[0] if due is None else min(found[0], due), row)
        return self._read(lambda found: int.from_bytes(found, "big"), low)

    def set_next_address(self, network: str, place: int, address: Address) -> None:
        """Where the next search starts."""
        self._db.execute(
            "UPDATE pool SET next=? WHERE network=? AND place=?", (address.packed, network, place)
        )

    def address_holder(self, network: str, address: Address) -> str:
        """The container that has an address, or ""."""
        row = self._one(
            "SELECT container FROM address WHERE network=? AND address=?", network, address.packed
        )
        return row[0] if row else ""

    def rests(self, network: str, address: Address, now: int, longest: int) -> bool:
        """Whether an address was released a short while ago. Times are seconds since boot; what seems to rest
        ``longest`` and more is of an earlier boot."""
        sql = f"SELECT 1 FROM resting WHERE network=? AND address=? AND NOT {_DUE}"
        return self._one(sql, network, address.packed, now, now + longest) is not None

    def rest(self, network: str, addresses: Iterable[Address], until: int) -> None:
        """Keeps released addresses from being given out before ``until`` (seconds since boot)."""
        self._db.executemany(
            "INSERT OR REPLACE INTO resting VALUES (?,?,?)", [(network, a.packed, until) for a in addresses]
        )

    def give_back(self, network: str, addresses: Iterable[Address]) -> None:
        """Addresses are free at once: the next search starts there at the latest."""
        rows = [(a.packed, network, a.packed, len(a.packed)) for a in addresses]
        self._db.executemany("UPDATE pool SET next=? WHERE network=? AND next>? AND length(next)=?", rows)

    def wake(self, now: int, longest: int) -> None:
        """Addresses that have rested long enough are free again: the next search starts there at the
        latest."""
        due = self._all(f"SELECT network, address FROM resting WHERE {_DUE}", now, now + longest)
        for network, raw in due:
            self.give_back(network, [self._read(from_packed, raw)])
        if due:
            self._db.execute(f"DELETE FROM resting WHERE {_DUE}", (now, now + longest))

    def resting(self, network: str, subnet: Subnet) -> list[Address]:
        """The addresses of a subnet that rest, the longest first."""
        sql = f"SELECT address FROM resting WHERE network=? AND {_WITHIN} ORDER BY until, address"
        return [self._read(from_packed, row[0]) for row in self._all(sql, network, *_within(subnet))]

    def count_addresses(self, network: str, subnet: Subnet) -> int:
        """How many addresses of a subnet containers have."""
        sql = f"SELECT count(*) FROM address WHERE network=? AND {_WITHIN}"
        return int(self._one(sql, network, *_within(subnet))[0])
