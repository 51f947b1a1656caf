"""Named network namespaces, shared with ``ip netns``: made, entered and deleted, also by many at once."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from core.wire.sandbox import command, libc
from harness import Host
from linux.inside import children, home, inside, open_fds
from weft.core.model.errors import NotFound
from weft.linux import libc as weft_libc
from weft.linux import netns
from weft.linux.libc import CLONE_NEWNET, setns

CLONE_NEWNS, MS_REC, MS_SHARED = 0x20000, 0x4000, 0x100000


def own() -> int:
    return os.open(netns.HERE, os.O_RDONLY | os.O_CLOEXEC)


def mounts_at(point: str, pid: str = "self") -> list[list[str]]:
    rows = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return [row for row in rows if row[4] == point]


def links() -> str:
    """Those of the calling thread's namespace."""
    return command("ip", "-br", "link")


# -- the directory


@inside
def test_prepared_by_eight_processes_at_once(host: Host) -> None:
    """One mount, shared: with a second one on top `ip netns` and weft would look at different directories.

    Each dawdles where it has found that there is no mount yet, so that all would be there at once.
    """
    mount = weft_libc.mount

    def dawdling(*arguments: Any) -> None:
        try:
            mount(*arguments)
        except OSError:
            time.sleep(0.02)
            raise

    def prepare(_: int) -> None:
        weft_libc.mount = dawdling  # type: ignore[assignment]
        netns.prepare()

    for _ in range(3):
        assert children(8, prepare) == [0] * 8
        (row,) = mounts_at("/run/netns")
        assert row[6].startswith("shared:")
        libc.umount2(b"/run/netns", 2)
        assert mounts_at("/run/netns") == []


@inside
def test_prepared_by_ip_netns_at_the_same_moment(host: Host) -> None:
    """It takes the same lock: all names are in one directory, and each is the namespace it should be."""

    def act(number: int) -> None:
        if number % 2:
            os.execvp("ip", ["ip", "netns", "add", f"n{number}"])
        netns.prepare()
        netns.add(f"n{number}", own(), lambda: None)

    for _ in range(3):
        assert children(8, act) == [0] * 8
        assert len(mounts_at("/run/netns")) == 1
        names = command("ip", "netns", "list").split()
        assert sorted(names) == [f"n{number}" for number in range(8)]
        assert len({netns.inode(name) for name in names} - {0}) == 8
        assert all(netns.delete(name) for name in names)
        libc.umount2(b"/run/netns", 2)


@inside
def test_what_ip_netns_has_prepared_is_left_as_it_is(host: Host) -> None:
    command("ip", "netns", "add", "theirs")
    before = mounts_at("/run/netns")
    netns.prepare()
    assert mounts_at("/run/netns") == before
    os.chmod("/run/netns", 0o700)
    netns.prepare()
    assert os.stat("/run/netns").st_mode & 0o777 == 0o700


# -- made and deleted


