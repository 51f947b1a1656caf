"""The hands: a plan that the kernel refuses anywhere is taken back, and what stood in the way is left alone.

For each step of making the tables, a network, and a container with its ports, something foreign is put
where it goes, so that the refusal is the kernel's own; the whole picture is compared before and after.
"""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from core.wire.sandbox import command
from harness import REPO, Host, Snapshot, diff, settle, snapshot
from linux.inside import call, home, inside, open_fds
from weft.core.drivers import bridge as driver
from weft.core.model.address import Address, Cidr, parse_address, parse_subnet
from weft.core.model.errors import Conflict, Exhausted, KernelError, NotPermitted, Unsupported, WeftError
from weft.core.model.network import Endpoint, Network, Pool, Sandbox
from weft.core.model.publish import parse_publish
from weft.core.ops.base import Op
from weft.core.ops.link import BridgeAdd, LinkDel, LinkUp, VethAdd
from weft.core.ops.netns import NetnsAdd, Sysctl
from weft.core.plan.plan import Plan, batched
from weft.linux.execute import Hands, explain
from weft.linux.netlink import Refusal

ROOT, RUN = "0123abcd", "/run/weft"
RED = Network(ROOT, "red", 1, (Pool(parse_subnet("10.7.0.0/24"), parse_address("10.7.0.1")),), "redbr")
BLUE = Network(ROOT, "blue", 2, (Pool(parse_subnet("10.8.0.0/24"), parse_address("10.8.0.1")),), "bluebr")
PORTS = ("8080:80", "0.0.0.0:8081:81", "127.0.0.2:5300:53/udp")
PROXY = 7765


def hosts(network: Network) -> str:
    return f"{RUN}/hosts/{network.name}"


def container(name: str, last: int, ports: Sequence[str] = ()) -> tuple[Op, ...]:
    publish = tuple([p for port in ports for p in parse_publish(port)])
    endpoint = Endpoint(
        ROOT, "red", name, (Cidr(Address(4, RED.pool4.subnet.base + last), 24),), publish=publish
    )
    sandbox = Sandbox(ROOT, name, name, ("8.8.8.8",))
    return (
        *driver.loopback_wants(endpoint),
        *driver.sandbox_wants(sandbox, hosts(RED)),
        *driver.endpoint_wants(RED, sandbox, endpoint),
        *driver.sandbox_starts(sandbox),
        *driver.default_routes([(RED, endpoint)], name),
        *driver.names_want(sandbox, endpoint, [hosts(RED)]),
    )


TABLES = (*driver.tables_want(ROOT), driver.forwarding())
NETWORK = driver.network_wants(BLUE, hosts(BLUE))
ATTACH = (*driver.proxy_wants(PROXY), *container("web", 2, PORTS))
CABLE = next(op for op in ATTACH if isinstance(op, VethAdd))
MARK = CABLE.mark


def hands() -> Hands:
    return Hands(RUN, str(REPO / "weft"))


class Outcome(NamedTuple):
    """What came of a plan: the error's class and words, the namespace of the thread, what it left open."""

    kind: str
    said: str
    same_namespace: bool
    leaked: set[str]


def attempt(ops: Sequence[Op], intruder: str = "", after: type[Op] | None = None) -> Outcome:
    """Applies a plan. The intruder's shell script runs as soon as such a step has been done."""
    doer = hands()
    _ = doer.route, doer.filter  # stay open for the next plan
    here, fds = home(), open_fds()
    kind = said = ""

    intruders = [intruder]

    def step(op: Op) -> None:
        if after is not None and type(op) is after and intruders:
            command("sh", "-ec", intruders.pop())

    try:
        doer.apply(Plan(tuple(ops)), step)
    except Exception as error:
        kind, said = type(error).__name__, str(error)
    while len(os.listdir("/proc/self/task")) > 1:
        time.sleep(0.001)  # a link's end is waited for beside
    # The way by which IPv6 is switched off in the next namespace stays open too.
    leaked = {fd for fd in open_fds() - fds if not fd.endswith(" /proc")}
    return Outcome(kind, said, home() == here, leaked)


