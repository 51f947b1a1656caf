"""What weft does through netlink, /bin/sh does with what weft prints: two machines end up the same.

On one machine weft works (``--show commands``), on the other /bin/sh runs the same command's dry run.
After every step the whole pictures of both are compared, and the dry run must have changed nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from harness import REPO, Host, diff, settle, snapshot

Command = tuple[str, ...]

#: An address that both machines have beside 127.0.0.1, to publish on.
OWN = "203.0.113.1"
LONG = "n" + "0.-_" * 15 + "Zz"
HOSTILE_LABEL = "say='\"$(id)`id`\\ ;|& 50%"
BLUE: Command = tuple("net create blue --subnet 192.168.10.0/24 --gateway 192.168.10.9".split())
#: What a container's command says of its surroundings, into its log.
LOOK = """
umask; hostname; pwd; env | sort; cat /etc/hosts /etc/resolv.conf; ls /sys/class/net; ulimit -n
sed 's/^/mount /; s/net:[^ ]*/net/; s/\\(shared\\|master\\):[0-9]*/\\1/
    s/-machine-[0-9]*/-machine/' /proc/self/mountinfo
printf '<%s>' "$@"; echo; echo looked; exec sleep 1000
"""


class Twins(NamedTuple):
    """Two machines alike: on one weft works, on the other /bin/sh."""

    weft: Host
    sh: Host


@pytest.fixture
def twins() -> Iterator[Twins]:
    with Host("twin") as one, Host("twin") as other:
        for machine in (one, other):
            machine.ip("address", "add", f"{OWN}/32", "dev", "lo")
        yield Twins(one, other)


def words(text: str) -> Command:
    return tuple(text.split())


def script_of(stderr: str) -> str:
    """What was printed as it was done, without the remarks, which are comments."""
    return "".join([f"{line}\n" for line in stderr.splitlines() if not line.startswith("# weft: ")])


def picture(machine: Host) -> Any:
    """The snapshot without monitors and unshare(1): they are ways of waiting, no part of the container."""
    seen = snapshot(machine)
    own = f"/usr/bin/python3 -IS {REPO / 'weft'}"
    monitors = [p for p in seen["processes"] if p.startswith(own) and " loopback-serve " not in p]
    waiting = [p for p in seen["processes"] if p.startswith("unshare --mount ") and " --fork " in p]
    seen["processes"] = [p for p in seen["processes"] if p not in [*monitors, *waiting]]
    return seen


def state_of(machine: Host, root: str = "") -> dict[str, str]:
    """Every file of the state directory and the run directory, by content."""
    found = {}
    for top in (f"{root}/state", f"{root}/run") if root else ("/var/lib/weft", "/run/weft"):
        for directory, _, names in os.walk(machine.path(top)):
            for name in names:
                path = os.path.join(directory, name)
                # -shm is SQLite's index of the log, mapped by readers too, who make both where the last one
                # out has taken them away; a socket has no content.
                empty = name.endswith("-wal") and os.path.isfile(path) and not os.path.getsize(path)
                if os.path.isfile(path) and not name.endswith("-shm") and not empty:
                    with open(path, "rb") as file:
                        found[f"{top}/{name}"] = hashlib.sha256(file.read()).hexdigest()
    return found


def at_rest(machine: Host) -> bool:
    """No namespace is still dying: the other end of each of weft's ports is where a name leads."""
    named = {n["nsid"] for n in json.loads(machine.ip("-j", "netns", "list-id") or "[]") if "name" in n}
    links = json.loads(machine.ip("-j", "link"))
    return {link["link_netnsid"] for link in links if link["ifname"].startswith("wv")} <= named


def both(twins: Twins, command: Command, root: str = "") -> str:
    """Does one command both ways; the script it was on the second machine."""
    own: Command = ("--root", root) if root else ()
    before, state = picture(twins.weft), state_of(twins.weft, root)
    dry = twins.weft.weft(*own, "--dry-run", *command).stdout
    assert diff(before, picture(twins.weft)) == []
    assert state_of(twins.weft, root) == state
    done = twins.weft.weft(*own, "--show", "commands", *command)
    assert script_of(done.stderr).splitlines() == dry.splitlines()
    twins.sh.run(["/bin/sh"], input=dry)
    for machine in twins:
        assert settle(machine, lambda m=machine: at_rest(m)), "a namespace that does not die"  # type: ignore[misc]
    found: list[str] = []

    def same() -> bool:
        found[:] = diff(picture(twins.weft), picture(twins.sh))
        return not found

    assert settle(twins.sh, same), f"weft -> sh, after {command}:\n" + "\n".join(found)
    return dry


