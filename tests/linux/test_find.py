"""Each source of namespaces finds what no other does, and says what holds it; everything else agrees."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.wire.sandbox import command, libc, new_netns, process_in, sandboxed
from weft.core.model.namespace import TYPES, Holder, NsFact
from weft.core.wire import nsfs as wire
from weft.linux import find, nsfs, nsmounts
from weft.linux import libc as calls

KERNEL = tuple([int(number) for number in os.uname().release.split("-")[0].split(".")[:2]])
needs_walk = pytest.mark.skipif(KERNEL < (6, 12), reason="mount namespaces are walked since Linux 6.12")
needs_handles = pytest.mark.skipif(KERNEL < (6, 18), reason="handles of namespaces came with Linux 6.18")
#: A fork of the test is no process of its own: it says that it is there, and stays until its input ends.
STAY = "echo $$; exec cat"


@contextlib.contextmanager
def process(*argv: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A command that says something when it is ready, which is in ``said``, and stays."""
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, **more) as child:
        assert child.stdin and child.stdout
        said = child.stdout.readline()
        assert said, "it did not get ready"
        yield child
        child.stdin.close()


def python(script: str, *words: str) -> tuple[str, ...]:
    """A Python program with the calls of weft that says ``ready`` and stays."""
    head = "import os, sys, socket, threading; from weft.linux import libc\n"
    tail = "\nprint('ready', flush=True); sys.stdin.read(); os._exit(0)"
    return (
        "env",
        f"PYTHONPATH={Path(__file__).parents[2] / 'src'}",
        sys.executable,
        "-c",
        head + script + tail,
        *words,
    )


def inode(kind: str, pid: int | str = "self") -> int:
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def found(kind: str, number: int, removed: Sequence[tuple[str, bytes]] = ()) -> NsFact | None:
    """What the search says of one namespace, which is at most once."""
    facts = [fact for fact in find.find((kind,), removed) if fact.inode == number]
    assert len(facts) <= 1
    return facts[0] if facts else None


def holders(fact: NsFact | None) -> list[tuple[str, int]]:
    assert fact is not None, "it is not found"
    return [(holder.kind, holder.pid) for holder in fact.held_by]


def private_run() -> None:
    command("mount", "-t", "tmpfs", "none", "/run")
    os.mkdir("/run/netns")


@pytest.mark.parametrize("kind", TYPES)
@sandboxed
def test_a_process_in_one_of_its_own(kind: str) -> None:
    flag = {"mnt": "mount"}.get(kind, kind)
    fork = ("--fork",) if kind in ("pid", "time") else ()
    script = "read -r pid rest </proc/self/stat; echo; exec cat"
    with process("unshare", f"--{flag}", *fork, "sh", "-c", script) as child:
        (pid,) = (
            map(int, Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split())
            if fork
            else (child.pid,)
        )
        fact = found(kind, inode(kind, pid))
    assert fact is not None
    assert fact.pids == (pid,)
    assert (fact.command, fact.user, fact.here) == ("cat", "root", False)
    assert ("process", pid) in holders(fact)
    owner = inode("user") if kind != "user" else fact.parent
    assert fact.owner == owner
    assert fact.parent == (inode(kind) if kind in ("user", "pid") else 0)


@sandboxed
def test_ones_own() -> None:
    facts = {fact.type: fact for fact in find.find(TYPES) if fact.here}
    assert {kind: fact.inode for kind, fact in facts.items()} == {kind: inode(kind) for kind in TYPES}
    assert all(os.getpid() in fact.pids for fact in facts.values())


@sandboxed
def test_held_by_a_thread_alone() -> None:
    script = """
def live():
    libc.unshare(libc.CLONE_NEWNET)
    print('there', flush=True)
    os.read(0, 1)
threading.Thread(target=live).start()
"""
    with process(*python(script)) as child:
        fact = next(f for f in find.find(("net",)) if ("thread", child.pid) in holders(f))
    assert fact.inode not in (inode("net"), 0)
    assert not fact.pids
    assert [holder.kind for holder in fact.held_by] == ["thread"]


@sandboxed
def test_ready_for_children_alone() -> None:
    # An exec would take the process itself there.
    with process(*python("libc.unshare(libc.CLONE_NEWTIME)")) as child:
        fact = found("time", inode("time_for_children", child.pid))
    assert fact is not None
    assert fact.held_by == (Holder("process", child.pid, "time_for_children"),)


def reopened(how: str) -> tuple[str, ...]:
    return ("sh", "-c", f"exec 3<{how}; echo; exec cat")


