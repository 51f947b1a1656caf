"""The harness is what the other tests believe: it must isolate, see, and hit."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import CommandFailed, Host, Lan, diff, differences, points, run_killed, settle, snapshot
from harness.crash import Trace

NETNS_ADD = ["ip", "netns", "add", "c1"]

#: Places of this very machine that a Host must leave alone.
OUTSIDE = ("/etc/netns", "/run/netns", "/var/lib/weft", "/run/weft", "/etc/weft-test", "/var/lib/weft-test")


def test_own_namespaces(host: Host) -> None:
    for kind in ("net", "mnt", "uts", "ipc", "pid"):
        inside = os.readlink(f"/proc/{host.pid}/ns/{kind}")
        assert inside != os.readlink(f"/proc/self/ns/{kind}"), kind
        assert host.run(["readlink", f"/proc/self/ns/{kind}"]).stdout.strip() == inside


def test_a_fresh_machine(host: Host) -> None:
    assert host.run(["ls", "-A", "/run", "/etc/netns", "/var/lib/weft"]).stdout.split("\n\n") == [
        "/etc/netns:",
        "/run:",
        "/var/lib/weft:\n",
    ]
    assert host.sysctl("net.ipv4.ip_forward") == "0"
    assert host.run(["ls", "/sys/class/net"]).stdout == "lo\n"
    assert host.run(["cat", "/etc/os-release"]).stdout
    assert host.pings("127.0.0.1")


@pytest.mark.parametrize("value", [0, 1])
def test_bridge_nf(value: int) -> None:
    key = "net/bridge/bridge-nf-call-iptables"
    if not Path(f"/proc/sys/{key}").exists():
        pytest.skip("this kernel has no br_netfilter")
    with Host(bridge_nf=value) as machine:
        assert machine.sysctl(key) == str(value)


def test_nothing_is_written_outside(host: Host) -> None:
    before = [os.path.lexists(path) for path in OUTSIDE]
    host.ip("netns", "add", "c1")
    for directory in ("/etc/netns/c1", "/run/weft", "/var/lib/weft", "/etc", "/var/lib"):
        host.write(f"{directory}/weft-test", "text")
    host.run(["hostname", "other"])
    host.ip("link", "add", "weft-test", "type", "bridge")
    assert [os.path.lexists(path) for path in OUTSIDE] == before
    assert socket.gethostname() != "other"
    assert "weft-test" not in os.listdir("/sys/class/net")
    assert host.read("/etc/netns/c1/weft-test") == "text"


def test_below_a_hierarchy_that_is_not_mounted(host: Host) -> None:
    """What a runtime writes there is its machine's own, where the hierarchies are mounted in a tmpfs."""
    if not os.path.ismount("/sys/fs/cgroup/unified"):
        pytest.skip("this machine has no hybrid hierarchy")
    bare = "while mountpoint -q /sys/fs/cgroup/unified; do umount /sys/fs/cgroup/unified; done"
    host.sh(f"{bare}; mkdir /sys/fs/cgroup/unified/weft-test")
    with Host() as other:
        assert "weft-test" not in other.sh(f"{bare}; ls -A /sys/fs/cgroup/unified").split()


def test_mounts_do_not_leak() -> None:
    before = Path("/proc/self/mountinfo").read_text()
    for shared in (False, True):
        with Host(shared=shared) as machine:
            machine.ip("netns", "add", "c1")
            propagation = machine.run(["findmnt", "-no", "PROPAGATION", "/etc"]).stdout.strip()
            assert propagation == ("shared" if shared else "private")
            assert Path("/proc/self/mountinfo").read_text() == before


def test_close_ends_everything() -> None:
    """Daemons in sessions of their own too; told by the end of a pipe which only they hold."""
    reads, writes = os.pipe()
    with Host() as machine:
        machine.run(["sh", "-c", "setsid sleep 600 > /dev/null 2>&1 &"])
        orphan = machine.popen(["setsid", "sleep", "600"], stdout=writes)
        os.close(writes)
        assert orphan.inner_pid() > 1
    assert os.read(reads, 1) == b""
    os.close(reads)
    assert not os.path.exists(f"/proc/{machine.pid}/ns/net")
    machine.close()


