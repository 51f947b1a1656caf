"""Many commands at once, as a machine that starts has them: nothing is given twice, nothing is lost.

What weft says is compared with what the kernel has, container by container, by iproute2 and nft alone.
"""

from __future__ import annotations

import itertools
import json
import os
import select
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from harness import REPO, Host, Process, Snapshot, differences, settle, snapshot
from harness.host import PYTHON
from scenarios.life import running

WEFT = str(REPO / "weft")
MANY = 40


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    with Host() as made:
        made.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
        made.weft("run", "--rm", "--network", "blue", "-p", "8080:80", "--", "true")
        yield made


def picture(host: Host) -> Snapshot:
    """Once the last containers' cables have gone (a link is out of the list before its bridge knows), and
    no monitor is still about to say what it has seen."""
    assert settle(host, lambda: "LOWER_UP" not in host.ip("-br", "link", "show", "type", "bridge"))
    assert settle(host, lambda: not mending(host))
    return snapshot(host)


def start(host: Host, lines: Sequence[Sequence[str]]) -> list[Process]:
    """All of these commands of weft's, none waiting for another."""
    return [host.popen([WEFT, *line]) for line in lines]


def ends(processes: Sequence[Process]) -> Iterator[int]:
    """Which of them has ended, one after the other as they do."""
    watched = {os.pidfd_open(process.pid): number for number, process in enumerate(processes)}
    poll = select.poll()
    for fd in watched:
        poll.register(fd, select.POLLIN)
    while watched:
        for fd, _ in poll.poll():
            poll.unregister(fd)
            os.close(fd)
            yield watched.pop(fd)