class Case(NamedTuple):
    """What stands in the way of one step. ``make`` and ``clear`` are shell scripts of the machine; those with
    ``after`` run while the plan is carried out, and what they make goes with what they made it in."""

    make: str = ""
    clear: str = ""
    kind: type[WeftError] = Conflict
    after: type[Op] | None = None
    #: A port that another program listens at.
    port: tuple[str, int, str] | None = None
    #: Words of the error where they are not the step's own description.
    said: str = ""
    #: Shows the foreign thing: it must say the same afterwards.
    look: str = "true"


def element(family: str, name: str, text: str) -> Case:
    words = f"element {family} weft {name} '{{ {text} }}'"
    return Case(f"nft add {words}", f"nft delete {words}", look=f"nft list set {family} weft {name} || true")


def table(family: str) -> Case:
    look = f"nft list table {family} weft"
    return Case(f"nft add table {family} weft", f"nft delete table {family} weft", look=look)


def link(name: str) -> Case:
    return Case(f"ip link add {name} type bridge", f"ip link del {name}", look=f"ip -d link show {name}")


READ_ONLY = "mount -o bind,ro {0} {0}"
TABLE_CASES = (
    table("bridge"),
    table("inet"),
    Case(
        f"touch /run/forward; {READ_ONLY.format('/proc/sys/net')}",
        "umount /proc/sys/net; rm /run/forward",
        NotPermitted,
        said="cannot set the sysctl net/ipv4/ip_forward to 1: Read-only file system",
    ),
)
#: A link that takes the place of another under its name, and cannot be set up: both have one MAC.
IMPOSTOR = (
    "mac=$({ip} -br link show {0} | awk '{{ print $3 }}'); {ip} link set {0} name real;"
    "{ip} link add link real name {0} address $mac type macvlan mode bridge"
)
NETWORK_CASES = (
    Case(f"mkdir -p {hosts(BLUE)}", f"rmdir {hosts(BLUE)}", KernelError),
    link("bluebr"),
    Case(
        f"{READ_ONLY.format('/proc/sys/net')}",
        "umount /proc/sys/net",
        NotPermitted,
        after=BridgeAdd,
        said="cannot set the sysctl net/ipv6/conf/bluebr/disable_ipv6 to 1: Read-only file system",
    ),
    Case(
        f"{READ_ONLY.format('/proc/sys/net/ipv4')}",
        "umount /proc/sys/net/ipv4",
        NotPermitted,
        after=BridgeAdd,
        said="cannot set the sysctl net/ipv4/conf/bluebr/send_redirects to 0: Read-only file system",
    ),
    element("inet", "bridges", '"bluebr"'),
    element("inet", "gateways", '"bluebr"'),
    element("inet", "same", '"bluebr" . "bluebr"'),
    element("inet", "shielded", '"bluebr"'),
    element("inet", "own4", '"bluebr" . 10.8.0.1'),
    element("inet", "taken4", '"bluebr" . 10.8.0.1'),
    element("inet", "subnet4", "10.8.0.0/24"),
    element("inet", "nat4", "10.8.0.0/24"),
    Case(
        "ip route add prohibit 10.8.0.0/24 table 7765 proto 119",
        "ip route del prohibit 10.8.0.0/24 table 7765",
    ),
    *[
        Case(f"ip rule add {rule}", f"ip rule del {rule}")
        for rule in (
            "pref 117 iif bluebr to 10.8.0.0/24 lookup 254 protocol 119",
            "pref 118 iif bluebr fwmark 0/0x1000000 lookup 7765 protocol 119",
        )
    ],
    Case("ip addr add 10.8.0.1/24 dev bluebr", after=Sysctl),
    Case(IMPOSTOR.format("bluebr", ip="ip"), kind=KernelError, after=Sysctl),
)
IN = "ip -n web "
LEASE = f'"{CABLE.ifname}" . {CABLE.peer_mac} . 10.7.0.2'
ATTACH_CASES = (
    Case(
        port=("127.0.0.1", PROXY, "http"), said=f"port {PROXY}/tcp on 127.0.0.1 is taken by another program"
    ),
    element("inet", "proxy", "tcp : 1"),
    *[
        Case(port=(address, port, kind), said=f"port {port}/{proto} on {address} is taken by another program")
        for address, port, kind, proto in (
            ("127.0.0.1", 8080, "http", "tcp"),
            ("0.0.0.0", 8081, "http", "tcp"),
            ("127.0.0.2", 5300, "udp", "udp"),
        )
    ],
    Case("touch /etc/netns/web", "rm /etc/netns/web", KernelError),
    Case("touch /run/netns/web", "rm /run/netns/web"),
    link(CABLE.ifname),
    element("bridge", "lease4", LEASE),
    element("inet", "taken4", '"redbr" . 10.7.0.2'),
    element("inet", "loopback4", "127.0.0.1 . 8080"),
    element("inet", "publish4_any", "tcp . 8081 : 10.9.9.9 . 1"),
    element("inet", "loopback4_any", "8081"),
    Case(f"{IN} addr add 10.7.0.2/24 dev eth0", after=VethAdd),
    Case(IMPOSTOR.format("eth0", ip=IN), kind=KernelError, after=VethAdd),
    Case(f"{IN} link set lo name was-lo", kind=KernelError, after=VethAdd),
    Case(f"{IN} link set lo up; {IN} route add default dev lo", after=VethAdd),
    Case(
        f"mv {hosts(RED)} /run/kept; ln -s /etc/passwd {hosts(RED)}",
        f"mv /run/kept {hosts(RED)}",
        KernelError,
        look="cat /etc/passwd",
    ),
)
PLANS = {
    "tables": (TABLES, TABLE_CASES),
    "network": (NETWORK, NETWORK_CASES),
    "attach": (ATTACH, ATTACH_CASES),
}


