"""What we encode, decoded by pyroute2, and the other way: it has its own idea of every attribute."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink.nfnetlink.nftsocket import (
    nft_chain_msg,
    nft_rule_msg,
    nft_set_elem_list_msg,
    nft_set_msg,
    nft_table_msg,
)
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from core.wire import world
from weft.core.wire import buffer as wire
from weft.core.wire import neighbour as nb
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nsid
from weft.core.wire import rtnetlink as rt

Message = tuple[int, int, bytes]


def decoded(cls: Any, message: Message) -> Any:
    kind, flags, payload = message
    found = cls(wire.frame(kind, flags, 1, payload))
    found.decode()
    assert (found["header"]["type"], found["header"]["flags"]) == (kind, flags)
    return found


def encoded(cls: Any, attributes: dict[str, Any], **header: Any) -> bytes:
    """A payload by pyroute2."""
    message = cls()
    for name, value in header.items():
        message[name] = value
    message["attrs"] = list(attributes.items())
    message.encode()
    return bytes(message.data)[16:]


def values(found: Any, *names: str) -> list[Any]:
    return [found.get_attr(name) for name in names]


def test_the_veth_of_an_attach() -> None:
    peer = rt.Link(ifname="eth0", mac=bytes.fromhex("020000000002"), mtu=1400, netns_fd=9, num_tx_queues=1)
    fields: dict[str, Any] = {"flags": 1, "change": 1, "master": 5, "group": 77, "num_rx_queues": 1}
    link = rt.Link(ifname="h", kind="veth", mac=bytes.fromhex("020000000001"), mtu=1400, peer=peer, **fields)
    found = decoded(ifinfmsg, rt.new_link(link))
    assert (found["flags"], found["change"], found["index"]) == (1, 1, 0)
    names = ("IFLA_IFNAME", "IFLA_ADDRESS", "IFLA_MTU", "IFLA_MASTER", "IFLA_GROUP", "IFLA_NUM_RX_QUEUES")
    assert values(found, *names) == ["h", "02:00:00:00:00:01", 1400, 5, 77, 1]
    info = found.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    other = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    peer_names = ("IFLA_IFNAME", "IFLA_ADDRESS", "IFLA_MTU", "IFLA_NET_NS_FD", "IFLA_NUM_TX_QUEUES")
    assert values(other, *peer_names) == ["eth0", "02:00:00:00:00:02", 1400, 9, 1]


def test_a_bridge_and_its_port() -> None:
    asked = rt.Bridge(stp_state=0, forward_delay=200, mcast_snooping=0, vlan_filtering=1)
    bridge = decoded(ifinfmsg, rt.new_link(rt.Link(ifname="br0", kind="bridge", bridge=asked)))
    data = bridge.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    names = ("IFLA_BR_STP_STATE", "IFLA_BR_FORWARD_DELAY", "IFLA_BR_MCAST_SNOOPING", "IFLA_BR_VLAN_FILTERING")
    assert values(data, *names) == [0, 200, 0, 1]
    port = rt.Port(hairpin=1, isolated=0, mcast_flood=0)
    link = decoded(ifinfmsg, rt.set_link(rt.Link(ifname="h", alias="x", addr_gen_mode=1, port=port)))
    info = link.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
    slave = info.get_attr("IFLA_INFO_SLAVE_DATA")
    names = ("IFLA_BRPORT_MODE", "IFLA_BRPORT_ISOLATED", "IFLA_BRPORT_MCAST_FLOOD", "IFLA_BRPORT_STATE")
    assert values(slave, *names) == [1, 0, 0, None]
    assert link.get_attr("IFLA_IFALIAS") == "x"
    inet6 = link.get_attr("IFLA_AF_SPEC").get_attr("AF_INET6")
    assert inet6.get_attr("IFLA_INET6_ADDR_GEN_MODE") == 1


def test_a_switch() -> None:
    ident = bytes.fromhex("1000020000000001")
    facts: dict[str, Any] = {"hello_time": 150, "max_age": 2500, "priority": 4096, "root_port": 3}
    asked = rt.Bridge(root_id=ident, root_path_cost=2, topology_change=1, **facts)
    bridge = decoded(ifinfmsg, rt.set_link(rt.Link(ifname="br0", kind="bridge", bridge=asked)))
    data = bridge.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    assert values(data, *[f"IFLA_BR_{name.upper()}" for name in facts]) == list(facts.values())
    assert values(data, "IFLA_BR_ROOT_PATH_COST", "IFLA_BR_TOPOLOGY_CHANGE") == [2, 1]
    root = data.get_attr("IFLA_BR_ROOT_ID")
    assert (root["prio"], root["addr"]) == (int.from_bytes(ident[:2], "little"), "02:00:00:00:00:01")
    numbers = {"priority": 5, "cost": 77, "guard": 1, "protect": 0, "fast_leave": 1, "designated_port": 9}
    numbers |= {"designated_cost": 8, "id": 0x8001, "no": 1}
    port = rt.Port(bridge_id=ident, **numbers)  # type: ignore[arg-type]
    link = decoded(ifinfmsg, rt.set_link(rt.Link(ifname="h", netns_pid=7, port=port)))
    slave = link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_SLAVE_DATA")
    assert values(slave, *[f"IFLA_BRPORT_{name.upper()}" for name in numbers]) == list(numbers.values())
    assert slave.get_attr("IFLA_BRPORT_BRIDGE_ID")["addr"] == "02:00:00:00:00:01"
    assert link.get_attr("IFLA_NET_NS_PID") == 7


def test_counters() -> None:
    names = rt.Counters._fields
    told = {name: n + (1 << 40) for n, name in enumerate(names)}
    rest = dict.fromkeys([field for field, _ in ifinfmsg.ifstats64.fields if field not in names], 99)
    payload = encoded(ifinfmsg, {"IFLA_IFNAME": "h", "IFLA_STATS64": {**told, **rest}}, index=3)
    assert rt.get_counters(payload) == rt.Counters(**told)


def test_the_ports_of_a_bridge() -> None:
    found = decoded(ifinfmsg, rt.dump_links(master=5, target_netnsid=2))
    assert values(found, "IFLA_MASTER", "IFLA_IF_NETNSID", "IFLA_EXT_MASK") == [5, 2, 8]


def test_ids_of_namespaces() -> None:
    names = ("NETNSA_NSID", "NETNSA_PID", "NETNSA_FD", "NETNSA_TARGET_NSID")
    for message, expected in (
        (nsid.new_nsid(9), [0xFFFFFFFF, None, 9, None]),
        (nsid.new_nsid(pid=7, nsid=3), [3, 7, None, None]),
        (nsid.get_nsid_request(nsid=2, target_nsid=4), [2, None, None, 4]),
        (nsid.dump_nsids(), [None] * 4),
    ):
        assert values(decoded(nsidmsg, message), *names) == expected
    answer = encoded(nsidmsg, {"NETNSA_NSID": 0xFFFFFFFF, "NETNSA_CURRENT_NSID": 5})
    assert nsid.get_nsid(answer) == nsid.Nsid(-1, current_nsid=5)


def test_neighbours() -> None:
    asked = nb.Neighbour(3, 2, bytes([10, 1, 2, 9]), bytes.fromhex("020000000001"), nb.NUD_PERMANENT)
    found = decoded(ndmsg, nb.new_neighbour(asked))
    assert (found["family"], found["ifindex"], found["state"], found["flags"]) == (2, 3, 0x80, 0)
    assert values(found, "NDA_DST", "NDA_LLADDR") == ["10.1.2.9", "02:00:00:00:00:01"]
    ages = dict(zip(("ndm_confirmed", "ndm_used", "ndm_updated", "ndm_refcnt"), range(4), strict=True))
    attributes = {"NDA_DST": "10.1.2.9", "NDA_LLADDR": "02:00:00:00:00:01", "NDA_CACHEINFO": ages}
    told = encoded(ndmsg, attributes, family=2, ifindex=3, state=0x80, ndm_type=1)
    assert nb.get_neighbour(told) == asked._replace(type=1, cacheinfo=nb.CacheInfo(0, 1, 2, 3))


def test_a_mac_table() -> None:
    mac = bytes.fromhex("020000000001")
    entry = nb.Neighbour(4, 7, lladdr=mac, state=nb.NUD_NOARP, flags=nb.NTF_MASTER, vlan=7, ext_flags=1)
    found = decoded(ndmsg, nb.new_neighbour(entry))
    assert (found["family"], found["ifindex"], found["state"], found["flags"]) == (7, 4, 0x40, 4)
    assert values(found, "NDA_LLADDR", "NDA_VLAN", "NDA_FLAGS_EXT") == ["02:00:00:00:00:01", 7, 1]
    assert values(decoded(ndmsg, nb.dump_fdb(9)), "NDA_MASTER", "NDA_IFINDEX") == [9, None]
    assert values(decoded(ndmsg, nb.dump_neighbours(2, 8)), "NDA_MASTER", "NDA_IFINDEX") == [None, 8]
    told = encoded(
        ndmsg,
        {"NDA_LLADDR": "02:00:00:00:00:01", "NDA_VLAN": 7, "NDA_MASTER": 9},
        family=7,
        ifindex=4,
        state=0x40,
    )
    assert nb.get_neighbour(told) == entry._replace(flags=0, ext_flags=0, master=9)


def test_altnames() -> None:
    found = decoded(ifinfmsg, rt.add_altname("h", "weft:0123456789abcdef", "b"))
    names = found.get_attr("IFLA_PROP_LIST")
    assert [v for _, v in names["attrs"]] == ["weft:0123456789abcdef", "b"]
    assert found.get_attr("IFLA_IFNAME") == "h"
    deleted = decoded(ifinfmsg, rt.del_link(name="weft:0123456789abcdef"))
    assert values(deleted, "IFLA_IFNAME", "IFLA_ALT_IFNAME") == [None, "weft:0123456789abcdef"]


def test_addresses_routes_and_rules() -> None:
    asked = rt.Address(3, bytes([10, 1, 2, 1]), 24, broadcast=bytes([10, 1, 2, 255]), flags=0x200)
    address = decoded(ifaddrmsg, rt.new_address(asked))
    assert (address["family"], address["prefixlen"], address["index"], address["scope"]) == (2, 24, 3, 0)
    names = ("IFA_LOCAL", "IFA_ADDRESS", "IFA_BROADCAST", "IFA_FLAGS")
    assert values(address, *names) == ["10.1.2.1", "10.1.2.1", "10.1.2.255", 0x200]

    prohibit = rt.Route(
        2, bytes([10, 7, 0, 0]), 16, table=70000, protocol=87, type=rt.RTN_PROHIBIT, priority=3
    )
    route = decoded(rtmsg, rt.new_route(prohibit))
    assert (route["dst_len"], route["proto"], route["type"], route["scope"]) == (16, 87, 8, 0)
    assert values(route, "RTA_DST", "RTA_TABLE", "RTA_PRIORITY") == ["10.7.0.0", 70000, 3]

    marked = rt.Rule(2, 57, "br0", table=70000, fwmark=0, fwmask=256, protocol=87)
    rule = decoded(fibmsg, rt.new_rule(marked))
    assert (rule["family"], rule["action"]) == (2, 1)
    rule_names = ("FRA_PRIORITY", "FRA_IIFNAME", "FRA_TABLE", "FRA_FWMARK", "FRA_FWMASK", "FRA_PROTOCOL")
    assert values(rule, *rule_names) == [57, "br0", 70000, 0, 256, 87]


def test_nf_tables_objects() -> None:
    table = decoded(nft_table_msg, nf.new_table(world.TABLES[0]))
    assert (table["nfgen_family"], table.get_attr("NFTA_TABLE_NAME")) == (1, "weft")
    chain = decoded(nft_chain_msg, nf.new_chain(world.CHAINS[3]))
    assert values(chain, "NFTA_CHAIN_NAME", "NFTA_CHAIN_TYPE", "NFTA_CHAIN_POLICY") == [
        "forward",
        "filter",
        0,
    ]
    hook = chain.get_attr("NFTA_CHAIN_HOOK")
    assert values(hook, "NFTA_HOOK_HOOKNUM", "NFTA_HOOK_PRIORITY") == [2, 0]
    found = decoded(nft_set_msg, nf.new_set(world.SETS[5]))
    set_names = ("NFTA_SET_NAME", "NFTA_SET_KEY_LEN", "NFTA_SET_DATA_LEN", "NFTA_SET_ID")
    assert values(found, *set_names) == ["publish4", 12, 8, 1]


def test_nf_tables_rules_and_elements() -> None:
    rule = decoded(nft_rule_msg, nf.new_rule(world.RULES[2]))
    assert values(rule, "NFTA_RULE_TABLE", "NFTA_RULE_CHAIN") == ["weft", "prerouting"]
    names = [e.get_attr("NFTA_EXPR_NAME") for e in rule.get_attr("NFTA_RULE_EXPRESSIONS")]
    assert names == ["fib", "cmp", "meta", "cmp", "meta", "payload", "payload", "lookup", "nat"]
    (message,) = nf.new_elements(1, "weft", "publish4", world.ELEMENTS["publish4"])
    found = decoded(nft_set_elem_list_msg, message)
    assert found.get_attr("NFTA_SET_ELEM_LIST_SET") == "publish4"
    (element,) = found.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS")
    key = element.get_attr("NFTA_SET_ELEM_KEY").get_attr("NFTA_DATA_VALUE")
    assert bytes(key) == world.ELEMENTS["publish4"][0].key
