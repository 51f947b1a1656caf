"""The files of a network and of a container: hosts, resolv.conf, sysctls under /proc/sys."""

from __future__ import annotations

import os

from weft.core.model.errors import NotPermitted, Unsupported
from weft.core.ops.file import HOSTS_HEAD
from weft.core.ops.netns import ETC_NETNS


def _write(path: str, data: bytes, flags: int, mode: int = 0o644) -> None:
    fd = os.open(path, flags | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        if flags & os.O_CREAT:
            os.fchmod(fd, mode)  # whatever the caller's umask: users inside a container read it
        os.write(fd, data)
    finally:
        os.close(fd)


def _read(path: str, size: int) -> bytes:
    """The beginning of a file. A third of what ``open`` takes."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


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
    os.makedirs(path.rpartition("/")[0], 0o755, exist_ok=True)
    _rewrite(path, HOSTS_HEAD.encode())


def _rewrite(path: str, data: bytes) -> None:
    """New content in the same inode: bound into /etc/hosts of every member, so it may not be replaced.

    pwrite, then ftruncate: a reader meanwhile sees whole old or new lines. Truncating first gave
    823 torn reads of 956. Blank lines up to the old length: a kill in between leaves no half lines.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(fd, 0o644)
        os.pwrite(fd, data.ljust(os.fstat(fd).st_size, b"\n"), 0)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def add_hosts(path: str, lines: str) -> None:
    """Adds lines at the end: one write, so that readers see all of it or none."""
    _write(path, lines.encode(), os.O_APPEND)


def remove_hosts(path: str, addresses: tuple[str, ...]) -> None:
    """Takes out the lines of these addresses; a file that is gone has none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with os.fdopen(fd) as file:
        lines = file.readlines()
    gone = frozenset((*addresses, "\n"))
    _rewrite(path, "".join([line for line in lines if line.partition("\t")[0] not in gone]).encode())


def remove(path: str) -> None:
    """Unlinks a file that may be gone."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def write_etc_netns(name: str, hosts: str, resolv: str) -> None:
    """/etc/netns/NAME: hosts as a link to the shared file, resolv.conf as a file of its own."""
    where = f"{ETC_NETNS}/{name}"
    try:
        os.mkdir(where, 0o755)
    except FileNotFoundError:
        os.makedirs(where, 0o755)
    except FileExistsError:
        remove(f"{where}/hosts")
        remove(f"{where}/resolv.conf")
    os.symlink(hosts, f"{where}/hosts")
    _write(f"{where}/resolv.conf", resolv.encode(), os.O_CREAT | os.O_EXCL)


def remove_etc_netns(name: str) -> None:
    """Removes weft's two files, and the directory unless somebody put more into it."""
    where = f"{ETC_NETNS}/{name}"
    remove(f"{where}/hosts")
    remove(f"{where}/resolv.conf")
    try:
        os.rmdir(where)
    except OSError:
        pass


def foreign_etc_netns(name: str, run_dir: str) -> str:
    """The name file under /etc/netns/NAME that somebody else wrote; "" when there is none."""
    where = f"{ETC_NETNS}/{name}"
    if not os.path.lexists(where):
        return ""
    hosts = f"{where}/hosts"
    if os.path.islink(hosts) and os.readlink(hosts).startswith(run_dir + "/"):
        return ""
    return next((f for f in (hosts, f"{where}/resolv.conf") if os.path.lexists(f)), "")


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
