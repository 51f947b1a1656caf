"""Two containers share exactly what was asked and nothing else; nobody gets out; weft runs inside weft."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import Host, settle
from harness.holder import Terminal
from scenarios.life import WEFT, heard

KINDS = ("net", "mnt", "pid", "uts", "ipc", "user", "cgroup", "time")
TOOLS = "sh ls cat id mount mknod dd touch readlink grep head chroot env unshare sleep stat test"


@pytest.fixture(scope="module")
def ground() -> Iterator[Host]:
    """A machine with the network blue, and a busybox root."""
    with Host() as host:
        host.weft("net", "create", "blue", "--subnet", "10.1.0.0/24")
        host.sh(
            "mkdir -p /run/root/bin /run/root/etc /run/root/proc /run/root/sys /run/root/dev /run/root/tmp\n"
            "cp /bin/busybox /run/root/bin/busybox\n"
            f"for t in {TOOLS}; do ln -s busybox /run/root/bin/$t; done\n"
            "echo weft:100000:65536 >/etc/subuid\necho weft:100000:65536 >/etc/subgid\n"
        )
        yield host


@pytest.fixture
def box(ground: Host) -> Iterator[Host]:
    yield ground
    names = ground.weft("ps", "-aq").stdout.split()
    if names:
        ground.weft("rm", "-f", *names)


def up(host: Host, name: str, *flags: str) -> dict[str, int]:
    """Starts one that sleeps; its namespaces."""
    host.weft("run", "-d", "--name", name, *flags, "--", "sleep", "1000")
    (found,) = host.weft_json("inspect", name)
    return dict(found["namespaces"])


def pid_of(host: Host, name: str) -> str:
    return str(host.weft_json("inspect", name)[0]["pid"])


def inside(host: Host, name: str, script: str, check: bool = True) -> str:
    return host.weft("exec", name, "--", "sh", "-c", script, check=check).stdout


BLUE = ("--network", "blue")
JOINS = {
    "net": ("--network", "container:a"),
    "pid": ("--pid", "container:a"),
    "ipc": ("--ipc", "container:a"),
}


QUEUE = "import ctypes, os; l = ctypes.CDLL('librt.so.1'); print(l.mq_open(b'/q', {}, 0o600, None) > 0)"
LISTEN = (
    "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('\\0weft-test'); s.listen();"
    " print(1, flush=True); time.sleep(1000)"
)


@pytest.mark.parametrize("asked", [(), ("net",), ("pid",), ("ipc",), ("net", "pid", "ipc")])
def test_what_two_containers_share(box: Host, asked: tuple[str, ...]) -> None:
    a = up(box, "a", *BLUE, "--ipc", "shareable")
    flags = [word for kind in asked for word in JOINS[kind]]
    b = up(box, "b", *(() if "net" in asked else BLUE), *flags)
    # The kernel's own numbers, and of the host's what Docker leaves to the host.
    hosts = {"user", "cgroup", "time"}
    assert {kind for kind in KINDS if a[kind] == b[kind]} == {*asked, *hosts}
    # And what that means: queues of both families, shared memory, abstract sockets, signals, names, mounts.
    inside(box, "a", "ipcmk -Q >/dev/null; echo said >/dev/shm/x; ! hostname changed 2>/dev/null")
    queues = inside(box, "b", "ipcs -q | grep -c 0x || true")
    assert queues == ("1\n" if "ipc" in asked else "0\n")
    assert inside(box, "b", "cat /dev/shm/x 2>/dev/null || true") == ("said\n" if "ipc" in asked else "")
    python = ("--", "python3", "-c")
    assert box.weft("exec", "a", *python, QUEUE.format("os.O_CREAT | os.O_RDWR")).stdout == "True\n"
    assert box.weft("exec", "b", *python, QUEUE.format("os.O_RDWR")).stdout == f"{'ipc' in asked}\n"
    server = box.popen([WEFT, "exec", "a", *python, LISTEN])
    assert heard(server) == "1"
    connect = "import socket; s = socket.socket(socket.AF_UNIX); print(s.connect_ex('\\0weft-test'))"
    answer = box.weft("exec", "b", *python, connect).stdout
    assert answer == ("0\n" if "net" in asked else "111\n")
    pids = inside(box, "b", "ps -e -o args= | grep -c '^sleep 1000'")
    assert pids == ("2\n" if "pid" in asked else "1\n")
    # One in brackets does not match the very command that has this pattern on its line.
    kill = ("--", "pkill", "-TERM", "-f", "[p]ython3.-c.import.socket,.time")
    assert box.weft("exec", "b", *kill, check=False).returncode == (0 if "pid" in asked else 1)
    if "pid" in asked:
        assert server.wait(20) == 143
    # Nobody's name or mounts are another's.
    box.run(
        ["nsenter", "-t", pid_of(box, "a"), "-u", "-m", "sh", "-c", "hostname new; mount -t tmpfs x /mnt"]
    )
    # The network is a's, and so is the name that goes with it.
    named = {
        name: inside(box, name, "hostname; grep -c ' /mnt ' /proc/self/mountinfo || true") for name in "ab"
    }
    assert named == {"a": "new\n1\n", "b": f"{'a' if 'net' in asked else 'b'}\n0\n"}


def test_an_ipc_namespace_is_shared_with_who_may(box: Host) -> None:
    up(box, "a", *BLUE)
    refused = box.weft("run", "--rm", *BLUE, "--ipc", "container:a", "--", "true", check=False)
    assert refused.returncode == 4 and "shareable" in refused.stderr


# -- nobody gets out


def test_out_of_a_root(box: Host) -> None:
    box.write("/run/secret", "secret")
    script = """
        cat /run/secret; cat /proc/1/root/run/secret; ls /proc/1/fd/; cat /proc/1/environ
        echo 1 >/proc/sys/kernel/panic; echo b >/proc/sysrq-trigger; mount -t tmpfs x /tmp
        mount -o remount,rw /proc/sys
        mknod /tmp/disk b 254 0; dd if=/tmp/disk of=/tmp/out bs=512 count=1; mknod /tmp/mem c 1 1
        head -c1 /tmp/mem
        mknod /dev/mem c 1 1; head -c1 /dev/mem
        unshare -U id; unshare -m id; ls /sys/fs/cgroup/memory/release_agent
        for f in /proc/self/fd/*; do echo $f; done
    """
    argv = [
        "sh",
        "-c",
        "exec 9</; exec 8</run/secret; "
        f"exec {WEFT} run --rm --network blue --rootfs /run/root -- sh -c '{script}'",
    ]
    done = box.run(argv, check=False)
    assert "secret" not in done.stdout and "uid=" not in done.stdout
    assert "/proc/self/fd/8" not in done.stdout and "/proc/self/fd/9" not in done.stdout
    assert box.path("/run/root/tmp/disk").exists(), "the node is made, and opens nothing"
    assert not box.path("/run/root/tmp/out").exists()
    assert done.stderr.count("Operation not permitted") + done.stderr.count("Permission denied") >= 7, (
        done.stderr
    )
    box.sh("rm -f /run/root/tmp/*")


@pytest.mark.parametrize("flags", [(), ("--userns", "private")])
def test_out_of_the_hosts_files(box: Host, flags: tuple[str, ...]) -> None:
    """Its files are the host's, on purpose; the kernel is not its own to rule."""
    script = """
        for f in /proc/sys/kernel/panic /proc/sysrq-trigger /proc/irq/default_smp_affinity \\
                 /sys/kernel/mm/ksm/run /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/cgroup.procs; do
            echo 0 >$f && echo WROTE $f; done
        mkdir /sys/fs/cgroup/pids/weft-test-box && echo WROTE
        strace -p 1 2>&1 | grep -q attached && echo TRACED
        cat /proc/kcore /proc/keys; mount -t tmpfs x /mnt && echo MOUNTED; unshare -U true && echo UNSHARED
        nsenter -t 1 -m true && echo ENTERED; chroot /proc/1/root true && echo ROOTED; exit 0
    """
    done = box.weft("run", "--rm", *BLUE, *flags, "--", "sh", "-c", script)
    assert done.stdout == "", done.stdout


def test_across_containers_that_share_their_processes(box: Host) -> None:
    """Neither the other's init, nor a further command on its way in, can be looked into."""
    up(box, "a", *BLUE)
    up(box, "b", *BLUE, "--pid", "container:a")
    script = (
        "readlink /proc/1/exe; cat /proc/1/environ; strace -p 1 2>&1 | grep attached; "
        "nsenter -t 1 -m true && echo ENTERED; exit 0"
    )
    assert inside(box, "b", script) == ""


# -- users


def test_root_of_a_user_namespace(box: Host) -> None:
    box.sh("mkdir -m 777 -p /run/shared")
    script = "id -u; touch /run/shared/mine; cat /proc/self/uid_map"
    done = box.weft("run", "--rm", *BLUE, "--userns", "private", "--", "sh", "-c", script)
    assert done.stdout.split() == ["0", "0", "100000", "65536"]
    assert box.path("/run/shared/mine").stat().st_uid == 100_000
    box.sh("rm -r /run/shared")


def test_ping_needs_no_rights(box: Host) -> None:
    for flags in ((), ("-u", "nobody")):
        box.weft("run", "--rm", *BLUE, *flags, "--", "ping", "-c1", "-W2", "10.1.0.1")
    raw = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"
    refused = box.weft("run", "--rm", *BLUE, "--", "python3", "-c", raw, check=False)
    assert "Operation not permitted" in refused.stderr


# -- at a terminal


def test_a_typed_signal_comes_once(box: Host) -> None:
    """The terminal tells init and its command both: init must not tell it again."""
    script = (
        "trap 'n=$((n+1)); echo int $n' INT; trap 'echo quit $n; exit 5' QUIT; echo ready; "
        "while :; do sleep 0.05; done"
    )
    terminal = Terminal(box, [WEFT, "run", "--rm", *BLUE, "--", "sh", "-c", script])
    terminal.wait_for("ready")
    for number in (1, 2, 3):
        terminal.type("\x03")
        terminal.wait_for(f"int {number}")
    terminal.type("\x1c")
    terminal.wait_for("quit 3")
    assert terminal.end() == 5


# -- weft inside weft


def test_weft_inside_weft(box: Host) -> None:
    script = f"""set -e
        mount -t tmpfs t /run; mount -t tmpfs t /var/lib/weft; mount -t tmpfs t /etc/netns
        {WEFT} net create inner --subnet 10.66.0.0/24 >/dev/null
        {WEFT} run --rm --network inner --name in -- sh -c 'hostname; id -u; ps -e -o comm= | head -n1'
        {WEFT} run -d --name d --network inner -- sleep 1000 >/dev/null
        {WEFT} exec d -- readlink /proc/self/ns/net
        readlink /proc/self/ns/net
        {WEFT} rm -f d
        {WEFT} net rm inner >/dev/null"""
    done = box.weft("run", "--rm", *BLUE, "--privileged", "--", "sh", "-c", script)
    lines = done.stdout.split()
    assert lines[:3] == ["in", "0", "weft-init"] and lines[3] != lines[4] and lines[5] == "d", done
    assert settle(box, lambda: box.weft("ps", "-aq").stdout == "")


def test_the_hosts_shared_memory_and_queues_are_the_hosts(box: Host) -> None:
    """The host's files show both: of an IPC namespace of one's own they are not."""
    box.sh(
        "mkdir /run/dev; mount -t tmpfs dev /run/dev; cp -a /dev/null /run/dev; mount --move /run/dev /dev"
    )
    box.sh("mkdir /dev/shm /dev/mqueue; mount -t mqueue q /dev/mqueue; touch /dev/shm/host /dev/mqueue/host")
    seen = {}
    for mode in ("private", "none", "host"):
        flags = ("--rm", "--network", "none", "--ipc", mode)
        look = (
            "--",
            "sh",
            "-c",
            "cd /dev; echo shm/* mqueue/*; 2>shm/own >shm/own && rm shm/own && echo own",
        )
        done = box.weft("run", *flags, *look, check=False)
        seen[mode] = done.stdout.split()
    box.sh("umount -l /dev")
    nothing, everything = ["shm/*", "mqueue/*"], ["shm/host", "mqueue/host"]
    assert seen == {"private": [*nothing, "own"], "none": nothing, "host": [*everything, "own"]}


def test_a_terminal_in_a_user_namespace(box: Host) -> None:
    """The host's are none of it: it has its own."""
    box.write("/run/ids", "weft:100000:65536\n")
    box.sh("mount --bind /run/ids /etc/subuid; mount --bind /run/ids /etc/subgid")
    flags = ("-t", "--network", "none", "--userns", "private", "--rm")
    done = box.weft("run", *flags, "--", "sh", "-c", "tty; ls /dev/pts", check=False)
    assert done.stdout.split() == ["/dev/pts/0", "0", "ptmx"], done.stderr


def test_whose_hosts_file(box: Host) -> None:
    """One that somebody mounts there himself is the one that is seen."""
    box.write("/run/mine", "10.0.0.1 mine\n")
    done = box.weft("run", "--rm", *BLUE, "-v", "/run/mine:/etc/hosts", "--", "cat", "/etc/hosts")
    assert done.stdout == "10.0.0.1 mine\n"