@pytest.fixture(scope="module")
def bare() -> Iterator[Host]:
    """A machine on which weft has been before: its directories exist."""
    with Host() as machine:
        machine.sh(f"mkdir -p -m 700 {RUN}; ip netns add x; ip netns del x")
        yield machine


@pytest.fixture(scope="module")
def ground() -> Iterator[Host]:
    """A machine with the tables and one network; it is the same after every test."""
    with Host() as machine:
        machine.sh(f"mkdir -p -m 700 {RUN}; ip netns add x; ip netns del x")
        made = call(machine, lambda: attempt((*TABLES, *driver.network_wants(RED, hosts(RED)))))
        assert made == ("", "", True, set())
        # A bridge's tso_max_size follows its first port's and stays.
        call(machine, lambda: attempt((NetnsAdd("web"), CABLE)))
        call(machine, lambda: hands().revert(Plan((NetnsAdd("web"), CABLE)).undo()))
        yield machine


def came_back(host: Host, before: Snapshot) -> list[str]:
    """How the machine differs, once namespaces and processes had time to end."""
    found: list[str] = []

    def same() -> bool:
        found[:] = diff(before, snapshot(host, wait=False))
        return not found

    settle(host, same)
    return found


def refused(host: Host, before: Snapshot, op: Op, outcome: Callable[[], Outcome], case: Case) -> None:
    with ExitStack() as stack:
        if case.port:
            address, port, kind = case.port
            stack.callback(host.serve(port, address=address, kind=kind).end)
        if not case.after:
            host.sh(case.make)
        stack.callback(host.sh, case.clear)
        seen = host.sh(case.look)
        found = outcome()
        said = case.said or f"cannot {op.describe()}: "
        assert (found.kind, found.said[: len(said)]) == (case.kind.__name__, said)
        assert found.same_namespace
        assert not found.leaked
        assert host.sh(case.look) == seen
    assert came_back(host, before) == []


@functools.cache
def picture(host: Host) -> Snapshot:
    """Before the first test, and therefore before every one."""
    return snapshot(host, wait=False)


STEPS = [(name, k, type(op).__name__) for name, (ops, _) in PLANS.items() for k, op in enumerate(ops)]


