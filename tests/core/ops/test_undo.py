"""A plan that fails anywhere is taken back, wherever it stood: the machine is as it was before.

``FAULTY`` is weft with a fault at the n-th thing that its hands do: a message that the kernel refuses, a
system call that fails, a proxy that does not listen to it. n grows until the command gets past all of
them; then the whole plan is done, and undone again.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from harness import REPO, Host, Snapshot, diff, settle, snapshot

FAULTY = f"""
import errno, os, posix, sys
sys.path.insert(0, {str(REPO / "src")!r})
os.environ["WEFT_PROGRAM"] = {str(REPO / "weft")!r}
from weft.core.model.errors import KernelError
from weft.core.wire import nfnetlink as nf, rtnetlink as rt
from weft.frontends.cli.main import main
from weft.linux import libc, loopback
from weft.linux.execute import Hands

at, count, armed, reverting = int(sys.argv[1]), 0, False, False
REFUSED = {{"rtnl": rt.set_link(rt.Link(ifname="no-such-link")), "nft": nf.del_table(1, "no-such-table")}}

def due(what):
    global count
    count += armed and not reverting
    if count != at or not armed or reverting:
        return False
    count += 1
    print(f"fault at {{what}}", file=sys.stderr)
    return True

def failing(holder, name):
    real = getattr(holder, name)
    def call(*args, **kwargs):
        fine = name == "mkdir" and os.path.isdir(args[0])  # fails anyhow
        fine |= name == "open" and args[0].endswith("nf_conntrack_count")  # only saves looking
        if not fine and due(name):
            raise OSError(errno.EIO, "injected")
        return real(*args, **kwargs)
    setattr(holder, name, call)

for name in "open write mkdir symlink fchmod pwrite ftruncate".split():
    failing(posix, name)
client = loopback.LoopbackClient
for holder, names in ((libc, "mount unshare"), (loopback, "hold"), (client, "start begin_add")):
    for name in names.split():
        failing(holder, name)

encode, run, revert, apply = Hands._messages, Hands._run, Hands.revert, Hands.apply

def _messages(self, group):
    found = encode(self, group)
    if armed and not reverting:
        # A transaction of nf_tables is one thing; of links each message is done or refused by itself.
        places = range(len(found)) if group[0].kind == "rtnl" else [0, len(found) - 1]
        for place in places:
            if due(f"{{group[0].describe()}}: message {{place}} of {{len(found)}}"):
                found[place] = REFUSED[group[0].kind]
    return found

def _run(self, group, done):
    global armed
    armed = True
    try:
        run(self, group, done)
    finally:
        armed = False

def _revert(self, plan):
    global reverting
    reverting = True
    try:
        return revert(self, plan)
    finally:
        reverting = False

def _apply(self, plan, step=None):
    global armed
    apply(self, plan, step)
    if at == 0:
        for error in self.revert(plan.undo()):
            print("LEFT", error, file=sys.stderr)
        raise KernelError("undone", errno.EIO)

Hands._messages, Hands._run, Hands.revert, Hands.apply = _messages, _run, _revert, _apply
sys.exit(main(sys.argv[2:]))
"""

DUMP = """
import sqlite3
print("\\n".join(sqlite3.connect("file:/var/lib/weft/weft.db?mode=ro", uri=True).iterdump()))
"""

#: What was there before: every directory that stays, a second network with a member, and the proxy.
FIRST = ("net create red", "run --name r --network red", "net create blue", "run --name b --network blue")
PROXY = "run --name p --network red -p 9090:80"
PORTS = "-p 8080:80 -p 0.0.0.0:81:81 -p 127.0.0.2:53:53/udp"
CASES: dict[str, tuple[Sequence[str], str]] = {
    "the first network": (("net create blue", "net rm blue"), "net create blue --bridge br0"),
    "another network": (FIRST, "net create green --subnet 10.99.0.0/16"),
    "a container": (FIRST, "run --name c --network blue --network-alias x"),
    "ports, the first": (FIRST, f"run --name c --network blue {PORTS}"),
    "ports, more of them": ((*FIRST, PROXY), f"run --name c --network blue {PORTS}"),
}


def prepared(host: Host, first: Sequence[str]) -> Snapshot:
    host.sysctl("net.ipv4.ip_forward", "1")
    for command in first:
        host.weft(*command.split())
    return snapshot(host)


def faulty(host: Host, n: int, command: str) -> subprocess.CompletedProcess[str]:
    argv = ["/usr/bin/python3", "-IS", "-c", FAULTY, str(n), *command.split()]
    return host.run(argv, check=False)


def wishes(host: Host) -> list[str]:
    """What is stored, but for the proxy's port, which is on record as long as there may be a proxy."""
    dumped = host.run(["/usr/bin/python3", "-c", DUMP]).stdout.splitlines()
    return [line for line in dumped if "proxy_port" not in line and "sqlite_sequence" not in line]


