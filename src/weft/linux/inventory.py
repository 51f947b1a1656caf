"""One look at all that weft has in the kernel and beside it: for repair, watch and gc. It changes nothing."""

from __future__ import annotations

import errno
import posix

from weft.core.drivers.bridge import PROTOCOL, TABLE
from weft.core.model.address import Address, Subnet, from_packed
from weft.core.model.inventory import Inventory, SeenLink, SeenRule, SeenTable
from weft.core.model.names import mac_text
from weft.core.ops.netns import ETC_NETNS
from weft.core.wire import nfnetlink as nf
from weft.core.wire import rtnetlink as rt
from weft.linux import files, netns
from weft.linux.netlink import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.core.model.inventory import Entry
    from weft.linux.execute import Hands
    from weft.linux.netlink import Netlink

_TABLES = (("inet", nf.NFPROTO_INET), ("bridge", nf.NFPROTO_BRIDGE))
_NAME = "weft"


def look(hands: Hands, run_dir: str, sysctls: Iterable[str]) -> Inventory:
    """All of it. ``sysctls``: the host's that are asked about, with slashes."""
    payloads = hands.route.dump(rt.dump_links())
    found = [rt.get_link(p) for p in payloads]
    names = {link.ifindex: link.ifname or "" for link in found}
    pvids = _pvids(hands.route) if any(_filters(link) for link in found) else {}
    return Inventory(
        links=tuple([_link(link, names, pvids) for link in found]),
        addresses=_addresses(hands.route, names),
        tables=tables(hands.filter),
        rules=_rules(hands.route),
        prohibits=_prohibits(hands.route),
        sysctls=tuple([(key, files.read_sysctl(key)) for key in sysctls]),
        names=frozenset([name for name in netns.names() if netns.inode(name)]),
        files=tuple(_hosts_files(run_dir)),
        shown=tuple(_shown()),
    )


def _filters(link: rt.Link) -> bool:
    return link.bridge is not None and bool(link.bridge.vlan_filtering)


def _pvids(route: Netlink) -> dict[int, int]:
    """In which VLAN each port is, and each bridge itself: asked where a bridge knows VLANs."""
    from weft.core.wire.vlan import dump_vlans, get_vlans

    ports = [get_vlans(payload) for payload in route.dump(dump_vlans())]
    return {port.ifindex: vlan.vid for port in ports for vlan in port.vlans if vlan.pvid}


def _link(link: rt.Link, names: dict[int, str], pvids: dict[int, int]) -> SeenLink:
    return SeenLink(
        ifname=link.ifname or "",
        kind=link.kind or "",
        altnames=link.altnames,
        alias=link.alias or "",
        master=names.get(link.master or 0, ""),
        up=bool(link.flags & rt.IFF_UP),
        mtu=link.mtu or 0,
        mac=mac_text(link.mac) if link.mac else "",
        isolated=bool(link.port is not None and link.port.isolated),
        hairpin=bool(link.port is not None and link.port.hairpin),
        group=link.group or 0,
        filters=_filters(link),
        vlan=(link.bridge.default_pvid or 0) if link.bridge is not None and _filters(link) else 0,
        pvid=pvids.get(link.ifindex, 0),
    )


def _addresses(route: Netlink, names: dict[int, str]) -> frozenset[tuple[str, Address, int]]:
    found = [rt.get_address(p) for p in route.dump(rt.dump_addresses())]
    return frozenset([(names.get(a.ifindex, ""), from_packed(a.address), a.prefixlen) for a in found])


def _rules(route: Netlink) -> frozenset[SeenRule]:
    found = []
    for family in (2, 10):
        for payload in route.dump(rt.dump_rules(family)):
            rule = rt.get_rule(payload)
            if rule.protocol == PROTOCOL:
                found.append(_rule(rule, 4 if family == 2 else 6))
    return frozenset(found)


def _rule(rule: rt.Rule, version: int) -> SeenRule:
    to = Subnet(version, from_packed(rule.dst).value, rule.dst_len) if rule.dst else None
    return SeenRule(version, rule.priority or 0, rule.iifname or "", rule.table, to, rule.fwmask or 0)


def _prohibits(route: Netlink) -> frozenset[Subnet]:
    found = []
    for family in (2, 10):
        for payload in route.dump(rt.dump_routes(family)):
            entry = rt.get_route(payload)
            if entry.table == TABLE and entry.protocol == PROTOCOL and entry.dst is not None:
                first = from_packed(entry.dst)
                found.append(Subnet(first.version, first.value, entry.dst_len))
    return frozenset(found)


def tables(netfilter: Netlink) -> tuple[tuple[str, SeenTable], ...]:
    """The tables named weft, with all that is in them."""
    found = []
    for name, family in _TABLES:
        try:
            comment = nf.get_table(netfilter.ask(nf.get_table_request(family, _NAME))).comment or ""
            found.append((name, _table(netfilter, family, comment)))
        except Refusal as error:
            if error.errno == errno.ENOENT:
                continue  # never there, or gone under this look
            raise
    return tuple(found)


def _table(netfilter: Netlink, family: int, comment: str) -> SeenTable:
    chains = [nf.get_chain(p) for p in netfilter.dump(nf.dump_chains(family))]
    rules = [nf.get_rule(p) for p in netfilter.dump(nf.dump_rules(family, _NAME))]
    sets = [nf.get_set(p) for p in netfilter.dump(nf.dump_sets(family, _NAME))]
    return SeenTable(
        comment=comment,
        chains=frozenset([c.name for c in chains if c.table == _NAME]),
        rules=tuple([(r.chain, r.expressions) for r in rules if r.table == _NAME]),
        sets=tuple([(s.name, _elements(netfilter, family, s.name)) for s in sets if s.table == _NAME]),
    )


def _elements(netfilter: Netlink, family: int, name: str) -> frozenset[Entry]:
    found: list[Entry] = []
    for payload in netfilter.dump(nf.dump_elements(family, _NAME, name)):
        for e in nf.get_elements(payload).elements:
            data = e.data if isinstance(e.data, bytes) else b""
            found.append((e.key, data, bool(e.flags & nf.NFT_SET_ELEM_INTERVAL_END)))
    return frozenset(found)


def _hosts_files(run_dir: str) -> Iterable[tuple[str, frozenset[str]]]:
    for folder in (f"{run_dir}/hosts", f"{run_dir}/own-hosts"):
        for name in _listed(folder):
            path = f"{folder}/{name}"
            try:
                fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
            except OSError:
                continue
            text = posix.read(fd, posix.fstat(fd).st_size).decode("utf-8", "replace")
            posix.close(fd)
            yield path, frozenset([line for line in text.split("\n") if line and line[0] != "#"])


def _shown() -> Iterable[tuple[str, str]]:
    for name in _listed(ETC_NETNS):
        try:
            yield name, posix.readlink(f"{ETC_NETNS}/{name}/hosts")
        except OSError:
            continue


def _listed(folder: str) -> list[str]:
    try:
        return sorted(posix.listdir(folder))
    except OSError:
        return []
