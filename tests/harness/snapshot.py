"""The whole picture of a Host's kernel as a value, the difference of two, and waiting without sleeping."""

from __future__ import annotations

import ctypes
import difflib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from harness.host import HERE, PYTHON, Host

Snapshot = dict[str, Any]

CLONE_NEWNET = 0x40000000
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_LISTEN_ALL_NSID = 270, 1, 8
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
#: LINK, NEIGH, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE, NSID
ROUTE_GROUPS = (1, 3, 4, 5, 7, 8, 9, 11, 19, 28)
NFTABLES_GROUP = 7


def snapshot(host: Host, *, wait: bool = True, neighbours: bool = False) -> Snapshot:
    """Links, addresses, routes, rules, nft, sysctls of every named namespace ("host" is the machine's own);
    mounts, weft's files, processes that no ``popen`` of the test started.

    Normalised: without indexes, counters, timers, and the kernel's own link-local addresses. Permanent
    neighbours are always in, learnt ones (without their state) with ``neighbours``.

    Links take up to a second to say UP, and addresses to be found unique. ``wait`` for that, or leave
    out of the picture what depends on it (operstate, routes' linkdown): 20 times as fast.
    """
    spec = json.dumps({"ignore": _own_processes(host), "wait": wait, "neighbours": neighbours})
    argv = [*PYTHON, str(HERE / "picture.py"), spec]
    while (done := host.run(argv, check=False)).returncode == -signal.SIGKILL:
        pass  # it looks into namespaces, and a removal ends whoever is in one
    assert done.returncode == 0, done.stderr
    picture: Snapshot = json.loads(done.stdout)
    return picture


def _own_processes(host: Host) -> list[int]:
    found = []
    for process in host.processes:
        try:
            found.append(process.inner_pid())
        except ProcessLookupError:
            continue
    return found


def diff(before: Any, after: Any) -> list[str]:
    """One line for each difference, with its place: ``~ netns/host/links/br0/mtu: 1500 -> 1400``."""
    return list(_differences("", before, after))


def _differences(place: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            here = f"{place}/{key}" if place else str(key)
            if key not in after:
                yield f"- {here}: {_shown(before[key])}"
            elif key not in before:
                yield f"+ {here}: {_shown(after[key])}"
            else:
                yield from _differences(here, before[key], after[key])
    elif isinstance(before, list) and isinstance(after, list):
        lines = difflib.ndiff([_shown(item) for item in before], [_shown(item) for item in after])
        yield from (f"{line[0]} {place}: {line[2:]}" for line in lines if line[0] in "+-")
    else:
        yield f"~ {place}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 300 else text[:297] + "..."


def differences(host: Host, before: Snapshot, timeout: float = 3, *, wait: bool = True) -> list[str]:
    """``diff`` with what is there now, after time for the kernel's own asynchronous endings (namespaces).

    ``wait`` as it was for ``before``.
    """
    found: list[str] = []

    def same() -> bool:
        found[:] = diff(before, snapshot(host, wait=wait))
        return not found

    settle(host, same, timeout)
    return found


def settle(host: Host, pred: Callable[[], bool], timeout: float = 5) -> bool:
    """Wait until ``pred`` holds, asking again at each notice of the kernel about the host's namespaces.

    What sends no notice (files, processes) is looked at every quarter of a second.
    """
    deadline = time.monotonic() + timeout
    with (
        _notices(host, NETLINK_ROUTE, ROUTE_GROUPS) as route,
        _notices(host, NETLINK_NETFILTER, (NFTABLES_GROUP,)) as netfilter,
    ):
        while not pred():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for ready in select.select([route, netfilter], [], [], min(left, 0.25))[0]:
                _drain(ready)
    return True


def _drain(notices: socket.socket) -> None:
    try:
        while notices.recv(1 << 16, socket.MSG_DONTWAIT):
            pass
    except OSError:  # empty, or so much came that the kernel dropped some: either way, look again
        pass


def _notices(host: Host, family: int, groups: tuple[int, ...]) -> socket.socket:
    """A socket of the host's network namespace: made by a thread which goes there and never comes back."""
    made: list[socket.socket] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        namespace = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        entered = libc.setns(namespace, CLONE_NEWNET)
        os.close(namespace)
        if entered == 0:
            made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise RuntimeError(f"no netlink socket in {host.name}")
    made[0].bind((0, 0))
    made[0].setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
    for group in groups:
        made[0].setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    return made[0]
