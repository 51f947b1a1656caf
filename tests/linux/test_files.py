"""The files of networks and containers, under the eyes of those who read them meanwhile."""

from __future__ import annotations

import os
import posix
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from core.wire.sandbox import command
from harness import Host
from linux.inside import inside
from weft.core.model.errors import NotPermitted, Unsupported
from weft.core.ops.file import HOSTS_HEAD
from weft.linux import files

HOSTS = "/run/weft/hosts/blue"


def line(number: int) -> str:
    """Lines of all lengths, so that what moves cannot look like what stood there."""
    return f"{address(number)}\tcontainer-{'x' * (number % 17)}{number}"


def address(number: int) -> str:
    return f"10.{number // 250}.7.{number % 250}"


def standing(text: str) -> list[str]:
    return [found for found in text.split("\n") if found and not found.startswith("#")]


# -- the hosts file and its readers


def watched(members: int, piece: int, act: Callable[[Callable[[], bool]], None]) -> None:
    """Reads over and over, in pieces, while another process acts until it is told that this is enough.

    Every line must be one of the members', and those with odd numbers, whom nobody touches, always there.
    """
    good = {line(number) for number in range(members)} | set(standing(HOSTS_HEAD))
    odd = {line(number) for number in range(1, members, 2)} | set(standing(HOSTS_HEAD))
    files.make_hosts(HOSTS)
    files.add_hosts(HOSTS, "".join(f"{line(number)}\n" for number in range(members)))
    inode = os.stat(HOSTS).st_ino
    hear, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(tell)
        os.set_blocking(hear, False)
        status = 1
        try:
            act(lambda: not _ended(hear))
            status = 0
        finally:
            os._exit(status)
    os.close(hear)
    reads: list[str] = []
    while len(reads) < 1000 or (len(set(reads[-1000:])) < 100 and len(reads) < 50_000):
        reads.append(_read(piece))
    os.close(tell)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.stat(HOSTS).st_ino == inode
    torn = [found for text in reads for found in standing(text) if found not in good]
    assert torn == []
    assert all(odd <= set(standing(text)) for text in reads)
    assert len(set(reads)) >= 100, "hardly anything happened while it was read"


def _ended(pipe: int) -> bool:
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


def _read(piece: int) -> str:
    fd = os.open(HOSTS, os.O_RDONLY)
    data = b""
    while chunk := os.read(fd, piece):
        data += chunk
    os.close(fd)
    return data.decode()


@pytest.mark.parametrize("members", [6, 200])
@pytest.mark.parametrize("piece", [1024, 4096, 1 << 16])
@inside
def test_a_reader_never_sees_a_torn_line(members: int, piece: int, host: Host) -> None:
    """Members come and go, so many that gaps are closed too."""

    def act(more: Callable[[], bool]) -> None:
        number = 0
        while more():
            files.remove_hosts(HOSTS, (address(number),))
            files.add_hosts(HOSTS, f"{line(number)}\n")
            number = (number + 2) % members

    watched(members, piece, act)


@inside
def test_a_reader_of_the_c_library_finds_who_stands(host: Host) -> None:
    """getent, in a member's view: the file bound over /etc/hosts."""
    files.make_hosts(HOSTS)
    files.add_hosts(HOSTS, "".join(f"{line(number)}\n" for number in range(300)))
    files.remove_hosts(HOSTS, tuple(address(number) for number in range(0, 300, 3)))
    command("mount", "--bind", HOSTS, "/etc/hosts")
    names = [line(number).split()[1] for number in range(300)]
    found = command("getent", "-s", "files", "hosts", *[names[n] for n in range(300) if n % 3])
    assert [row.split() for row in found.splitlines()] == [
        [address(n), names[n]] for n in range(300) if n % 3
    ]
    gone = "for name; do getent -s files hosts $name && exit 1; done; true"
    command("sh", "-c", gone, "sh", *names[::3])


@inside
def test_comments_do_not_pile_up(host: Host) -> None:
    """A member that stays at the end keeps them from being cut off; then gaps are closed."""
    files.make_hosts(HOSTS)
    inode, largest = os.stat(HOSTS).st_ino, 0
    files.add_hosts(HOSTS, f"{line(0)}\n")
    for number in range(1, 2000):
        files.add_hosts(HOSTS, f"{line(number)}\n")
        files.remove_hosts(HOSTS, (address(number - 1),))
        largest = max(largest, os.stat(HOSTS).st_size)
        assert standing(Path(HOSTS).read_text()) == [*standing(HOSTS_HEAD), line(number)]
    assert largest < 16_384
    files.remove_hosts(HOSTS, (address(1999),))
    assert Path(HOSTS).read_text() == HOSTS_HEAD
    assert os.stat(HOSTS).st_ino == inode