def outcome(process: Process) -> tuple[int, str, str]:
    """Status, stdout, stderr."""
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def at_once(host: Host, lines: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    processes = start(host, lines)
    found = [outcome(process) for process in processes]
    for process in processes:
        host.processes.remove(process)
    return found


def line(number: int) -> list[str]:
    """Every third with a command, every fourth with ports of all kinds; among them two of one number."""
    words = ["run", "--name", f"c{number}", "--network", "blue"]
    if number % 4 == 0:
        words += [
            "-p",
            f"{9000 + number}:80",
            "-p",
            f"0.0.0.0:{9100 + number}:80",
            "-p",
            f"{9000 + number}:53/udp",
        ]
    return words + (["-d", "--", "sleep", "1000"] if number % 3 == 0 else [])


def agreed(host: Host) -> list[dict[str, Any]]:
    """The containers that weft shows, after a look at whether the kernel has the very same."""
    rows: list[dict[str, Any]] = host.weft_json("ps", "-a")
    nets = {row["name"]: row["networks"]["blue"] for row in rows}
    names = sorted(nets)
    assert sorted(entry.name for entry in host.path("/run/netns").iterdir()) == names
    script = "".join(f"ip -j -n {name} address show dev eth0\n" for name in names)
    inside = [json.loads(text)[0] for text in host.sh(script).splitlines()] if names else []
    assert {name: _identity(found) for name, found in zip(names, inside, strict=True)} == {
        name: (net["mac"], *net["addresses"]) for name, net in nets.items()
    }
    assert settle(host, lambda: ports(host) == {net["host_ifname"] for net in nets.values()})
    leases = {(n["host_ifname"], n["mac"], n["addresses"][0].split("/")[0]) for n in nets.values()}
    assert {tuple(item["concat"]) for item in elements(host, "bridge", "lease4")} == leases
    lines = host.read("/run/weft/hosts/blue").splitlines()
    standing = [
        words
        for words in map(str.split, lines)
        if words and words[0][0].isdigit() and words[0] != "127.0.0.1"
    ]
    assert sorted(standing) == sorted(
        [address, name] for name, (_, _, address) in _by_name(nets, leases).items()
    )
    _ports(host, rows)
    return rows


def ports(host: Host) -> set[str]:
    """The host's ends of cables; those of containers that have gone go a moment later."""
    return {link["ifname"] for link in json.loads(host.ip("-j", "link", "show", "type", "veth"))}


def _identity(link: dict[str, Any]) -> tuple[str, str]:
    (address,) = link["addr_info"]
    return link["address"], f"{address['local']}/{address['prefixlen']}"


def _by_name(nets: dict[str, Any], leases: set[tuple[str, str, str]]) -> dict[str, tuple[str, str, str]]:
    by_link = {lease[0]: lease for lease in leases}
    return {name: by_link[net["host_ifname"]] for name, net in nets.items()}


def elements(host: Host, family: str, name: str) -> list[Any]:
    """Of a set, or the keys of a map."""
    kind = "map" if name.startswith("publish") else "set"
    found = json.loads(host.nft("-j", "list", kind, family, "weft", name))["nftables"][1][kind].get(
        "elem", []
    )
    keys = [item[0] if kind == "map" else item for item in found]
    return [key["elem"]["val"] if "elem" in key else key for key in keys]


def _ports(host: Host, rows: list[dict[str, Any]]) -> None:
    """Published ports: the firewall's elements, and what the proxy holds against other programs."""
    wanted = [p for row in rows for p in row["publish"]]
    every = [(p["proto"], p["host_port"]) for p in wanted if p["host_ip"] == "0.0.0.0"]
    assert sorted(tuple(e["concat"]) for e in elements(host, "inet", "publish4_any")) == sorted(every)
    local = [
        ("127.0.0.1", p["host_port"]) for p in wanted if p["host_ip"] != "0.0.0.0" and p["proto"] == "tcp"
    ]
    assert sorted(tuple(e["concat"]) for e in elements(host, "inet", "loopback4")) == sorted(local)
    held = host.run(["ss", "-Hlntu"]).stdout.splitlines()
    found = {(words[0], words[4]) for words in map(str.split, held)}
    assert {(p["proto"], f"{p['host_ip']}:{p['host_port']}") for p in wanted} <= found
    assert len(found) == len(wanted) + bool(wanted), "the proxy's own listener, and nothing else"


def remove_all(host: Host) -> None:
    names = host.weft("ps", "-aq").stdout.split()
    if names:
        host.weft("rm", "-f", *names)


def said(found: Sequence[tuple[int, str, str]]) -> Counter[int]:
    """How often which status; a traceback or an internal error is none of them."""
    for _, _, stderr in found:
        assert "Traceback" not in stderr and "internal error" not in stderr, stderr
    return Counter(status for status, _, _ in found)


def test_forty_runs_at_once(machine: Host) -> None:
    before = picture(machine)
    found = at_once(machine, [line(number) for number in range(MANY)])
    assert said(found) == {0: MANY}, [stderr for status, _, stderr in found if status]
    rows = agreed(machine)
    assert sorted(stdout.strip() for _, stdout, _ in found) == sorted(row["id"] for row in rows)
    addresses = {row["networks"]["blue"]["addresses"][0] for row in rows}
    macs = {row["networks"]["blue"]["mac"] for row in rows}
    published = {(p["proto"], p["host_port"]) for row in rows for p in row["publish"]}
    assert (len(rows), len(addresses), len(macs), len(published)) == (MANY, MANY, MANY, 3 * MANY // 4)
    assert {row["state"] for row in rows} == {"running"}
    assert sum(row["pid"] is not None for row in rows) == len(range(0, MANY, 3))
    assert machine.pings(rows[0]["networks"]["blue"]["addresses"][0].split("/")[0], netns=rows[-1]["name"])
    remove_all(machine)
    assert differences(machine, before, 10) == []


def test_some_of_forty_are_killed(machine: Host) -> None:
    """kill -9 for each third, one whenever another has ended, wherever it is by then. The others succeed,
    and the next command mends: what weft shows is what there is."""
    before = picture(machine)
    processes = start(machine, [line(number) for number in range(MANY)])
    doomed = list(range(MANY - 1, 0, -3))
    killed = set()
    for _ in ends(processes):
        while doomed:
            victim = doomed.pop()
            if processes[victim].poll() is None:
                processes[victim].kill()
                killed.add(victim)
                break
    found = [outcome(process) for process in processes]
    for process in processes:
        machine.processes.remove(process)
    assert said([one for number, one in enumerate(found) if number not in killed]) == {0: MANY - len(killed)}
    assert len([number for number in killed if found[number][0]]) >= 5, "hardly anything was hit"
    assert settle(machine, lambda: not mending(machine))
    names = {row["name"] for row in agreed(machine)}
    assert {f"c{number}" for number in range(MANY) if number not in killed} <= names
    assert machine.weft("ps").stderr == ""
    remove_all(machine)
    assert differences(machine, before, 10) == []


def mending(host: Host) -> bool:
    """Whether this command had something to mend, or a monitor still asks whether its container counts."""
    return bool(host.weft("ps", "-a").stderr) or "weft finished" in host.run(["ps", "-eo", "args"]).stdout


def test_twenty_removals_at_once(machine: Host) -> None:
    before = picture(machine)
    assert said(at_once(machine, [line(number) for number in range(20)])) == {0: 20}
    found = at_once(machine, [("rm", "-f", f"c{number}") for number in range(20)])
    assert said(found) == {0: 20}, found
    assert [stdout for _, stdout, _ in found] == [f"c{number}\n" for number in range(20)]
    assert differences(machine, before, 10) == []


def test_twenty_removals_of_one(machine: Host) -> None:
    """Exactly one removes it, the others find none."""
    machine.weft(*line(12))
    found = at_once(machine, [("rm", "-f", "c12")] * 20)
    assert said(found) == {0: 1, 3: 19}


def test_runs_and_removals_mixed(machine: Host) -> None:
    """Addresses and ports go from one to the next while others come."""
    before = picture(machine)
    for turn in range(3):
        lines = [line(number) for number in range(12)] + [
            ("rm", "-f", f"c{number}") for number in range(0, 12, 4)
        ]
        codes = said(at_once(machine, lines))
        assert not codes.keys() - {0, 3, 4}, (turn, codes)
    assert settle(machine, lambda: not mending(machine))
    agreed(machine)
    remove_all(machine)
    assert differences(machine, before, 10) == []


@pytest.mark.parametrize(
    "wish",
    [("--name", "same"), ("--ip", "192.168.10.99"), ("-p", "9000:80"), ("-p", "0.0.0.0:9000:80/udp")],
    ids=["name", "address", "port", "udp-port"],
)
def test_one_of_eight_gets_it(machine: Host, wish: tuple[str, str]) -> None:
    found = at_once(machine, [("run", "--network", "blue", *wish)] * 8)
    assert said(found) == {0: 1, 4: 7}
    (row,) = agreed(machine)
    assert [stdout for _, stdout, _ in found if stdout] == [row["id"] + "\n"]
    remove_all(machine)


def test_one_network_of_a_name(host: Host) -> None:
    """The first network of the machine: both tables come with it, and once."""
    for count in (2, 8):
        found = at_once(host, [("net", "create", "green")] * count)
        assert said(found) == {0: 1, 4: count - 1}
        assert all("network green exists already" in stderr for status, _, stderr in found if status)
        (net,) = host.weft_json("net", "ls")
        bridges = [link["ifname"] for link in json.loads(host.ip("-j", "link", "show", "type", "bridge"))]
        assert bridges == [net["bridge"]]
        assert sorted(host.nft("list", "tables").splitlines()) == ["table bridge weft", "table inet weft"]
        host.weft("net", "rm", "green")
        assert host.nft("list", "ruleset") == ""


def test_networks_of_many_names(host: Host) -> None:
    """Each gets a subnet, a bridge and a number of its own; the last to go takes the tables with it."""
    names = [f"n{number}" for number in range(8)]
    assert said(at_once(host, [("net", "create", name) for name in names])) == {0: 8}
    nets = host.weft_json("net", "ls")
    assert len({net["subnets"][0]["subnet"] for net in nets}) == len({net["bridge"] for net in nets}) == 8
    assert len([rule for rule in host.ip("rule").splitlines() if "iif" in rule]) == 16
    assert said(at_once(host, [("net", "rm", name) for name in names])) == {0: 8}
    assert host.nft("list", "ruleset") == ""
    assert "iif" not in host.ip("rule")
    assert host.ip("route", "show", "table", "all", "type", "prohibit") == ""


def test_the_default_network_is_made_once(host: Host) -> None:
    assert said(at_once(host, [("run", "--name", f"c{number}") for number in range(8)])) == {0: 8}
    (net,) = host.weft_json("net", "ls")
    assert net["name"] == "default"
    assert sorted(e["container"] for e in net["endpoints"]) == [f"c{number}" for number in range(8)]


#: weft which halts where a start is halfway, until somebody says go: ``python -c HALTED MOMENT WORDS...``.
HALTED = f"""
import os, sys
sys.path.insert(0, {str(REPO / "src")!r})
os.environ["WEFT_PROGRAM"] = {WEFT!r}
from weft.engine import container
from weft.frontends.cli.main import main
from weft.linux import process
from weft.services import monitor
from weft.machine import LinuxMachine

def halting(holder, name):
    real = getattr(holder, name)
    def call(*args):
        open("/run/halted", "w").close()
        open("/run/go").close()
        return real(*args)
    setattr(holder, name, call)

places = {{
    "before it is announced": (LinuxMachine, "wait_port"),
    "before it may run": (monitor.Monitored if "-d" in sys.argv else process.Child, "go"),
    "before it is on record": (container, "settle"),
}}
halting(*places[sys.argv[1]])
sys.exit(main(sys.argv[2:]))
"""
MOMENTS = ("before it is announced", "before it may run", "before it is on record")
CASES = [*itertools.product(MOMENTS, ((), ("-d",)), (True,)), (MOMENTS[0], ("-d",), False)]


def halted(host: Host, moment: str, *words: str) -> Process:
    host.sh("rm -f /run/halted /run/go; mkfifo /run/go")
    process = host.popen([*PYTHON, "-c", HALTED, moment, *words])
    assert settle(host, lambda: host.path("/run/halted").exists())
    return process


@pytest.mark.parametrize(("moment", "flags", "again"), CASES)
def test_removed_while_it_starts(machine: Host, moment: str, flags: tuple[str, ...], again: bool) -> None:
    """The starter says so and takes nothing away from whoever has the name by then."""
    before = picture(machine)
    words = ("run", *flags, "--name", "c", "--network", "blue", "-p", "9000:80", "--", "sleep", "1000")
    starter = halted(machine, moment, *words)
    machine.weft("rm", "-f", "c")
    if again:
        machine.weft("run", "-d", "--name", "c", "--network", "blue", "-p", "9000:80", "--", "sleep", "1001")
    machine.sh(": > /run/go")
    status, stdout, stderr = outcome(starter)
    machine.processes.remove(starter)
    assert (status, stdout) == (4, "")
    assert stderr.splitlines()[0] == "weft: error: container c was removed while it started"
    assert settle(machine, lambda: not running(machine, "sleep 1000"))
    rows = agreed(machine)
    assert [(row["state"], row["command"]) for row in rows] == [("running", ["sleep", "1001"])] * again
    assert len(running(machine, "sleep 1001")) == again
    remove_all(machine)
    assert differences(machine, before, 10) == []