def test_a_machine_ends_with_its_maker() -> None:
    code = "from harness import Host; print(Host().pid, flush=True); input()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment) as maker:
        assert maker.stdout
        pid_fd = os.pidfd_open(int(maker.stdout.readline()))
        maker.kill()
        assert select.select([pid_fd], [], [], 10)[0]
        os.close(pid_fd)


def test_run(host: Host) -> None:
    assert host.run(["cat"], input="text").stdout == "text"
    assert host.run(["printenv", "A"], env={"A": "b"}).stdout == "b\n"
    assert host.run(["pwd"], cwd="/usr").stdout == "/usr\n"
    assert host.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    with pytest.raises(CommandFailed, match=r"status 7(.|\n)*stderr: why"):
        host.run(["sh", "-c", "echo why >&2; exit 7"])
    with pytest.raises(CommandFailed, match="did not end"):
        host.run(["sleep", "60"], timeout=0.2)
    host.ip("netns", "add", "c1")
    assert "state DOWN" in host.run(["ip", "link", "show", "lo"], netns="c1").stdout


def test_signals_reach_the_command(host: Host) -> None:
    process = host.popen(["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"])
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    assert host.run(["cat", f"/proc/{process.inner_pid()}/comm"]).stdout == "sh\n"
    process.terminate()
    assert process.wait(10) == 9
    sleeper = host.popen(["sleep", "600"])
    sleeper.send_signal(signal.SIGUSR1)
    assert sleeper.wait(10) == -signal.SIGUSR1


def test_lan(host: Host, lan: Lan) -> None:
    lan.serve(80, "page")
    for address, client in (
        (Lan.BOX, Lan.HOST),
        (Lan.FAR, Lan.HOST),
        (f"[{Lan.BOX6}]", Lan.HOST6),
        (f"[{Lan.FAR6}]", Lan.HOST6),
    ):
        page = host.fetch(f"http://{address}/")
        assert page.ok, page.error
        assert (page.body, page.client) == ("page", client)
    host.serve(53, "answer", kind="udp")
    assert lan.box.ask_udp(Lan.HOST, 53).client == Lan.BOX
    host.serve(8080)
    assert lan.fetch(f"http://{Lan.HOST}:8080/").ok
    assert not lan.fetch(f"http://{Lan.HOST}:8081/").ok


def test_only_translated_addresses_get_answers(host: Host, lan: Lan) -> None:
    lan.serve(80)
    host.sysctl("net.ipv4.ip_forward", "1")
    host.ip("netns", "add", "c1")
    host.sh("""
        ip link add v1 type veth peer name eth0 netns c1
        ip address add 10.9.0.1/24 dev v1
        ip link set v1 up
        ip -n c1 address add 10.9.0.2/24 dev eth0
        ip -n c1 link set eth0 up
        ip -n c1 route add default via 10.9.0.1
    """)
    assert not host.fetch(f"http://{Lan.BOX}/", netns="c1", timeout=0.5).ok
    host.nft("""table ip nat { chain post { type nat hook postrouting priority 100
        oifname eth-up masquerade
    }
    }""")
    page = host.fetch(f"http://{Lan.BOX}/", netns="c1")
    assert page.ok, page.error
    assert page.client == Lan.HOST