def back_again(host: Host, before: Snapshot) -> list[str]:
    found: list[str] = []

    def same() -> bool:
        found[:] = diff(before, snapshot(host))
        return not found

    settle(host, same, 5)
    return found


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("name", CASES)
def test_a_fault_anywhere(host: Host, name: str, stride: int) -> None:
    """At every third operation; in the campaign at each."""
    first, command = CASES[name]
    before = prepared(host, first)
    stored = wishes(host)
    struck, n = 0, 1
    while True:
        done = faulty(host, n, command)
        if "fault at" not in done.stderr:
            break
        assert done.returncode in (1, 4, 5, 125), done.stderr
        assert "weft: error: " in done.stderr and "internal" not in done.stderr, done.stderr
        assert back_again(host, before) == [], done.stderr
        assert wishes(host) == stored, done.stderr
        struck, n = struck + 1, n + stride
    assert done.returncode == 0, done.stderr
    assert struck >= 15 // stride
    assert diff(before, snapshot(host))


@pytest.mark.parametrize("name", CASES)
def test_done_and_undone(host: Host, name: str) -> None:
    first, command = CASES[name]
    before = prepared(host, first)
    stored = wishes(host)
    done = faulty(host, 0, command)
    assert done.returncode and "undone" in done.stderr and "LEFT" not in done.stderr
    assert back_again(host, before) == []
    assert wishes(host) == stored
    host.weft(*command.split())


def test_a_command_that_cannot_start(host: Host) -> None:
    """Known only at the exec itself, when all of the place stands: all of it goes again."""
    before = prepared(host, FIRST)
    host.write("/etc/broken", "#!/no/such/interpreter\n", 0o755)
    for flags in ((), ("-d",)):
        run = ("run", *flags, "--name", "c", "--network", "blue", "-p", "8080:80", "--", "/etc/broken")
        assert host.weft(*run, check=False).returncode == 127
        assert back_again(host, before) == []


OBSTACLES = {
    "a link of the bridge's name": ("ip link add name br0 type ifb", 4),
    "a rule that exists": ("ip rule add pref 117 iif br0 to 10.99.0.0/16 lookup 254 protocol 119", 4),
    "a prohibit route that exists": ("ip route add prohibit 10.99.0.0/16 table 7765 proto 119", 4),
    "the table's name taken": ("nft add table inet weft", 4),
    "its element taken": ("nft add element inet weft bridges '{ \"br0\" }'", 4),
    "a directory where the hosts file goes": ("mkdir /run/weft/hosts/blue", 1),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_an_obstacle(host: Host, name: str) -> None:
    """Real refusals: what stood in the way is still there afterwards, and nothing else is."""
    obstacle, status = OBSTACLES[name]
    command = ("net", "create", "blue", "--subnet", "10.99.0.0/16", "--bridge", "br0")
    first = ("net create red", "net rm red") if "nft add table" in obstacle else ("net create red",)
    prepared(host, first)
    host.sh(obstacle)
    before = snapshot(host)
    refused = host.weft(*command, check=False)
    assert refused.returncode == status, refused.stderr
    assert refused.stderr.startswith("weft: error: ")
    assert back_again(host, before) == []


APPLY = f"""
import sys
sys.path.insert(0, {str(REPO / "src")!r})
from weft.core.ops.link import BridgeAdd, LinkDel
from weft.core.plan.plan import Plan
from weft.linux.execute import Hands
made = BridgeAdd("br0", "02:00:00:00:00:01", 1500, "weft:0123456789abcdef", "alias")
Hands("/run/weft", "weft").apply(Plan((LinkDel("wv0", "weft:fedcba9876543210"), made)))
"""


def test_a_leftover_that_went_by_itself(host: Host) -> None:
    """Seen while its namespace was dying, gone when its turn came: as wanted, and no reason to fail."""
    host.run(["/usr/bin/python3", "-IS", "-c", APPLY])
    assert "br0" in host.ip("link", "show", "type", "bridge")