@sandboxed
def test_held_by_an_open_file_alone() -> None:
    netns = new_netns()
    number = os.fstat(netns).st_ino
    with process(*reopened(f"/proc/{os.getpid()}/fd/{netns}")) as child:
        os.close(netns)
        fact = found("net", number)
        assert fact is not None
        assert fact.held_by == (Holder("file", child.pid, "fd 3"),)


@pytest.mark.parametrize("removed", [False, True])
@sandboxed
def test_a_file_that_was_opened_by_a_name_is_called_like_it(removed: bool) -> None:
    private_run()
    command("ip", "netns", "add", "blue")
    number = os.stat("/run/netns/blue").st_ino
    with process(*reopened("/run/netns/blue")) as child:
        said = os.readlink(f"/proc/{child.pid}/fd/3")
        if removed:
            command("ip", "netns", "del", "blue")
            said = os.readlink(f"/proc/{child.pid}/fd/3")
        fact = found("net", number)
    assert said == ("/" if removed else "/run/netns/blue"), "the kernel says something else now"
    held = [("file", child.pid)] if removed else [("mount", 0), ("file", child.pid)]
    assert holders(fact) == held


@sandboxed
def test_held_by_a_socket_alone() -> None:
    script = """
home = os.open('/proc/self/ns/net', os.O_RDONLY)
libc.unshare(libc.CLONE_NEWNET)
there = os.stat('/proc/self/ns/net').st_ino
s = socket.socket()
libc.setns(home, libc.CLONE_NEWNET)
os.close(home)
open(sys.argv[1], 'w').write(f'{there} {s.fileno()}')
"""
    command("mount", "-t", "tmpfs", "none", "/mnt")
    with process(*python(script, "/mnt/there")) as child:
        number, fd = Path("/mnt/there").read_text().split()
        fact = found("net", int(number))
        assert fact is not None
        assert fact.held_by == (Holder("socket", child.pid, f"fd {fd}"),)
        assert (fact.pids, fact.owner) == ((), inode("user"))


@sandboxed
def test_sockets_of_who_is_inside_are_not_named() -> None:
    with process(*python("libc.unshare(libc.CLONE_NEWNET); s = socket.socket()")) as child:
        assert holders(found("net", inode("net", child.pid))) == [("process", child.pid)]


def mounting(netns: int, name: str) -> str:
    """A script that mounts a namespace of the caller's by this name, and stays."""
    return (
        f"mount -t tmpfs none /mnt; touch {name}; mount --bind /proc/{os.getpid()}/fd/{netns} {name}; {STAY}"
    )


@sandboxed
def test_mounted_in_another_mount_namespace() -> None:
    netns = new_netns()
    number = os.fstat(netns).st_ino
    script = mounting(netns, "'/mnt/a b'")
    with process("unshare", "--mount", "sh", "-c", script) as child:
        os.close(netns)
        fact = found("net", number)
        assert fact is not None
        assert fact.held_by == (Holder("mount", child.pid, "/mnt/a b"),)
        assert fact.owner == inode("user"), "nothing was asked of it"


@needs_walk
@sandboxed
def test_mounted_in_a_mount_namespace_without_a_process() -> None:
    netns = new_netns()
    number = os.fstat(netns).st_ino
    script = mounting(netns, "/mnt/name")
    with process("unshare", "--mount", "sh", "-c", script) as child:
        space = os.open(f"/proc/{child.pid}/ns/mnt", os.O_RDONLY)
        mnt = os.fstat(space).st_ino
    os.close(netns)
    fact = found("net", number)
    assert fact is not None
    assert fact.held_by == (Holder("mount", 0, f"/mnt/name in mnt:[{mnt}]"),)
    assert fact.owner == inode("user"), "nothing was asked of it"
    there = found("mnt", mnt)
    assert there is not None and there.owner == inode("user")
    os.close(space)


@sandboxed
def test_mounted_where_all_are_in_a_chroot() -> None:
    """Where mount namespaces cannot be walked over, one of them tells of what it sees."""
    netns = new_netns()
    number = os.fstat(netns).st_ino
    there = f"/proc/{os.getpid()}/fd/{netns}"
    script = f"""
libc.unshare(libc.CLONE_NEWNS)
libc.mount("tmpfs", "/mnt", "tmpfs")
open("/mnt/name", "w").close()
libc.mount({there!r}, "/mnt/name", "none", libc.MS_BIND)
os.chroot("/mnt")
"""
    with process(*python(script)) as child:
        os.close(netns)
        space = f"mnt:[{inode('mnt', child.pid)}]"
        if KERNEL >= (6, 12):
            fact = found("net", number)
            assert fact is not None
            assert fact.held_by == (Holder("mount", 0, f"/mnt/name in {space}"),)
        wire.NS_MNT_GET_NEXT = wire.NS_MNT_GET_PREV = 0xB7FF
        fact = found("net", number)
        assert fact is not None
        assert fact.held_by == (Holder("mount", child.pid, "/name"),)
        assert fact.owner == inode("user")


