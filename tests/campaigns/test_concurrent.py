"""Many attaches at once, every fifth killed at any moment: nothing is given twice, nothing stays behind.

What the killed ones left is gone once the next command has run; what weft then says is compared with what
the kernel has, by iproute2 and nft alone.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Sequence

import pytest

from harness import Host, Process, differences, settle
from scenarios.test_concurrency import agreed, outcome, picture, remove_all, start

#: Of the moments of the kills.
SEED = 4


@pytest.fixture
def machine(host: Host) -> Host:
    host.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
    host.weft("run", "--rm", "--network", "blue", "-p", "8080:80", "--", "true")
    return host


def words(number: int) -> list[str]:
    """One attach; every fourth publishes: a port of 127.0.0.1, one of all addresses, one of UDP."""
    line = ["run", "--name", f"c{number}", "--network", "blue"]
    for port in (f"{9000 + number}:80", f"0.0.0.0:{9200 + number}:80", f"{9000 + number}:53/udp"):
        line += ["-p", port] if number % 4 == 0 else []
    return line


def killed(processes: Sequence[Process], moments: dict[int, float]) -> set[int]:
    """Kills some of them, each so many seconds from now unless it ends before; the numbers of those."""
    began, found = time.monotonic(), set()
    for number, after in sorted(moments.items(), key=lambda m: m[1]):
        ended = os.pidfd_open(processes[number].pid)
        try:
            left = max(0.0, began + after - time.monotonic())
            if not select.select([ended], [], [], left)[0]:
                processes[number].send_signal(signal.SIGKILL)
                found.add(number)
        finally:
            os.close(ended)
    return found


def round_of(host: Host, count: int, moments: dict[int, float]) -> int:
    """So many at once. Those that were not killed all succeed; how many kills met a running command."""
    processes = start(host, [words(number) for number in range(count)])
    struck = killed(processes, moments)
    found = [outcome(process) for process in processes]
    for process in processes:
        host.processes.remove(process)
    for number, (status, _, stderr) in enumerate(found):
        assert "Traceback" not in stderr, stderr
        assert status == 0 or number in struck, (number, status, stderr)
    host.weft("ps", "-a")
    assert settle(host, lambda: "weft run" not in host.run(["ps", "-eo", "args"]).stdout)
    rows = agreed(host)
    names = {row["name"] for row in rows}
    assert {f"c{n}" for n, (status, _, _) in enumerate(found) if status == 0} <= names
    for key in ("addresses", "mac", "host_ifname"):
        assert len({str(row["networks"]["blue"][key]) for row in rows}) == len(rows)
    return sum(found[number][0] != 0 for number in struck)


def rounds(host: Host, count: int, times: int) -> None:
    """At least so many, and until as many kills have met a running command: how soon they end is the
    machine's affair."""
    chance, hits, done, span = random.Random(SEED), 0, 0, count * 0.03
    before = picture(host)
    while done < times or hits < times:
        assert done < 5 * times, f"only {hits} kills in {done} rounds met a running command"
        met = round_of(host, count, {n: chance.uniform(0, span) for n in range(0, count, 5)})
        hits, done, span = hits + met, done + 1, span if met else span * 0.7
        remove_all(host)
        assert differences(host, before, 10) == []
    print(f"\n{done} rounds of {count}: {hits} killed")


def test_some_attaches_some_killed(machine: Host) -> None:
    rounds(machine, 20, 3)


@pytest.mark.campaign
def test_a_hundred_attaches_every_fifth_killed(machine: Host) -> None:
    rounds(machine, 100, 20)