@inside
def test_a_namespace_is_what_ip_netns_makes(host: Host) -> None:
    here, before = home(), open_fds()
    netns.prepare()
    fd = own()
    assert netns.add("mine", fd, lambda: (home(), links())) == (
        (home()[0], netns.inode("mine")),
        links_of("mine"),
    )
    command("ip", "netns", "add", "theirs")
    assert home() == here
    os.close(fd)
    assert open_fds() == before
    assert command("ip", "netns", "list").split() == ["theirs", "mine"]
    assert links_of("mine") == links_of("theirs")
    assert os.stat("/run/netns/mine").st_mode == os.stat("/run/netns/theirs").st_mode
    with subprocess.Popen(["ip", "netns", "exec", "mine", "sleep", "1000"]) as sleeper:
        while os.readlink(f"/proc/{sleeper.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        assert command("ip", "netns", "identify", str(sleeper.pid)) == "mine\n"
        assert command("ip", "netns", "pids", "mine") == f"{sleeper.pid}\n"
        sleeper.kill()


def links_of(name: str) -> str:
    return command("ip", "netns", "exec", name, "ip", "-br", "link")


@inside
def test_what_ip_netns_made_is_entered_and_deleted(host: Host) -> None:
    command("ip", "netns", "add", "theirs")
    command("ip", "-n", "theirs", "link", "add", "only-there", "type", "bridge")
    fd, here = own(), home()
    assert "only-there" in netns.within(fd, "theirs", links)
    assert netns.within(fd, "theirs", home)[1] == netns.inode("theirs") == os.stat("/run/netns/theirs").st_ino
    assert home() == here
    assert netns.delete("theirs")
    assert command("ip", "netns", "list") == ""
    assert not netns.delete("theirs")
    assert netns.inode("theirs") == 0


@inside
def test_a_name_that_is_taken_is_left_alone(host: Host) -> None:
    netns.prepare()
    fd, here = own(), home()
    netns.add("one", fd, lambda: None)
    Path("/run/netns/stale").touch()
    before, fds = netns.inode("one"), open_fds()
    for name in ("one", "stale"):
        with pytest.raises(FileExistsError):
            netns.add(name, fd, lambda: pytest.fail("nothing is done in there"))
    assert (netns.inode("one"), netns.inode("stale"), home(), open_fds()) == (before, 0, here, fds)
    assert netns.delete("stale"), "a file that is no namespace is a stale name"
    assert os.listdir("/run/netns") == ["one"]


@inside
def test_the_thread_comes_back_from_errors(host: Host) -> None:
    netns.prepare()
    fd, here = own(), home()
    netns.add("good", fd, lambda: None)
    Path("/run/netns/stale").touch()
    os.symlink("/proc/0/ns/net", "/run/netns/dangling")
    before = open_fds()

    def fail() -> None:
        assert home() != here
        raise ZeroDivisionError

    for call in (lambda: netns.add("bad", fd, fail), lambda: netns.within(fd, "good", fail)):
        with pytest.raises(ZeroDivisionError):
            call()
        assert (home(), open_fds()) == (here, before)
    assert not os.path.lexists("/run/netns/bad")
    for name, error in (("nobody", NotFound), ("dangling", NotFound), ("stale", OSError)):
        with pytest.raises(error):
            netns.within(fd, name, fail)
        assert (home(), open_fds()) == (here, before)


@inside
def test_eight_processes_want_one_name(host: Host) -> None:
    netns.prepare()
    assert sorted(children(8, lambda _: netns.add("one", own(), lambda: None))) == [0] + [1] * 7
    assert netns.inode("one")


@inside
def test_threads_are_each_in_their_own(host: Host) -> None:
    """setns(2) moves one thread; the others stay where they are."""
    netns.prepare()
    fd, here = own(), home()
    names = [f"n{number}" for number in range(4)]
    for name in names:
        netns.add(name, fd, lambda: None)
    met, found = threading.Barrier(5), {}

    def visit(name: str) -> None:
        def look() -> int:
            met.wait()
            return home()[1]

        found[name] = netns.within(fd, name, look)

    threads = [threading.Thread(target=visit, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    met.wait()
    assert home() == here
    for thread in threads:
        thread.join()
    assert found == {name: netns.inode(name) for name in names}


# -- who else holds it


@inside
def test_a_deletion_reaches_every_copy_of_the_mounts(host: Host) -> None:
    """A mount namespace made meanwhile has copies of the mounts: without propagation they would hold it."""
    libc.mount(b"none", b"/", None, MS_REC | MS_SHARED, None)
    netns.prepare()
    netns.add(
        "short", own(), lambda: command("ip", "link", "add", "v0", "type", "veth", "peer", "v1", "netns", "1")
    )
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo; exec sleep 1000"],
        stdout=subprocess.PIPE,
    ) as copier:
        assert copier.stdout
        copier.stdout.readline()
        assert mounts_at("/run/netns/short", str(copier.pid))
        assert netns.delete("short")
        assert mounts_at("/run/netns/short", str(copier.pid)) == []
        gone = subprocess.run(
            ["timeout", "10", "sh", "-c", "while ip link show v1 >/dev/null 2>&1; do :; done"], check=False
        )
        assert gone.returncode == 0, "the kernel ends what nobody holds, and its cable with it"
        copier.kill()


@inside
def test_a_name_that_is_a_link_to_another_takes_nothing_with_it(host: Host) -> None:
    """`ip netns attach` of old, and people: names may be symlinks to /proc/PID/ns/net or to one another."""
    netns.prepare()
    netns.add("real", own(), lambda: None)
    os.symlink(netns.path("real"), netns.path("alias"))
    os.symlink("/proc/1/ns/net", netns.path("first"))
    assert netns.inode("alias") == netns.inode("real") != 0
    assert netns.inode("first") == home()[1]
    assert netns.within(own(), "alias", home)[1] == netns.inode("real")
    assert netns.delete("alias")
    assert netns.delete("first")
    assert netns.inode("real") != 0
    assert os.listdir("/run/netns") == ["real"]


@inside
def test_a_namespace_without_a_name_lives_on_by_its_descriptor(host: Host) -> None:
    netns.prepare()
    netns.add("held", own(), lambda: command("ip", "link", "set", "lo", "alias", "still"))
    here, held = own(), netns.open_fd("held")
    assert not os.get_inheritable(held)
    assert netns.delete("held")
    setns(held, CLONE_NEWNET)
    assert "still" in command("ip", "link")
    setns(here, CLONE_NEWNET)
    with pytest.raises(NotFound):
        netns.open_fd("held")
