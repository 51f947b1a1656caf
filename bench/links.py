"""How fast is a table of all links of a thousand namespaces, with their addresses and peers?"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from statistics import median

from world import ENVIRONMENT, Row, ip, ms, spawn, weft

_MANY = 1000
_ROUNDS = 5
_BAR_TIME = 0.1
_BAR_MEMORY = 40.0
_PEER = ip("-all", "netns", "exec", "ip", "-j", "addr")


def measure(kind: str) -> list[Row]:
    """A name, a veth to the host and two addresses each: three thousand links."""
    _build()
    command = weft("link", "ls", "--all", "--format", "json")
    _check(command)
    peer, own = [], []
    for n in range(_ROUNDS):
        own.append(spawn(command).wall)
        if n % 2 == 0:
            peer.append(spawn(_PEER).wall)
    ratio = median(own) / median(peer)
    what = f"link ls --all --format json, {_MANY} namespaces"
    why = " ip -all netns exec ip -j addr"
    time = Row(
        what, ms(median(own)), ms(median(peer)) + why, f"{ratio:.3f}", f"<= {_BAR_TIME} x", ratio <= _BAR_TIME
    )
    size = max(_peak(command), _peak(weft("link", "ls", "--all")))
    memory = Row(
        "memory of that listing, at most",
        f"{size:.1f} MiB",
        bar=f"<= {_BAR_MEMORY:.0f} MiB",
        met=size <= _BAR_MEMORY,
    )
    return [time, memory]


def _build() -> None:
    os.makedirs("/run/links", exist_ok=True)
    with open("/run/links/batch", "w") as file:
        for n in range(_MANY):
            file.write(f"netns add n{n}\n")
        for n in range(_MANY):
            file.write(f"link add v{n} up type veth peer name eth0 netns n{n}\n")
    spawn(ip("-batch", "/run/links/batch"))
    for n in range(_MANY):
        with open("/run/links/inside", "w") as file:
            file.write(
                f"addr add 10.98.{n >> 8}.{n & 255}/16 dev eth0\naddr add fd98::{n:x}/64 dev eth0 nodad\n"
            )
            file.write("link set lo up\nlink set eth0 up\n")
        spawn(ip("-n", f"n{n}", "-batch", "/run/links/inside"))


def _check(command: Sequence[str]) -> None:
    """That what is measured is the whole table."""
    said = subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE).stdout
    rows = json.loads(said)
    inner = [row for row in rows if row["ifname"] == "eth0"]
    whole = all(row["peer"]["ns"] == "host" and len(row["addresses"]) == 3 for row in inner)
    if len(inner) != _MANY or not whole:
        raise SystemExit(f"the table is not whole: {len(inner)} of {_MANY}")


def _peak(command: Sequence[str]) -> float:
    """The most that a process ever had resident, in MiB."""
    pid = os.posix_spawn(
        command[0],
        list(command),
        ENVIRONMENT,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)],
    )
    return os.wait4(pid, 0)[2].ru_maxrss / 1024
