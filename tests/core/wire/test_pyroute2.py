"""What we encode, decoded by pyroute2, which has its own idea of every attribute."""

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
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from core.wire import world
from weft.core.wire import buffer as wire
from weft.core.wire import nfnetlink as nf
from weft.core.wire import rtnetlink as rt

Message = tuple[int, int, bytes]


def decoded(cls: Any, message: Message) -> Any:
    kind, flags, payload = message
    found = cls(wire.frame(kind, flags, 1, payload))
    found.decode()
    assert (found["header"]["type"], found["header"]["flags"]) == (kind, flags)
    return found


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
