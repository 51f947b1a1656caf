"""The files of a network and of a container: hosts, resolv.conf, sysctls under /proc/sys."""

from __future__ import annotations

import posix

from weft.core.model.errors import NotPermitted, Unsupported
from weft.core.ops.file import HOSTS_HEAD
from weft.core.ops.netns import ETC_NETNS
from weft.linux.paths import is_there, make_directories


def _write(path: str, data: bytes, flags: int, mode: int = 0o644) -> None:
    fd = posix.open(path, flags | posix.O_WRONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW, mode)
    try:
        if flags & posix.O_CREAT:
            posix.fchmod(fd, mode)  # whatever the caller's umask: users inside a container read it
        posix.write(fd, data)
    finally:
        posix.close(fd)


def _read(path: str, size: int = 0) -> bytes:
    """The beginning of a file, or all of it. A third of what ``open`` takes."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, size or posix.fstat(fd).st_size)
    finally:
        posix.close(fd)


def sysctl(key: str, value: str) -> None:
    """Writes one sysctl of the calling thread's namespace (proc(5)); key with slashes."""
    try:
        _write(f"/proc/sys/{key}", value.encode(), 0)
    except FileNotFoundError:
        raise Unsupported(f"the kernel has no sysctl {key}") from None
    except OSError as error:
        raise NotPermitted(f"cannot set the sysctl {key} to {value}: {error.strerror}") from None


def read_sysctl(key: str) -> str:
    """Reads one sysctl; "" when the kernel has none of that name."""
    try:
        return _read(f"/proc/sys/{key}", 4096).decode().strip()
    except FileNotFoundError:
        return ""


def make_hosts(path: str) -> None:
    """A network's hosts file with the lines that every hosts file has. Its inode is kept if it exists."""
    make_directories(path.rpartition("/")[0], 0o755)
    _rewrite(path, HOSTS_HEAD.encode())


def _rewrite(path: str, data: bytes) -> None:
    """New content in the same inode: bound into /etc/hosts of every member, so it may not be replaced.

    pwrite, then ftruncate: a reader meanwhile sees whole old or new lines. Truncating first gave
    823 torn reads of 956. Blank lines up to the old length: a kill in between leaves no half lines.
    """
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o644)
    try:
        posix.fchmod(fd, 0o644)
        posix.pwrite(fd, data.ljust(posix.fstat(fd).st_size, b"\n"), 0)
        posix.ftruncate(fd, len(data))
    finally:
        posix.close(fd)


def add_hosts(path: str, lines: str) -> None:
    """Adds lines at the end: one write, so that readers see all of it or none."""
    _write(path, lines.encode(), posix.O_APPEND)


def remove_hosts(path: str, addresses: tuple[str, ...]) -> None:
    """Takes out the lines of these addresses; a file that is gone has none."""
    try:
        lines = _read(path).splitlines(keepends=True)
    except FileNotFoundError:
        return
    gone = frozenset((*[a.encode() for a in addresses], b"\n"))
    _rewrite(path, b"".join([line for line in lines if line.partition(b"\t")[0] not in gone]))


def remove(path: str) -> None:
    """Unlinks a file that may be gone."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass


def write_etc_netns(name: str, hosts: str, resolv: str) -> None:
    """/etc/netns/NAME: hosts as a link to the shared file, resolv.conf as a file of its own."""
    where = f"{ETC_NETNS}/{name}"
    try:
        posix.mkdir(where, 0o755)
    except FileNotFoundError:
        make_directories(where, 0o755)
    except FileExistsError:
        remove(f"{where}/hosts")
        remove(f"{where}/resolv.conf")
    posix.symlink(hosts, f"{where}/hosts")
    _write(f"{where}/resolv.conf", resolv.encode(), posix.O_CREAT | posix.O_EXCL)


def remove_etc_netns(name: str) -> None:
    """Removes weft's two files, and the directory unless somebody put more into it."""
    where = f"{ETC_NETNS}/{name}"
    remove(f"{where}/hosts")
    remove(f"{where}/resolv.conf")
    try:
        posix.rmdir(where)
    except OSError:
        pass


def foreign_etc_netns(name: str, run_dir: str) -> str:
    """The name file under /etc/netns/NAME that somebody else wrote; "" when there is none."""
    where = f"{ETC_NETNS}/{name}"
    if not is_there(where):
        return ""
    hosts = f"{where}/hosts"
    try:
        if posix.readlink(hosts).startswith(run_dir + "/"):
            return ""
    except OSError:
        pass
    return next((f for f in (hosts, f"{where}/resolv.conf") if is_there(f)), "")


def upstreams(
    candidates: tuple[str, ...] = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The host's real name servers and search domains (resolv.conf(5)), never a loopback stub.

    systemd-resolved's stub listens on the host's 127.0.0.53, which is another place inside a
    container; its own upstreams stand in a second file.
    """
    search: tuple[str, ...] = ()
    for path in candidates:
        servers, found = _read_resolv(path)
        search = search or found
        real = tuple([s for s in servers if not s.startswith("127.") and s != "::1"])
        if real:
            return real, search
    return (), search


def _read_resolv(path: str) -> tuple[list[str], tuple[str, ...]]:
    servers: list[str] = []
    search: tuple[str, ...] = ()
    try:
        text = _read(path, 1 << 16).decode("utf-8", "replace")
    except OSError:
        return servers, search
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            servers.append(words[1])
        elif len(words) > 1 and words[0] in ("search", "domain"):
            search = tuple(words[1:])
    return servers, search
