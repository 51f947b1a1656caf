"""Writes fixtures/*.bin: what this machine's kernel answers about namespaces made with ip, bridge and nft.

    PYTHONPATH=src:tests python3 -m core.wire.record [NAME...]

A file is datagrams, or what system calls wrote, each behind its length in four bytes. Indexes, MAC
addresses and handles are fixed or not looked at by the test, so that a new recording passes it too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from sys import byteorder

from core.wire import syscalls as sc
from core.wire import world
from core.wire.sandbox import NETLINK_NETFILTER, NETLINK_ROUTE, Kernel, command, new_netns, run
from weft.core.wire import buffer as wire
from weft.core.wire import inotify as ino
from weft.core.wire import neighbour as nb
from weft.core.wire import nfnetlink as nf
from weft.core.wire import nsfs
from weft.core.wire import nsid as ns
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


SWITCH = """
link add br0 index 10 address 02:00:00:00:00:10 type bridge stp_state 1 priority 8192
link set br0 type bridge hello_time 150 max_age 2500
link add v0 index 11 address 02:00:00:00:00:11 type veth peer name v0p index 12 address 02:00:00:00:00:12
link set v0 master br0
link set v0 type bridge_slave cost 77 priority 5 guard on fastleave on
addr add 10.1.2.1/24 dev br0
neigh add 10.1.2.9 lladdr 02:00:00:00:00:99 nud permanent dev br0
neigh add 10.1.2.8 lladdr 02:00:00:00:00:88 nud stale router dev br0
"""


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


def switched() -> dict[str, list[bytes]]:
    """Runs in another namespace: a bridge with spanning tree, neighbours, ids of namespaces."""
    command("ip", "-batch", "-", script=SWITCH)
    command("bridge", "fdb", "add", "02:00:00:00:00:aa", "dev", "v0", "master", "static", "sticky")
    with Kernel() as kernel:
        for nsid in (3, 12):
            kernel.do(ns.new_nsid(new_netns(), nsid=nsid))
    return {
        "switch": answers(NETLINK_ROUTE, rt.dump_links()),
        "neighbours": answers(NETLINK_ROUTE, nb.dump_neighbours(rt.AF_INET)),
        "fdb": answers(NETLINK_ROUTE, nb.dump_fdb()),
        "nsids": answers(NETLINK_ROUTE, ns.dump_nsids()),
    }


def process(pidfd: int, mask: int) -> bytes:
    return sc.read_ioctl(pidfd, nsfs.PIDFD_GET_INFO, nsfs.put_pidfd_info(mask))[1]


def processes() -> list[bytes]:
    """One that runs, and the same when it was waited for: its status is 3."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)
        os._exit(3)
    pidfd = os.pidfd_open(child)
    running = process(pidfd, 0)
    os.close(write)
    os.waitpid(child, 0)
    return [running, process(pidfd, nsfs.PIDFD_INFO_EXIT)]


def named() -> dict[str, list[bytes]]:
    """Runs in a third: a namespace with a name is watched, found among the mounts, and identified."""
    command("mount", "-t", "tmpfs", "tmpfs", "/run")
    command("ip", "netns", "add", "green")
    watch = sc.watched("/run/netns", ino.IN_CREATE | ino.IN_DELETE | ino.IN_MOVED_FROM | ino.IN_MOVED_TO)
    command("ip", "netns", "add", "blue")
    command("ip", "netns", "delete", "green")
    mask = nsfs.STATMOUNT_MNT_BASIC | nsfs.STATMOUNT_MNT_ROOT | nsfs.STATMOUNT_MNT_POINT
    request = [
        nsfs.put_statmount(n, mask | nsfs.STATMOUNT_FS_TYPE | nsfs.STATMOUNT_MNT_NS_ID) for n in sc.mounts()
    ]
    mounts = [data[: int.from_bytes(data[:4], byteorder)] for data in map(sc.statmount, request)]
    handle = sc.handle(-100, "/run/netns/blue")
    mnt = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    return {
        "inotify": [os.read(watch, 4096)],
        "mounts": mounts[-3:],
        "mnt_ns_info": [sc.read_ioctl(mnt, nsfs.NS_MNT_GET_INFO, nsfs.NO_MNT_NS_INFO)[1]],
        "handle": [handle[: 8 + int.from_bytes(handle[:4], byteorder)]],
        "processes": processes(),
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
    found = {**run(recorded), **run(switched), **run(named)}
    for name, datagrams in found.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        parts = [len(datagram).to_bytes(4, "little") + datagram for datagram in datagrams]
        (FIXTURES / f"{name}.bin").write_bytes(b"".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
