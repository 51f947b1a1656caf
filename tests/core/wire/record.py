"""Writes fixtures/*.bin: what this machine's kernel answers about a namespace made with ip and nft.

    PYTHONPATH=src:tests python3 -m core.wire.record

A file is datagrams, each behind its length in four bytes. Indexes, MAC addresses and handles are fixed
or not looked at by the test, so that a new recording passes it too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from core.wire import world
from core.wire.sandbox import NETLINK_NETFILTER, NETLINK_ROUTE, Kernel, command, new_netns, run
from weft.core.wire import buffer as wire
from weft.core.wire import nfnetlink as nf
from weft.core.wire import rtnetlink as rt

FIXTURES = Path(__file__).resolve().parent / "fixtures"

SCRIPT = """
link add br0 index 10 address 02:00:00:00:00:10 type bridge forward_delay 0 ageing_time 12300
link set br0 up alias "blue net"
link property add dev br0 altname weft:0123456789abcdef altname another
addr add 10.1.2.1/24 brd + dev br0
addr add fd00:1::1/64 dev br0 nodad noprefixroute
route add default via 10.1.2.9 dev br0 metric 50
route add prohibit 10.77.0.0/16 table 356353 proto 87
rule add pref 5700 iif br0 fwmark 0x100/0xff00 lookup 356353 protocol 87
"""
VETH = (
    "link add h0 index 11 address 02:00:00:00:00:11 mtu 1400 numtxqueues 1 numrxqueues 1 group 77 master br0 "
    "type veth peer name eth0 netns {netns}\n"
    "link set h0 addrgenmode none type bridge_slave hairpin on mcast_flood off\n"
)


def answers(protocol: int, message: tuple[int, int, bytes]) -> list[bytes]:
    with Kernel(protocol) as kernel:
        kernel.ask(message)
        return kernel.datagrams


def refusal() -> list[bytes]:
    kind, flags, payload = rt.new_link(rt.Link(ifname="x0", kind="nosuchkind"))
    with Kernel(cap=False) as kernel:
        kernel.exchange(wire.frame(kind, flags, 1, payload))
        return kernel.datagrams


def recorded() -> dict[str, list[bytes]]:
    """Runs in a namespace of its own."""
    command("ip", "-batch", "-", script=SCRIPT)
    netns = new_netns()
    command("ip", "-batch", "-", script=VETH.format(netns=f"/proc/{os.getpid()}/fd/{netns}"))
    command("nft", "-f", "-", script=world.TEXT)
    return {
        "links": answers(NETLINK_ROUTE, rt.dump_links()),
        "addresses": answers(NETLINK_ROUTE, rt.dump_addresses()),
        "routes": answers(NETLINK_ROUTE, rt.dump_routes(rt.AF_INET)),
        "rules": answers(NETLINK_ROUTE, rt.dump_rules(rt.AF_INET)),
        "refusal": refusal(),
        "nft_rules": answers(NETLINK_NETFILTER, nf.dump_rules(nf.NFPROTO_UNSPEC)),
        "nft_sets": answers(NETLINK_NETFILTER, nf.dump_sets(nf.NFPROTO_INET)),
        "nft_elements": answers(NETLINK_NETFILTER, nf.dump_elements(nf.NFPROTO_INET, "weft", "publish4")),
    }


def load(name: str) -> list[bytes]:
    """The datagrams of a fixture."""
    data, found = (FIXTURES / f"{name}.bin").read_bytes(), []
    while data:
        size = int.from_bytes(data[:4], "little")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def main() -> int:
    FIXTURES.mkdir(exist_ok=True)
    for name, datagrams in run(recorded).items():
        parts = [len(datagram).to_bytes(4, "little") + datagram for datagram in datagrams]
        (FIXTURES / f"{name}.bin").write_bytes(b"".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