CHANGES: list[tuple[str, Callable[[Host], object], str]] = [
    ("link", lambda h: h.ip("link", "add", "br9", "type", "bridge"), "+ netns/host/links/br9: "),
    ("mtu", lambda h: h.ip("link", "set", "lo", "mtu", "1234"), "~ netns/host/links/lo/mtu: 65536 -> 1234"),
    ("down", lambda h: h.ip("link", "set", "lo", "down"), "- netns/host/links/lo/flags: UP"),
    ("alias", lambda h: h.ip("link", "set", "lo", "alias", "x"), "+ netns/host/links/lo/ifalias: x"),
    (
        "altname",
        lambda h: h.ip("link", "property", "add", "dev", "lo", "altname", "weft:1"),
        "+ netns/host/links/lo/altnames: weft:1",
    ),
    (
        "address",
        lambda h: h.ip("address", "add", "10.7.0.1/24", "dev", "lo"),
        "+ netns/host/addresses/lo/10.7",
    ),
    ("route", lambda h: h.ip("route", "add", "prohibit", "10.8.0.0/16"), "+ netns/host/routes: -4 "),
    (
        "table",
        lambda h: h.ip("route", "add", "blackhole", "2001:db8::/64", "table", "77"),
        "+ netns/host/routes: -6 ",
    ),
    ("rule", lambda h: h.ip("rule", "add", "pref", "9", "prohibit"), "+ netns/host/rules: -4 "),
    (
        "neighbour",
        lambda h: h.ip(
            "neighbour", "add", "10.1.1.1", "lladdr", "2:0:0:0:0:1", "dev", "lo", "nud", "permanent"
        ),
        "+ netns/host/neighbours: ",
    ),
    ("nft", lambda h: h.nft("add", "table", "inet", "t"), "+ netns/host/nft/inet t: "),
    (
        "nft comment",
        lambda h: h.nft('table inet t { comment "c"\n }'),
        '+ netns/host/nft/statements: {"table inet t": ["comment \\"c\\""]}',
    ),
    (
        "sysctl",
        lambda h: h.sysctl("net.ipv4.conf.lo.route_localnet", "1"),
        "~ netns/host/sysctls/ipv4/conf/lo/route_localnet: 0 -> 1",
    ),
    ("mount", lambda h: h.run(["mount", "-t", "tmpfs", "t", "/mnt"]), "+ mounts: /mnt tmpfs t "),
    ("file", lambda h: h.write("/run/weft/x", "text", 0o600), "+ files//run/weft/x: file 0600 0:0 text"),
    ("netns", lambda h: h.ip("netns", "add", "c1"), "+ netns/c1: "),
    (
        "process",
        lambda h: h.run(["sh", "-c", "sleep 77 > /dev/null 2>&1 &"]),
        "+ processes: sleep 77",
    ),
]