@sandboxed
def test_a_copy_by_propagation_holds_nothing_of_its_own() -> None:
    private_run()
    command("ip", "netns", "add", "blue")  # which makes /run/netns shared
    number = os.stat("/run/netns/blue").st_ino
    with process("unshare", "--mount", "--propagation", "unchanged", "sh", "-c", STAY):
        assert holders(found("net", number)) == [("mount", 0)]
    with process("unshare", "--mount", "--propagation", "slave", "sh", "-c", STAY):
        assert holders(found("net", number)) == [("mount", 0)]
    with process("unshare", "--mount", "--propagation", "private", "sh", "-c", STAY) as child:
        assert holders(found("net", number)) == [("mount", 0), ("mount", child.pid)]


@sandboxed
def test_alive_only_as_a_parent() -> None:
    deeper = f"exec unshare --user --map-root-user sh -c '{STAY}'"
    script = f"echo $(stat -Lc %i /proc/self/ns/user) >/mnt/parent; {deeper}"
    command("mount", "-t", "tmpfs", "none", "/mnt")
    with process("unshare", "--user", "--map-root-user", "sh", "-c", script) as child:
        parent = int(Path("/mnt/parent").read_text())
        child_ns = inode("user", child.pid)
        fact = found("user", parent)
        assert fact is not None
        assert fact.pids == ()
        assert fact.held_by == (Holder("child", 0, f"user:[{child_ns}]"),)
        assert fact.parent == inode("user")
        below = found("user", child_ns)
        assert below is not None and below.parent == parent


@contextlib.contextmanager
def in_flight(fd: int) -> Iterator[None]:
    """A descriptor that is nowhere but in a message that nobody has read: no /proc shows it."""
    left, right = socket.socketpair()
    left.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    os.close(fd)
    yield
    left.close()
    right.close()


def strangers() -> list[NsFact]:
    return [fact for fact in find.find(("net",)) if not fact.inode and not fact.stale]


@sandboxed
def test_known_by_a_device_alone() -> None:
    netns = new_netns()
    command(
        "ip",
        "link",
        "add",
        "here0",
        "type",
        "veth",
        "peer",
        "name",
        "there0",
        "netns",
        f"/proc/{os.getpid()}/fd/{netns}",
    )
    with in_flight(netns):
        mine = [f for f in strangers() if f.nsid == 0]
    assert [holder for fact in mine for holder in fact.held_by] == [
        Holder("device", 0, "here0 (its other end: there0)")
    ]
    assert mine[0].links == ("lo", "there0")


@sandboxed
def test_known_by_a_device_of_a_known_one_alone_and_by_one_of_that() -> None:
    private_run()
    command("ip", "netns", "add", "blue")
    one, two = new_netns(), new_netns()
    me = os.getpid()
    for there, other, netns in (("-n blue", "one", one), (f"-n /proc/{me}/fd/{one}", "two", two)):
        enter = there.split()
        path = f"/proc/{me}/fd/{netns}"
        words = ["ip", *enter] if enter[1] == "blue" else ["nsenter", f"--net={enter[1]}", "ip"]
        command(
            *words, "link", "add", f"to-{other}", "type", "veth", "peer", "name", f"in-{other}", "netns", path
        )
    with in_flight(one), in_flight(two):
        facts = strangers()
    said = {link: fact.held_by for fact in facts for link in fact.links if link.startswith("in-")}
    assert Holder("device", 0, "to-one in blue (its other end: in-one)") in said["in-one"]
    assert said["in-two"] == (Holder("device", 0, "to-two in another like it (its other end: in-two)"),)
    assert sum("in-one" in fact.links for fact in facts) == 1, "it is told twice"


@sandboxed
def test_known_by_an_id_alone() -> None:
    private_run()
    command("ip", "netns", "add", "blue")
    netns = os.open("/run/netns/blue", os.O_RDONLY)
    command("ip", "netns", "set", "blue", "7")
    command("ip", "netns", "del", "blue")
    with in_flight(netns):
        (fact,) = [f for f in strangers() if f.nsid == 7]
    assert fact.held_by == (Holder("unknown", 0, "it has the id 7 here"),)
    assert fact.links == ("lo",)