@inside
def test_closing_gaps_is_safe_against_a_death_anywhere(host: Host) -> None:
    """After each of its writes: everybody is there, and the next removal makes it good."""
    pwrite, members = posix.pwrite, range(0, 40)

    class Killed(BaseException):
        pass

    def prepare() -> None:
        Path(HOSTS).unlink(missing_ok=True)
        files.make_hosts(HOSTS)
        files.add_hosts(HOSTS, "".join(f"{line(number)}\n" for number in range(400)))
        files.remove_hosts(HOSTS, tuple(address(number) for number in range(40, 399)))

    def die_at(step: int) -> bool:
        left = step

        def mortal(*arguments: int) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return pwrite(*arguments)  # type: ignore[arg-type]

        posix.pwrite = mortal  # type: ignore[assignment]
        try:
            files.remove_hosts(HOSTS, (address(39),))
        except Killed:
            return True
        finally:
            posix.pwrite = pwrite
        return False

    wanted = [*standing(HOSTS_HEAD), *[line(number) for number in members[:-1]], line(399)]
    slack, files._SLACK = files._SLACK, 100
    step = 0
    while True:
        files._SLACK = 1 << 30
        prepare()
        files._SLACK = 100
        struck = die_at(step)
        assert set(wanted) <= set(standing(Path(HOSTS).read_text()))
        files.remove_hosts(HOSTS, (address(39),))
        assert set(standing(Path(HOSTS).read_text())) == set(wanted), step
        if not struck:
            break
        step += 1
    assert step > 40
    files._SLACK = slack


@inside
def test_no_line_lies_across_a_page(host: Host) -> None:
    files.make_hosts(HOSTS)
    for number in range(0, 600, 3):
        files.add_hosts(HOSTS, "".join(f"{line(n)}\n" for n in range(number, number + 3)))
    text = Path(HOSTS).read_bytes()
    assert len(text) > 4 * 4096
    assert {text[edge - 1 : edge] for edge in range(1024, len(text), 1024)} == {b"\n"}
    assert standing(text.decode())[2:] == [line(number) for number in range(600)]


@inside
def test_only_whole_addresses_are_taken_out(host: Host) -> None:
    files.make_hosts(HOSTS)
    files.add_hosts(HOSTS, "10.0.0.1\ta\n10.0.0.11\tb 10.0.0.1\n110.0.0.1\tc\n10.0.0.1\tsecond\n")
    files.remove_hosts(HOSTS, ("10.0.0.1", "10.0.0.2"))
    assert standing(Path(HOSTS).read_text())[2:] == ["10.0.0.11\tb 10.0.0.1", "110.0.0.1\tc"]
    files.remove_hosts("/run/weft/hosts/nobody", ("10.0.0.1",))
    with pytest.raises(FileNotFoundError):
        files.add_hosts("/run/weft/hosts/nobody", "10.0.0.1\ta\n")


@inside
def test_modes_do_not_depend_on_the_caller(host: Host) -> None:
    """Users inside a container read these files, whatever root's umask was."""
    for umask in (0o077, 0o000):
        os.umask(umask)
        files.make_hosts(HOSTS)
        files.write_etc_netns("web", HOSTS, "nameserver 8.8.8.8\n")
        for path in (HOSTS, "/etc/netns/web/resolv.conf"):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
        files.remove_etc_netns("web")
        os.unlink(HOSTS)


@inside
def test_nothing_is_written_through_a_symlink(host: Host) -> None:
    os.makedirs("/run/weft/hosts")
    Path("/run/precious").write_text("10.0.0.1\tkept\n")
    os.symlink("/run/precious", HOSTS)
    for act in (
        lambda: files.make_hosts(HOSTS),
        lambda: files.add_hosts(HOSTS, "10.0.0.2\tb\n"),
        lambda: files.remove_hosts(HOSTS, ("10.0.0.1",)),
    ):
        with pytest.raises(OSError, match="symbolic"):
            act()
    assert Path("/run/precious").read_text() == "10.0.0.1\tkept\n"


# -- /etc/netns


