"""Forgets tracked connections to published ports (conntrack(8), nf_conntrack_netlink.c)."""

from __future__ import annotations

import errno
import posix
from _socket import AF_INET, AF_INET6, AF_UNSPEC, inet_pton

from weft.core.wire import ctnetlink as ct
from weft.core.wire import rtnetlink as rt
from weft.linux.netlink import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.linux.netlink import Netlink

    Port = tuple[str, str, int]

_PROTOCOLS = {"tcp": 6, "udp": 17}
_COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"
#: Reading walks all buckets, whatever is in them (2.5 ms for the 262144 of a machine with much memory): it
#: is done once. Only where the table holds more than this is it cheaper to have the kernel choose, a port at
#: a time.
_MANY = 10_000
_FEW = 4
_ANY = ("0.0.0.0", "::")


def flush(netfilter: Netlink, route: Netlink, ports: Sequence[Port]) -> None:
    """Forgets the connections whose original destination is one of these published ports.

    Without any tracked connection that is one look. Refusal when the kernel refuses other than because one
    has ended meanwhile; a kernel without conntrack's netlink (CONFIG_NF_CT_NETLINK) has nothing forgotten.
    """
    tracked = _tracked()
    if not tracked:
        return
    wanted = {(_PROTOCOLS[proto], port) for proto, _, port in ports}
    hosts: dict[tuple[int, int], set[bytes | None]] = {}
    for proto, host, port in ports:
        hosts.setdefault((_PROTOCOLS[proto], port), set()).add(None if host in _ANY else _packed(host))
    families = {AF_INET6 if ":" in host else AF_INET for _, host, _ in ports}
    local: set[bytes] = set()
    try:
        found = _dump(netfilter, families, wanted, tracked)
        if found and any(None in addresses for addresses in hosts.values()):
            local = {rt.get_address(p).address for p in route.dump(rt.dump_addresses())}
        doomed = [c for c in found if _matches(c, hosts, local)]
    except Refusal as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return
        raise
    for refused in netfilter.attempt([ct.del_connection(c) for c in doomed]):
        if refused.errno != errno.ENOENT:
            raise refused


def _tracked() -> int:
    """How many connections there are; one when that cannot be told."""
    try:
        fd = posix.open(_COUNT, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return 1
    count = posix.read(fd, 32)
    posix.close(fd)
    return int(count)


def _packed(host: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in host else AF_INET, host)


def _dump(
    netfilter: Netlink, families: set[int], wanted: set[tuple[int, int]], tracked: int
) -> list[ct.Connection]:
    family = min(families) if len(families) == 1 else AF_UNSPEC
    if len(wanted) > (_FEW if tracked > _MANY else 1):
        messages = [ct.dump_connections(family)]
    else:
        messages = [ct.dump_port(family, proto, port) for proto, port in sorted(wanted)]
    found = [ct.get_connection(p) for message in messages for p in netfilter.dump(message)]
    return [c for c in found if (c.original.proto, c.original.dport) in wanted]


def _matches(
    found: ct.Connection, hosts: dict[tuple[int, int], set[bytes | None]], local: set[bytes]
) -> bool:
    """Its original destination is the port's host address; for all addresses: one of this host's, or one that
    was translated (as a host's address may have gone since)."""
    to = found.original.dst
    addresses = hosts[found.original.proto, found.original.dport]
    if to in addresses:
        return True
    own = to in local or to[:1] == b"\x7f" or found.reply.src != to
    return None in addresses and own