SCENARIOS: dict[str, tuple[str, ...]] = {
    "a network with all flags": (
        "net create blue --subnet 192.168.10.0/24 --gateway 192.168.10.9 --bridge lxcbr0 --mtu 1400",
        "net rm blue",
    ),
    "two networks, one of them made when first needed": (
        "net create blue",
        "run --name a",
        "run --name b",
        "run --name c --network blue",
        "rm a",
        "rm b c",
        "net rm default",
        "net rm blue",
    ),
    "a container with every flag": (
        "net create blue --subnet 10.7.0.0/16",
        "run --name full --network blue:ip=10.7.200.77,mac=02:00:00:00:00:11,alias=db,alias=db2,ifname=nic0"
        " --network-alias api --hostname h.ost-1 --dns 8.8.8.8 --dns 9.9.9.9"
        " --dns-search x.example --dns-search y",
        "run --name flat --network blue --ip 10.7.9.9",
        "rm full",
        "net rm -f blue",
    ),
    "ports": (
        "net create blue",
        f"run --name lan --network blue -p {OWN}:9000-9002:90-92 -p {OWN}:53:53/udp",
        "run --name near --network blue -p 8080:80 -p 127.0.0.2:8080:81 -p 5353:53/udp",
        "run --name any --network blue -p 0.0.0.0:81:81 -p 0.0.0.0:5354:53/udp -p 7000-7003:70-73",
        f"run --name more --network blue -p {OWN}:82:82",
        "rm near",
        "rm any",
        "run --name again --network blue -p 8080:80",
        "rm lan again",
        "net rm -f blue",
    ),
    "many at once, and a network with its members": (
        "net create blue",
        "net create green",
        *(f"run --name m{n} --network blue -p {8000 + n}:80" for n in range(4)),
        "run --name g --network green -p 0.0.0.0:9000:80",
        "rm m0 m1 m2",
        "net rm -f blue",
        "net rm -f green",
    ),
    "several networks, joined and left": (
        "net create blue --subnet 10.1.0.0/24 --subnet fd00:1::/64",
        "net create green --isolated --subnet 10.2.0.0/24",
        "net create red --internal --ipv6",
        "run --name a --network blue:ip=10.1.0.9,ip=fd00:1::9"
        " --network green:gw-priority=5,ifname=wan,sysctl=net.ipv4.conf.IFNAME.arp_notify=1"
        ",route=172.30.0.0/16 --add-host x:192.0.2.1 --add-host up:host-gateway"
        " --sysctl net.ipv4.ip_unprivileged_port_start=80",
        "run --name b --network blue -p 8080:80",
        "net connect red b --alias bee --ip 10.81.0.77",
        "net connect green b --gw-priority 9 --route 172.31.0.0/16@10.2.0.1 -p 8081:81",
        "net disconnect green b",
        "net disconnect blue b",
        "net disconnect red b",
        "net connect blue b",
        "rm b a",
        "net prune",
    ),
    "a network edited while it is used": (
        "net create blue --ipv6",
        "run --name a --network blue -p 8080:80",
        "run --name b --network blue",
        "net edit blue --mtu 1400 --label x=y",
        "net edit blue --isolated=true --nat routed",
        "run --name c --network blue",
        "net edit blue --isolated=false --nat nat --mtu 1500 --label x=",
        "net rm -f blue",
    ),
    "unusual subnets": (
        "net create p31 --subnet 10.31.0.0/31",
        "net create p127 --subnet fd00:127::/127",
        "net create part --subnet 10.32.0.0/24 --ip-range 10.32.0.64/30 --aux-address nas=10.32.0.64"
        " --subnet 10.33.0.0/24 --gateway 10.33.0.254",
        "run --name a --network p31 --network p127 --network part",
        "run --name b --network part --ip 10.33.0.7",
        "rm a b",
        "net prune",
    ),
    "no network, and another's": (
        "net create blue",
        "run --name a --network blue",
        "run --name n --network none",
        "run --name j --network container:a",
        "rm j",
        "rm n a",
        "net rm blue",
    ),
    "the same name again": (
        "net create blue",
        "run --name a --network blue",
        "rm a",
        "run --name a --network blue:ifname=eth7",
        "net rm -f blue",
        "net create blue",
        "net rm blue",
    ),
    "named namespaces": (
        "net create blue",
        "ns add a",
        f"ns add b {LONG}",
        "ns adopt c a",
        "ns adopt d /run/netns/b",
        "ns forget c",
        "ns rm a",
        "ns rm b d",
        "ns rm --all",
        "net rm blue",
    ),
    "hostile but legal names": (
        f"net create {LONG} --bridge dev@+.-_",
        "net create 0x1f --bridge type",
        f"run --name {LONG} --network {LONG}:ifname=netns --hostname {'h' * 63} --network-alias _a.b",
        "run --name 1e.-_ --network 0x1f:ifname=up -p 8080:80",
        "run --name exec --network 0x1f:ifname=dev --hostname a.b",
        f"rm exec {LONG}",
        "net rm -f 0x1f",
        f"net rm {LONG}",
    ),
}