@pytest.mark.parametrize(("name", "k", "kind"), STEPS)
def test_a_refusal_takes_all_back(request: pytest.FixtureRequest, name: str, k: int, kind: str) -> None:
    ops, cases = PLANS[name]
    host: Host = request.getfixturevalue("bare" if name == "tables" else "ground")
    assert type(ops[k]).__name__ == kind
    case = cases[k]
    refused(
        host, picture(host), ops[k], lambda: call(host, lambda: attempt(ops, case.make, case.after)), case
    )


@pytest.mark.parametrize("name", PLANS)
def test_every_step_has_its_obstacle_and_without_any_it_is_done(
    request: pytest.FixtureRequest, name: str
) -> None:
    ops, cases = PLANS[name]
    assert len(ops) == len(cases)
    host: Host = request.getfixturevalue("bare" if name == "tables" else "ground")
    before = snapshot(host, wait=False)
    forward = host.sysctl("net.ipv4.ip_forward")
    assert call(host, lambda: attempt(ops)) == ("", "", True, set())
    assert len(diff(before, snapshot(host, wait=False))) > 1
    assert call(host, lambda: hands().revert(Plan(tuple(ops)).undo())) == []
    host.sysctl("net.ipv4.ip_forward", forward)
    assert came_back(host, before) == []


# -- more than one at once


def test_several_refusals_are_told_by_the_first(ground: Host) -> None:
    """The kernel works through a whole send: what it did after the first refusal goes too."""
    ops = [BridgeAdd(f"b{n}", f"02:00:00:00:00:{n:02x}", 1500, f"weft:{n:016x}", "") for n in range(6)]
    ground.sh("ip link add b2 type bridge; ip link add b4 type bridge")
    before = snapshot(ground, wait=False)
    outcome = call(ground, lambda: attempt(ops))
    assert (outcome.kind, outcome.said) == ("Conflict", "cannot make the bridge b2: File exists")
    assert came_back(ground, before) == []
    ground.sh("ip link del b2; ip link del b4")


def test_a_mark_that_is_taken(ground: Host) -> None:
    """The link itself was born, and its undo goes by the mark: it must go, and the mark's owner stay."""
    ground.sh(f"ip link add other type bridge; ip link property add dev other altname {MARK}")
    before = snapshot(ground, wait=False)
    cable = (NetnsAdd("web"), CABLE)
    outcome = call(ground, lambda: attempt(cable))
    assert outcome.said == f"cannot {CABLE.describe()}: File exists"
    # What takes a refused plan back goes by marks too, but only for what was done.
    assert came_back(ground, before) == []
    ground.sh("ip link del other")


def test_a_bridge_that_vanished_meanwhile(ground: Host) -> None:
    """Names are looked up while messages are written: a refusal there is the operation's own."""
    before = snapshot(ground, wait=False)
    lost = CABLE._replace(bridge="nobridge")
    for leftover in ((), (LinkDel("gone", "weft:00000000000000ff"),)):
        outcome = call(ground, lambda first=leftover: attempt((NetnsAdd("web"), *first, lost)))  # type: ignore[misc]
        said = f"cannot {lost.describe()}: No such device (nobridge)"
        assert (outcome.kind, outcome.said) == ("KernelError", said)
        assert came_back(ground, before) == []


def test_a_batch_is_all_or_none(ground: Host) -> None:
    """Thirty containers side by side; one name of them is taken."""
    ground.sh("touch /run/netns/c20")
    before = snapshot(ground, wait=False)
    ops = batched([container(f"c{n}", n) for n in range(2, 32)]).ops
    outcome = call(ground, lambda: attempt(ops))
    assert (outcome.kind, outcome.same_namespace) == ("Conflict", True)
    assert outcome.said == "cannot make the network namespace c20: File exists"
    assert came_back(ground, before) == []
    ground.sh("rm /run/netns/c20")


