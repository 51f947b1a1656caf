"""The tables of the database, and rows to values and back."""

from __future__ import annotations

from weft.core.model.address import parse_address, parse_subnet
from weft.core.model.network import REFUSING, Hop, Network, Pool
from weft.store import texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

SCHEMA_VERSION = 5
#: Addresses are their bytes in network order, so that they sort as the numbers they are.
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE network (
  name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, bridge TEXT NOT NULL UNIQUE, mtu INTEGER NOT NULL,
  labels TEXT NOT NULL, created INTEGER NOT NULL, internal INTEGER NOT NULL, isolated INTEGER NOT NULL,
  nat TEXT NOT NULL, adopted INTEGER NOT NULL, follows_mtu INTEGER NOT NULL,
  shards INTEGER NOT NULL, options TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE pool (
  network TEXT NOT NULL REFERENCES network, place INTEGER NOT NULL, subnet TEXT NOT NULL,
  gateway TEXT NOT NULL, ip_range TEXT NOT NULL, aux TEXT NOT NULL, next BLOB NOT NULL, PRIMARY KEY
  (network, place)) WITHOUT ROWID;
CREATE TABLE container (
  name TEXT PRIMARY KEY, hostname TEXT NOT NULL, dns TEXT NOT NULL, search TEXT NOT NULL,
  command BLOB NOT NULL, auto_remove INTEGER NOT NULL, created INTEGER NOT NULL, mode TEXT NOT NULL,
  target TEXT NOT NULL, inode INTEGER NOT NULL, extra_hosts TEXT NOT NULL, sysctls TEXT NOT NULL,
  labels TEXT NOT NULL,
  state TEXT NOT NULL, pid INTEGER, started INTEGER, exit_code INTEGER,
  watcher INTEGER, watcher_started INTEGER) WITHOUT ROWID;
CREATE INDEX container_pid ON container (pid) WHERE pid IS NOT NULL;
CREATE INDEX container_watcher ON container (watcher) WHERE watcher IS NOT NULL;
CREATE INDEX container_mode ON container (mode) WHERE mode <> '';
CREATE INDEX container_target ON container (inode) WHERE target <> '';
CREATE TABLE endpoint (
  container TEXT NOT NULL REFERENCES container, network TEXT NOT NULL REFERENCES network,
  mac TEXT NOT NULL, ifname TEXT NOT NULL, aliases TEXT NOT NULL, priority INTEGER NOT NULL,
  sysctls TEXT NOT NULL, routes TEXT NOT NULL, shard INTEGER NOT NULL, own_hosts INTEGER NOT NULL,
  options TEXT NOT NULL, PRIMARY KEY (container, network)) WITHOUT ROWID;
CREATE INDEX endpoint_network ON endpoint (network, container);
CREATE INDEX endpoint_shard ON endpoint (network, shard);
CREATE INDEX endpoint_own_hosts ON endpoint (network, container) WHERE own_hosts = 1;
CREATE UNIQUE INDEX endpoint_mac ON endpoint (network, mac) WHERE mac <> '';
CREATE TABLE address (
  network TEXT NOT NULL, address BLOB NOT NULL, container TEXT NOT NULL, prefix INTEGER NOT NULL,
  PRIMARY KEY (network, address)) WITHOUT ROWID;
CREATE INDEX address_container ON address (container, network);
CREATE TABLE resting (
  network TEXT NOT NULL, address BLOB NOT NULL, until INTEGER NOT NULL,
  PRIMARY KEY (network, address)) WITHOUT ROWID;
CREATE INDEX resting_until ON resting (until);
CREATE TABLE publish (
  proto TEXT NOT NULL, host_port INTEGER NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
  container TEXT NOT NULL, network TEXT NOT NULL, loopback INTEGER NOT NULL,
  PRIMARY KEY (proto, host_port, host)) WITHOUT ROWID;
CREATE INDEX publish_container ON publish (container, network);
CREATE INDEX publish_loopback ON publish (loopback) WHERE loopback = 1;
CREATE TABLE spec (container TEXT PRIMARY KEY, rooted INTEGER NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE life (
  container TEXT PRIMARY KEY, policy TEXT NOT NULL, stopped INTEGER NOT NULL, restarts INTEGER NOT NULL,
  backoff INTEGER NOT NULL, started_at INTEGER NOT NULL, finished_at INTEGER NOT NULL, health TEXT NOT NULL,
  failures INTEGER NOT NULL, said TEXT NOT NULL, kept TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, type TEXT NOT NULL, action TEXT NOT NULL,
  name TEXT NOT NULL, object TEXT NOT NULL, attributes TEXT NOT NULL);
CREATE TABLE journal (
  id INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL, subject TEXT NOT NULL,
  plan TEXT NOT NULL, undo TEXT NOT NULL, forward INTEGER NOT NULL);
CREATE TABLE namespace (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, how TEXT NOT NULL, inode INTEGER NOT NULL, handle BLOB NOT NULL,
  created INTEGER NOT NULL, removed INTEGER NOT NULL);
CREATE UNIQUE INDEX namespace_name ON namespace (name) WHERE removed = 0;
"""
CONTAINER = (
    "name, hostname, dns, search, command, auto_remove, created, mode, target, inode, extra_hosts, sysctls,"
    " labels, state, pid, started, exit_code, watcher, watcher_started"
)
ENDPOINT = "network, container, mac, ifname, aliases, priority, sysctls, routes, shard, options"
POOL = "subnet, gateway, ip_range, aux"


#: The option under which a network's driver is kept that is not ``bridge``.
DRIVER = "driver"


def whole(value: Any, low: int, high: int) -> int:
    """The number; ValueError when it is none of that range."""
    if not isinstance(value, int) or not low <= value < high:
        raise ValueError(f"{value!r} is no number from {low} to {high - 1}")
    return value


def one_of(value: Any, *words: str) -> str:
    """The word; ValueError when it is another."""
    if value not in words:
        raise ValueError(f"{value!r} is none of {', '.join(words)}")
    return str(value)


def some(found: list[T]) -> tuple[T, ...]:
    """What there must be at least one of; ValueError."""
    if not found:
        raise ValueError("something has lost its addresses")
    return tuple(found)


def pool(row: Any) -> Pool:
    """A row of POOL."""
    text, router, ip_range, aux = row
    subnet, gateway = parse_subnet(text), parse_address(router)
    if gateway not in subnet:
        raise ValueError(f"the gateway {gateway} is outside {subnet}")
    return Pool(
        subnet,
        gateway,
        parse_subnet(ip_range) if ip_range else None,
        tuple([(name, parse_address(text)) for name, text in texts.pairs(aux)]),
    )


def network_row(network: Network) -> tuple[Any, ...]:
    """A row of the table of networks."""
    return (
        network.name,
        network.number,
        network.bridge,
        network.mtu,
        texts.join(network.labels),
        network.created,
        int(network.internal),
        int(network.isolated),
        network.nat,
        int(network.adopted),
        int(network.follows_mtu),
        network.shards,
        texts.join([*network.options, *([] if network.bridged else [(DRIVER, network.driver)])]),
    )


def hop_words(route: Hop) -> tuple[str, str]:
    """How a route is kept: where it leads, and by what; what is seldom said stands behind that."""
    more = f" {route.type} {route.metric}" if (route.type, route.metric) != ("unicast", 0) else ""
    return str(route.to), f"{route.via or ''}{more}"


def hop(to: str, way: str) -> Hop:
    """A route as it is kept."""
    via, *more = way.split(" ")
    kind, metric = more or ("unicast", "0")
    known = one_of(kind, "unicast", *REFUSING)
    return Hop(parse_subnet(to), parse_address(via) if via else None, known, whole(int(metric), 0, 1 << 32))