#: Their parts are in others; minutes together.
LONGER = frozenset(
    (
        "many at once, and a network with its members",
        "hostile but legal names",
        "the same name again",
        "unusual subnets",
        "two networks, one of them made when first needed",
    )
)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.campaign if n in LONGER else ()) for n in SCENARIOS]
)
def test_both_ways(twins: Twins, name: str) -> None:
    for step in SCENARIOS[name]:
        both(twins, words(step))
    # Nothing but what stays on purpose: the switch to forward, directories without content.
    for machine in twins:
        left = snapshot(machine)
        assert list(left["netns"]) == ["host"]
        assert list(left["netns"]["host"]["links"]) == ["lo"]
        assert (left["netns"]["host"]["nft"], left["processes"]) == ({}, [])


def test_an_adopted_bridge(twins: Twins) -> None:
    """It is used as it is, and stays with its address."""
    for machine in twins:
        machine.ip(*words("link add br9 address 02:00:00:00:00:09 type bridge"))
        machine.sh("ip address add 10.9.0.1/24 dev br9\nip link set br9 up")
    for step in (
        "net create old --bridge br9 --subnet 10.9.0.0/24",
        "run --name a --network old",
        "net rm -f old",
    ):
        both(twins, words(step))
    for machine in twins:
        assert "10.9.0.1/24" in machine.ip("address", "show", "br9")


def test_a_namespace_of_somebody_else(twins: Twins) -> None:
    """Connected, it is in the network; disconnected, it is what it was."""
    for machine in twins:
        machine.sh("ip netns add x\nip -n x link set lo up")
    both(twins, words("net create blue --ipv6"))
    both(twins, words("net create red"))
    before = [machine.ip("address", netns="x") for machine in twins]
    both(twins, words("net connect blue netns:x --alias ex -p 8080:80"))
    both(twins, words("net connect red netns:x --gw-priority 3"))
    both(twins, words("net disconnect blue netns:x"))
    both(twins, words("net disconnect red netns:x"))
    assert [machine.ip("address", netns="x") for machine in twins] == before
    both(twins, words("net prune"))


def test_hostile_labels(twins: Twins) -> None:
    both(twins, (*BLUE, "--label", HOSTILE_LABEL, "--label", "$(touch /run/pwned)=';touch /run/pwned;'"))
    found = twins.weft.weft_json("net", "inspect", "blue")
    assert HOSTILE_LABEL.partition("=")[2] in str(found[0]["labels"]["say"])
    for machine in twins:
        assert not machine.path("/run/pwned").exists()


def test_another_root(twins: Twins) -> None:
    """A root whose path needs quotes; the loopback proxy of that root is the one that is told."""
    root = "/run/it's $HOME"
    for step in ("net create blue", "run --name a --network blue -p 8080:80", "net rm -f blue"):
        both(twins, words(step), root)
    assert not twins.sh.path("/run/weft").exists()


def test_a_dry_run_leaves_nothing_on_a_fresh_machine(host: Host) -> None:
    before = snapshot(host)
    for command in (BLUE, words("run --name a -p 8080:80 --dns 8.8.8.8"), words("run -d --name a -- true")):
        assert host.weft("--dry-run", *command).stdout.startswith("#!/bin/sh\nset -e\n")
        assert diff(before, snapshot(host)) == []
        assert (list(host.path("/var/lib/weft").iterdir()), host.path("/run/weft").exists()) == ([], False)


def test_a_dry_run_is_refused_as_the_run_itself(host: Host) -> None:
    host.weft(*BLUE)
    host.weft(*words("run --name a --network blue -p 8080:80"))
    for command, status in (
        ("net create blue", 4),
        ("net rm blue", 4),
        ("net rm red", 3),
        ("rm b", 3),
        ("run --name a --network blue", 4),
        ("run --name b --network blue -p 8080:80", 4),
        ("run --name b --network blue --ip 192.168.10.9", 4),
        ("run --name b --network blue --ip 10.0.0.1", 2),
    ):
        dry = host.weft("--dry-run", *words(command), check=False)
        done = host.weft(*words(command), check=False)
        assert (dry.returncode, done.returncode) == (status, status), command
        assert dry.stderr.replace("# weft:", "weft:") == done.stderr


def visible(said: list[str]) -> dict[str, list[str]]:
    """The mounts that no other covers, of lines of mountinfo that begin with "mount"; each without numbers,
    and with its type for a source when it names none."""
    rows = [line.split()[1:] for line in said if line.startswith("mount ")]
    found = {}
    for row in rows:
        if not any(other[1] == row[0] and other[4] == row[4] for other in rows):
            root, at, options, *tags, kind, source, inside = [*row[3:6], *row[6:]]
            found[at] = [root, options, *tags, kind, kind if source == "none" else source, inside]
    return found