@inside
def test_name_files_come_and_go(host: Host) -> None:
    """As `ip netns exec` reads them; twice is fine, and what others keep there stays."""
    files.make_hosts(HOSTS)
    for resolv in ("nameserver 8.8.8.8\n", "nameserver 9.9.9.9\n"):
        files.write_etc_netns("web", HOSTS, resolv)
        assert os.readlink("/etc/netns/web/hosts") == HOSTS
        assert Path("/etc/netns/web/resolv.conf").read_text() == resolv
    assert files.foreign_etc_netns("web", "/run/weft") == ""
    Path("/etc/netns/web/nsswitch.conf").touch()
    files.remove_etc_netns("web")
    assert os.listdir("/etc/netns/web") == ["nsswitch.conf"]
    os.unlink("/etc/netns/web/nsswitch.conf")
    files.remove_etc_netns("web")
    files.remove_etc_netns("web")
    assert not os.path.exists("/etc/netns/web")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        ("true", ""),
        ("mkdir /etc/netns/web", ""),
        ("mkdir /etc/netns/web; touch /etc/netns/web/hosts", "hosts"),
        ("mkdir /etc/netns/web; touch /etc/netns/web/resolv.conf", "resolv.conf"),
        ("mkdir /etc/netns/web; ln -s /etc/hosts /etc/netns/web/hosts", "hosts"),
        ("mkdir /etc/netns/web; ln -s /run/weftling/hosts /etc/netns/web/hosts", "hosts"),
        ("mkdir /etc/netns/web; ln -s /run/weft/hosts/blue /etc/netns/web/hosts", ""),
    ],
)
@inside
def test_whose_name_files(make: str, found: str, host: Host) -> None:
    command("sh", "-ec", make)
    assert files.foreign_etc_netns("web", "/run/weft") == (f"/etc/netns/web/{found}" if found else "")


# -- name servers


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", ("192.0.2.1", "2001:db8::1")),
        ("nameserver 127.0.0.53\noptions edns0\n", ()),
        ("nameserver 127.0.0.53\nnameserver 192.0.2.1\n", ("192.0.2.1",)),
        ("nameserver 127.1\nnameserver 127.8.9.10\nnameserver 2130706433\n", ()),
        ("nameserver 0.0.0.0\nnameserver ::\n", ()),
        ("nameserver ::1\nnameserver 0:0:0:0:0:0:0:1\nnameserver ::ffff:127.0.0.53\n", ()),
        ("nameserver fe80::1%eth0\nnameserver localhost\nnameserver\n", ()),
        ("# nameserver 192.0.2.9\n  nameserver\t192.0.2.1  \n\x00\xff\n", ("192.0.2.1",)),
        ("", ()),
    ],
)
def test_a_loopback_is_never_an_upstream(tmp_path: Path, text: str, wanted: tuple[str, ...]) -> None:
    """Inside a container that is another place, however it is written."""
    first, second = tmp_path / "resolv.conf", tmp_path / "real"
    first.write_bytes(text.encode("latin-1"))
    assert files.upstreams((str(first),))[0] == wanted
    assert files.upstreams((str(first), str(second)))[0] == wanted
    second.write_text("search example.org\nnameserver 192.0.2.53\n")
    servers, search = files.upstreams((str(first), str(second)))
    assert servers == (wanted or ("192.0.2.53",))
    assert search == (() if wanted else ("example.org",))


def test_search_domains_are_the_first_file_s(tmp_path: Path) -> None:
    first, second = tmp_path / "resolv.conf", tmp_path / "real"
    first.write_text("domain old.example\nsearch a.example b.example\nnameserver 127.0.0.53\n")
    second.write_text("search c.example\nnameserver 192.0.2.53\n")
    found = files.upstreams((str(tmp_path / "missing"), str(first), str(second)))
    assert found == (("192.0.2.53",), ("a.example", "b.example"))
    assert files.upstreams((str(tmp_path / "missing"),)) == ((), ())


# -- sysctls


@inside
def test_sysctls_are_the_calling_threads(host: Host) -> None:
    files.sysctl("net/ipv4/ip_forward", "1")
    assert files.read_sysctl("net/ipv4/ip_forward") == "1"
    assert command("ip", "netns", "add", "other") == ""
    assert command("ip", "netns", "exec", "other", "cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"
    assert files.read_sysctl("net/ipv4/no_such") == ""
    with pytest.raises(Unsupported, match="no sysctl net/ipv4/no_such"):
        files.sysctl("net/ipv4/no_such", "1")
    with pytest.raises(NotPermitted, match="net/ipv4/ip_forward to x: Invalid argument"):
        files.sysctl("net/ipv4/ip_forward", "x")