def test_an_interrupt_takes_all_back(ground: Host) -> None:
    before = snapshot(ground, wait=False)

    def interrupted() -> str:
        def step(op: Op) -> None:
            if isinstance(op, LinkUp):
                raise KeyboardInterrupt

        try:
            hands().apply(Plan(ATTACH), step)
        except KeyboardInterrupt:
            return "interrupted"
        return "done"

    assert call(ground, interrupted) == "interrupted"
    assert came_back(ground, before) == []


# -- taking away


def test_what_is_gone_already_is_as_wanted(ground: Host) -> None:
    before = snapshot(ground, wait=False)
    for plan in (Plan(NETWORK), Plan(ATTACH)):
        assert call(ground, lambda p=plan: hands().revert(p.undo())) == []  # type: ignore[misc]
    assert came_back(ground, before) == []


def test_a_removal_goes_on_past_what_is_refused(ground: Host) -> None:
    """All errors are told, and everything else is gone."""
    before = snapshot(ground, wait=False)
    assert call(ground, lambda: attempt(ATTACH)).kind == ""
    ground.sh(f"mkdir /etc/netns/web/more; mv {hosts(RED)} /run/kept; mkdir {hosts(RED)}")
    # `lo` cannot be deleted: as if it carried a mark of ours
    ground.sh("ip link property add dev lo altname weft:00000000000000aa")
    ops = (LinkDel("lo", "weft:00000000000000aa"), *Plan(ATTACH).undo().ops)
    errors = call(ground, lambda: hands().revert(Plan(ops)))
    assert [error.rpartition(": ")[0] for error in errors] == [
        "delete the link lo",
        "forget the name of 10.7.0.2: cannot forget the name of 10.7.0.2",
    ]
    ground.sh(f"rmdir {hosts(RED)} /etc/netns/web/more /etc/netns/web; mv /run/kept {hosts(RED)}")
    ground.sh("ip link property del dev lo altname weft:00000000000000aa; sed -i /web/d " + hosts(RED))
    assert came_back(ground, before) == []


def test_hundreds_of_elements_go_though_half_of_them_are_gone(ground: Host) -> None:
    """Somebody flushed one set: more refusals than a socket holds, and all that is in the others must go."""
    elements = [op for op in container("c", 2, ("0.0.0.0:10000-10399:10000-10399",)) if op.kind == "nft"]
    assert len(elements) > 800
    assert call(ground, lambda: attempt(elements)).kind == ""
    ground.nft("flush", "map", "inet", "weft", "publish4_any")
    assert call(ground, lambda: hands().revert(Plan(tuple(elements)).undo())) == []
    assert came_back(ground, picture(ground)) == []


# -- in the reader's words


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EXFULL, Exhausted),
        (errno.EPERM, NotPermitted),
        (errno.EACCES, NotPermitted),
        (errno.EEXIST, Conflict),
        (errno.EOPNOTSUPP, Unsupported),
        (errno.EAFNOSUPPORT, Unsupported),
        (errno.EINVAL, KernelError),
    ],
)
def test_a_refusal_in_words(number: int, kind: type[WeftError]) -> None:
    error = explain(LinkUp("eth0", "web"), Refusal(3, number, "the kernel's own"))
    assert type(error) is kind
    assert error.message.startswith("cannot set eth0 up in web: ")
    assert error.message.endswith("(the kernel's own)")
    assert kind is KernelError or error.hint


@inside
def test_the_hands_stay_at_home(host: Host) -> None:
    """Whichever namespace its maker was in when it was made: there and nowhere else."""
    command("ip", "netns", "add", "elsewhere")
    doer = hands()
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]);"
        "from weft.linux.execute import Hands; doer = Hands('/run/weft', 'weft');"
        "print(os.fstat(doer.home).st_ino == os.stat('/run/netns/elsewhere').st_ino)"
    )
    argv = ["ip", "netns", "exec", "elsewhere", "/usr/bin/python3", "-IS", "-c", script, str(REPO / "src")]
    assert command(*argv) == "True\n"
    assert os.fstat(doer.home).st_ino == home()[1]
    before = open_fds()
    for _ in range(20):
        other = hands()
        assert not os.get_inheritable(other.home)
        assert other.route is not other.filter
        del other
    assert open_fds() == before