def nosuid(mounts: dict[str, list[str]]) -> dict[str, list[str]]:
    """With the option that takes a system call which no command makes; of what masks a file or directory,
    which has no room, only the mount's own options are told."""
    for row in mounts.values():
        row[1] = ",".join(sorted({*row[1].split(","), "nosuid"}))
        if ",size=0k" in row[-1]:
            row[-1] = "masked"
    return mounts


def test_a_detached_command(twins: Twins) -> None:
    """The printed line gives the command the same surroundings: mounts, names, environment, arguments. But
    for what it says in comments: weft's init, the system call filter, and that all mounts become nosuid."""
    hostile = ("--env", "A=b c'$(id)\"", "--env", "-x=1", "--hostname", "hh", "--dns", "8.8.8.8")
    run: Command = ("run", "-d", "--init=false", "--name", "w", "--network", "blue", *hostile)
    argv = ("sh", "-c", LOOK, "sh", "two words", "it's", '"$HOME"', "", "-n", "a=b")
    both(twins, BLUE)
    by_default = twins.weft.weft("--dry-run", "run", "-d", *run[3:], "--workdir", "/usr", "--", *argv).stdout
    script = both(twins, (*run, "--workdir", "/usr", "--", *argv))
    more = [line for line in by_default.splitlines() if line not in script.splitlines()]
    assert more == ["# pid 1 is an init of its own: it reaps, passes signals on, ends with the command"]
    assert "# every mount becomes nosuid" in script and "# seccomp filter: default" in script
    logs = []
    # The monitor's log has a time before each line.
    for machine, show in zip(twins, (f"{REPO}/weft logs w", "cat /var/lib/weft/logs/w.log"), strict=True):
        lines: list[str] = []

        def looked(machine: Host = machine, show: str = show, lines: list[str] = lines) -> bool:
            lines[:] = machine.run(["sh", "-c", show], check=False).stdout.splitlines()
            return "looked" in lines

        assert settle(machine, looked)
        logs.append(lines)
    assert "nameserver 8.8.8.8" in logs[0] and '<two words><it\'s><"$HOME"><><-n><a=b>' in logs[0]
    said = [[line for line in log if not line.startswith("mount ")] for log in logs]
    assert said[0] == said[1]
    mounts = [visible(log) for log in logs]
    assert all("nosuid" in row[1].split(",") for row in mounts[0].values())
    assert nosuid(mounts[0]) == nosuid(mounts[1])
    both(twins, words("rm -f w"))
    both(twins, words("net rm blue"))


def test_a_name_file_directory_with_more_in_it(twins: Twins) -> None:
    """Somebody's own file in /etc/netns/NAME stays, and is no reason to stop."""
    both(twins, BLUE)
    both(twins, words("run --name a --network blue"))
    for machine in twins:
        machine.write("/etc/netns/a/nsswitch.conf", "hosts: files\n")
    both(twins, words("rm a"))
    both(twins, words("run --name a --network blue"))
    both(twins, words("net rm -f blue"))
    assert twins.sh.read("/etc/netns/a/nsswitch.conf") == "hosts: files\n"


def test_a_strict_umask(host: Host) -> None:
    """The files that processes of any user read are readable, whatever the umask of who made them."""
    modes = {}
    script = host.weft("--dry-run", *words("run --name a")).stdout
    host.run(["/bin/sh", "-c", f"umask 077\n{script}"])
    for path in ("/run/weft", "/run/weft/hosts", "/run/weft/hosts/default", "/etc/netns/a/resolv.conf"):
        modes[path] = f"{host.path(path).stat().st_mode & 0o777:o}"
    assert list(modes.values()) == ["700", "755", "644", "644"]


def test_the_script_meets_tables_that_are_there(host: Host) -> None:
    """Loading the rules twice would double them: the script stops at its first command, as weft does."""
    script = host.weft("--dry-run", *BLUE).stdout
    host.nft('table bridge weft { comment "somebody\'s"; }')
    before = snapshot(host)
    refused = host.run(["/bin/sh"], input=script, check=False)
    assert refused.returncode and "File exists" in refused.stderr
    assert diff(before, snapshot(host)) == []
    assert host.weft(*BLUE, check=False).returncode == 4


def test_a_failing_command_stops_the_script(host: Host) -> None:
    script = host.weft("--dry-run", *BLUE).stdout
    host.ip("link", "add", "name", "dummy0", "type", "bridge")
    bridge = next(line.split()[4] for line in script.splitlines() if line.startswith("ip link add name"))
    host.ip("link", "set", "dummy0", "name", bridge)
    refused = host.run(["/bin/sh"], input=script, check=False)
    assert refused.returncode and "File exists" in refused.stderr
    assert "lookup 254" not in host.ip("rule")