@pytest.mark.parametrize(("change", "line"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_snapshot_sees(host: Host, change: Callable[[Host], object], line: str) -> None:
    before = snapshot(host)
    assert diff(before, snapshot(host)) == []
    change(host)
    found = diff(before, snapshot(host))
    assert any(text.startswith(line) for text in found), found


def test_snapshot_is_of_every_namespace_and_names_the_peers(host: Host) -> None:
    for name in ("c1", "c2"):
        host.ip("netns", "add", name)
        host.ip("link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
    host.run(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", "c2"], netns="c1")
    seen = snapshot(host)["netns"]
    peers = {(ns, name): link.get("peer") for ns in seen for name, link in seen[ns]["links"].items()}
    assert peers["host", "v-c1"] == "c1:eth0"
    assert peers["c2", "eth0"] == "host:v-c2"
    assert peers["c1", "up0"] == "c2:down0"
    host.ip("address", "add", "10.0.0.1/8", "dev", "eth0", netns="c2")
    assert any(
        line.startswith("+ netns/c2/addresses/eth0/10.0.0.1/8") for line in differences_now(host, seen)
    )


def differences_now(host: Host, seen: dict[str, object]) -> list[str]:
    return diff({"netns": seen}, {"netns": snapshot(host)["netns"]})


def test_snapshot_does_not_see_what_only_time_changes(host: Host) -> None:
    """A bridge coming up, counters, the addresses the kernel makes: one picture at once and later."""
    host.ip("netns", "add", "c1")
    host.nft("table inet t { chain c { type filter hook output priority 0\n counter\n }\n }")
    host.sh("""
        ip link add br0 type bridge
        ip link add v1 type veth peer name eth0 netns c1
        ip link set v1 master br0 up
        ip link set br0 up
        ip address add 10.0.0.1/24 dev br0
        ip -n c1 address add 10.0.0.2/24 dev eth0
        ip -n c1 link set eth0 up
    """)
    quick, still = snapshot(host, wait=False), snapshot(host)
    assert still["netns"]["host"]["links"]["br0"]["operstate"] == "UP"
    assert settle(host, lambda: host.pings("10.0.0.2"))
    assert diff(still, snapshot(host)) == []
    assert diff(quick, snapshot(host, wait=False)) == []


def test_differences_waits_for_the_kernels_own_endings(host: Host) -> None:
    host.ip("netns", "add", "c0")
    before = snapshot(host)
    host.ip("netns", "add", "c1")
    host.ip("link", "add", "v1", "type", "veth", "peer", "name", "eth0", "netns", "c1")
    assert differences(host, before, timeout=0)
    host.ip("netns", "delete", "c1")
    assert differences(host, before) == []


def test_settle_wakes_up_on_a_notice(host: Host) -> None:
    assert not settle(host, lambda: False, timeout=0.1)
    host.popen(["sh", "-c", "sleep 0.3; ip link add late type bridge"])
    assert settle(host, lambda: "late" in host.ip("link"), timeout=10)


def test_every_point_of_ip_netns_add_is_hit() -> None:
    with Host() as machine:
        found = points(machine, NETNS_ADD)
        assert snapshot(machine, wait=False)["netns"].keys() == {"host", "c1"}
    assert ("unshare", 1) in found
    for point in found:
        with Host() as machine:
            assert run_killed(machine, NETNS_ADD, *point), point
            # All that comes after the name exists is the return to the old namespace.
            assert ("c1" in snapshot(machine, wait=False)["netns"]) == (point == ("setns", 1)), point


def test_a_point_never_reached(host: Host) -> None:
    assert not run_killed(host, NETNS_ADD, "mount", 99)
    assert "c1" in host.ip("netns")


def test_points_of_a_command_that_fails(host: Host) -> None:
    with pytest.raises(CommandFailed, match="status 1"):
        points(host, ["ip", "netns", "delete", "c1"])


def test_points_of_a_command_that_leaves_a_daemon(host: Host) -> None:
    found = points(host, ["sh", "-c", "sleep 600 & mkdir /run/made"])
    assert ("mkdir", 1) in found
    assert snapshot(host)["processes"] == ["sleep 600"]


def test_following_children_or_not(host: Host) -> None:
    script = "mkdir /run/$1; mkdir /run/$1/$1; echo > /run/$1/done"
    assert ("mkdir", 1) in points(host, ["sh", "-c", script, "sh", "a"])
    alone = points(host, ["sh", "-c", script, "sh", "b"], follow=False)
    assert "mkdir" not in [name for name, _ in alone]
    write = next(point for point in alone if point[0] == "write")
    assert run_killed(host, ["sh", "-c", script, "sh", "c"], *write, follow=False)
    assert sorted(os.listdir(host.path("/run/c"))) == ["c", "done"]
    assert host.read("/run/c/done") == ""


def test_a_trace_is_read_right() -> None:
    trace = Trace()
    for line in (
        '7  execve("/bin/x", ...) = 0',
        "7  openat(AT_FDCWD, ..., O_RDONLY) = 3",
        "7  openat(AT_FDCWD, ..., O_RDWR|O_CREAT, 0600) = 3",
        "7  sendto(3,  <unfinished ...>",
        "8  sendto(4, ...) = 1",
        "7  <... sendto resumed>) = 1",
        "7  sendto(3, ...) = ?",
        "7  +++ killed by SIGKILL +++",
        "8  +++ exited with 3 +++",
    ):
        trace.read(line)
    assert trace.points == [("openat", 2), ("sendto", 1), ("sendto", 2)]
    assert trace.killed_in == {("sendto", 2)}
    assert trace.first_ended
    assert trace.status is None