@needs_handles
@sandboxed
def test_names_that_were_removed() -> None:
    private_run()
    for name in ("gone", "lives"):
        command("ip", "netns", "add", name)
    removed = [(name, nsfs.handle(f"/run/netns/{name}")) for name in ("gone", "lives")]
    number = os.stat("/run/netns/lives").st_ino
    with process("ip", "netns", "exec", "lives", "sh", "-c", STAY) as child:
        for name in ("gone", "lives"):
            command("ip", "netns", "del", name)
        nsfs.wait_gone(removed[0][1])
        facts = [fact for fact in find.find(("net",), removed) if fact.former]
        assert [(f.inode, f.former, f.leaked, f.pids) for f in facts] == [
            (number, ("lives",), True, (child.pid,))
        ]
        command("ip", "netns", "attach", "again", str(child.pid))
        (fact,) = [fact for fact in find.find(("net",), removed) if fact.inode == number]
        assert (fact.names, fact.leaked) == (("again",), False)


@sandboxed
def test_names_of_every_kind() -> None:
    private_run()
    strange = "a\x1b[31m\n\u202e$(id)"
    command("ip", "netns", "add", "blue")
    os.symlink("/run/netns/blue", "/run/netns/second")
    os.symlink("/proc/self/ns/net", "/run/netns/self")
    os.symlink("/nowhere", "/run/netns/dangling")
    os.symlink("/run/netns/loop", "/run/netns/loop")
    Path("/run/netns/plain").touch()
    Path("/run/netns/uts").touch()
    command("mount", "--bind", "/proc/self/ns/uts", "/run/netns/uts")
    os.mkfifo("/run/netns/fifo")
    os.mkdir("/run/netns/directory")
    command(
        "unshare",
        "--net",
        "sh",
        "-c",
        'touch "$0"; mount --bind /proc/self/ns/net "$0"',
        f"/run/netns/{strange}",
    )
    facts = find.find(("net",))
    named = {fact.names: fact for fact in facts if fact.names}
    assert {names for names, fact in named.items() if not fact.stale} == {
        ("blue", "second"),
        ("self",),
        (strange,),
    }
    stale = sorted(names[0] for names, fact in named.items() if fact.stale)
    assert stale == ["dangling", "directory", "fifo", "loop", "plain", "uts"]
    assert named["self",].here


@sandboxed
def test_ids_as_they_are_seen_from_here() -> None:
    private_run()
    for name, nsid in (("a", "4"), ("b", "2")):
        command("ip", "netns", "add", name)
        command("ip", "netns", "set", name, nsid)
    command("ip", "netns", "add", "c")
    facts = {fact.names: fact.nsid for fact in find.find(("net",)) if fact.names}
    assert facts == {("a",): 4, ("b",): 2, ("c",): None}
    assert "nsid 4" in command("ip", "netns", "list-id")


@sandboxed
def test_nothing_stays_open_and_nothing_is_changed() -> None:
    private_run()
    command("ip", "netns", "add", "blue")
    with process_in(os.open("/run/netns/blue", os.O_RDONLY)):
        before, ids = set(os.listdir("/proc/self/fd")), command("ip", "netns", "list-id")
        own = {kind: inode(kind, "thread-self") for kind in TYPES}
        find.find(TYPES)
        assert set(os.listdir("/proc/self/fd")) == before
        assert command("ip", "netns", "list-id") == ids
        assert {kind: inode(kind, "thread-self") for kind in TYPES} == own


@sandboxed
def test_processes_that_end_meanwhile() -> None:
    churn = "trap 'exit' TERM; echo; while :; do unshare --net --mount true & (true; true); done"
    with process("sh", "-c", churn) as child:
        for _ in range(10):
            assert any(fact.here for fact in find.find(TYPES))
        child.terminate()


@sandboxed
def test_a_kernel_that_has_none_of_the_newer_calls() -> None:
    """Then mount namespaces without a process are not met, and all else is the same."""
    private_run()
    command("ip", "netns", "add", "blue")
    wire.NS_MNT_GET_NEXT = wire.NS_MNT_GET_PREV = 0xB7FF
    assert list(nsmounts._walk(set())) == []
    wire.NR_LISTNS = 1 << 20
    assert find._ids(calls.CLONE_NEWNET) == []
    number = os.stat("/run/netns/blue").st_ino
    assert holders(found("net", number)) == [("mount", 0)]


def test_listns() -> None:
    """What it lists, and nothing else has found, is opened by its id alone."""
    numbers = find._ids(calls.CLONE_NEWNET)
    if not numbers:
        assert libc.syscall(wire.NR_LISTNS, wire.put_listns(), 0, 0, 0) < 0
        pytest.skip("this kernel has no listns(2)")
    facts = find.find(("net",))
    assert len(numbers) <= len(facts)
