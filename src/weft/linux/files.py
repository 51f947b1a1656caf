"""The files of a network and of a container: hosts, resolv.conf, sysctls under /proc/sys."""

from __future__ import annotations

import posix
from _socket import AF_INET6, inet_aton, inet_pton

from weft.core.model.errors import BadInput, NotPermitted, StoreError, Unsupported
from weft.core.ops import file as f
from weft.core.ops import netns as n
from weft.core.ops.file import HOSTS_HEAD
from weft.core.ops.netns import ETC_NETNS
from weft.linux.paths import is_there, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from weft.core.ops.base import Op

#: What readers of a hosts file read at a time: musl's stdio so much, the GNU C library's a page of four.
_PIECE = 1024
_SMALL = 1 << 16
#: How many bytes of comments a hosts file may hold beside as many as it has lines.
_SLACK = 1 << 13
#: Seconds in which a file is read from its beginning to its end, however busy the machine is.
_READING = 0.02
#: What a line begins with that is a comment, or blank.
_DEAD = (b"#", b"\n")


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


def read_small(path: str, what: str) -> str:
    """The text of a file that somebody names in a configuration. BadInput."""
    if "\0" in path or not path.startswith("/"):
        raise BadInput(f"{what}: {path[:64]!a} is not an absolute path")
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        try:
            data = posix.read(fd, _SMALL + 1)
        finally:
            posix.close(fd)
    except OSError as error:
        raise BadInput(f"{what}: {path}: {error.strerror}") from None
    if len(data) > _SMALL:
        raise BadInput(f"{what}: {path} is larger than {_SMALL} bytes")
    return data.decode("utf-8", "replace")


def write_small(path: str, data: bytes) -> None:
    """A file that is whole or not there, and the directories above it. StoreError."""
    folder, _, leaf = path.rpartition("/")
    part = f"{folder}/.weft-{leaf}"
    try:
        make_directories(folder, 0o700)
        _write(part, data, posix.O_CREAT | posix.O_TRUNC, 0o600)
        posix.rename(part, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None


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


def make_hosts(path: str, lines: tuple[str, ...] = ()) -> None:
    """A hosts file with the lines that every one has, and more. Its inode is kept if it exists."""
    make_directories(path.rpartition("/")[0], 0o755)
    data = HOSTS_HEAD.encode() + b"".join(_paged([f"{line}\n".encode() for line in lines], len(HOSTS_HEAD)))
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o644)
    try:
        posix.fchmod(fd, 0o644)
        posix.pwrite(fd, data, 0)
        posix.ftruncate(fd, len(data))
    finally:
        posix.close(fd)


# A network's hosts file is bound into every member's /etc/hosts, so its inode may not be replaced; and
# somebody may be reading it, in pieces. So no byte of a line that stands changes or moves
# but its first, which makes a comment of it.


def add_hosts(path: str, lines: str) -> None:
    """Adds lines at the end: readers see each of them whole or not at all."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    try:
        added = lines.encode().splitlines(keepends=True)
        posix.write(fd, b"".join(_paged(added, posix.fstat(fd).st_size)))
    finally:
        posix.close(fd)


def _paged(lines: Iterable[bytes], at: int) -> list[bytes]:
    """Lines to be written at an offset, with blank ones so that none lies across the edge of a piece.

    Who has read the beginning of a line must not find another thing in place of its end. And the kernel shows
    others what is appended page by page.
    """
    found = []
    for line in lines:
        room = -at % _PIECE
        if 0 < room < len(line):
            found.append(b"\n" * room)
            at += room
        found.append(line)
        at += len(line)
    return found


def _members(source: str) -> list[bytes]:
    """The lines of a network's hosts file that name members; none where it is gone."""
    try:
        fd = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    try:
        lines = posix.read(fd, posix.fstat(fd).st_size).splitlines(keepends=True)
    finally:
        posix.close(fd)
    return [line for line in lines[len(HOSTS_HEAD.splitlines()) :] if line[:1] not in _DEAD]


def copy_hosts(path: str, source: str) -> None:
    """Adds all members of a network's hosts file to another file."""
    add_hosts(path, b"".join(_members(source)).decode())


def uncopy_hosts(path: str, source: str) -> None:
    """Takes all members of a network's hosts file out of another file."""
    remove_hosts(path, tuple([line.partition(b"\t")[0].decode() for line in _members(source)]))


def remove_hosts(path: str, addresses: tuple[str, ...]) -> None:
    """Takes out the lines of these addresses; a file that is gone has none.

    Comments are cut off at the end of the file, and elsewhere when they outweigh the rest.
    """
    try:
        fd = posix.open(path, posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        gone = frozenset([a.encode() for a in addresses])
        live, end = _comment_out(fd, posix.fstat(fd).st_size, lambda line: line.partition(b"\t")[0] in gone)
        posix.ftruncate(fd, end)
        if end > 2 * sum(map(len, live)) + _SLACK:
            _close_gaps(fd, live, end)
    finally:
        posix.close(fd)


def _comment_out(fd: int, size: int, doomed: Callable[[bytes], bool]) -> tuple[list[bytes], int]:
    """Makes comments of some lines; what is left of them, and where the last of those ends."""
    at = end = 0
    live = []
    for line in posix.pread(fd, size, 0).splitlines(keepends=True):
        if line[:1] not in _DEAD:
            if doomed(line):
                posix.pwrite(fd, b"#", at)
            else:
                live.append(line)
                end = at + len(line)
        at += len(line)
    return live, end


def _close_gaps(fd: int, live: list[bytes], size: int) -> None:
    """Moves all lines to the front; while they are made there, as comments, they are at the end too."""
    posix.pwrite(fd, b"".join(_paged(live, size)), size)
    _comment_out(fd, size, lambda _: True)
    posix.pwrite(fd, ((b"#" * (_PIECE - 1) + b"\n") * (size // _PIECE + 1))[: size - 1] + b"\n", 0)
    moved = _paged(live, 0)
    posix.pwrite(fd, b"".join([line if line[:1] in _DEAD else b"#" + line[1:] for line in moved]), 0)
    at = 0
    for line in moved:
        posix.pwrite(fd, line[:1], at)
        at += len(line)
    from time import sleep

    # Who read the front before its lines were there, in pieces, finds them in the copy if he is given time.
    sleep(_READING)
    posix.ftruncate(fd, at)


def remove(path: str) -> None:
    """Unlinks a file that may be gone."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass


def write_etc_netns(name: str, hosts: str, resolv: str, hostname: str = "") -> None:
    """/etc/netns/NAME: hosts as a link to the shared file, resolv.conf and hostname as its own files."""
    where = f"{ETC_NETNS}/{name}"
    try:
        posix.mkdir(where, 0o755)
    except FileNotFoundError:
        make_directories(where, 0o755)
    except FileExistsError:
        remove(f"{where}/hosts")
        remove(f"{where}/resolv.conf")
        remove(f"{where}/hostname")
    posix.symlink(hosts, f"{where}/hosts")
    _write(f"{where}/resolv.conf", resolv.encode(), posix.O_CREAT | posix.O_EXCL)
    if hostname:
        _write(f"{where}/hostname", f"{hostname}\n".encode(), posix.O_CREAT | posix.O_EXCL)


def link_etc_netns(name: str, hosts: str) -> None:
    """Turns /etc/netns/NAME/hosts to another file, at once."""
    link = f"{ETC_NETNS}/{name}/hosts"
    fresh = f"{ETC_NETNS}/{name}/.hosts"
    remove(fresh)
    posix.symlink(hosts, fresh)
    posix.rename(fresh, link)


def change_resolv(name: str, text: str, old: str) -> None:
    """Another resolv.conf in the same file, where it is as weft wrote it; fine when it is gone."""
    path = f"{ETC_NETNS}/{name}/resolv.conf"
    try:
        fd = posix.open(path, posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        found, data = posix.read(fd, 1 << 16), text.encode()
        if found.rstrip(b"\n") == old.encode().rstrip(b"\n"):
            # Whoever is killed in between leaves blank lines, by which it is still known.
            posix.pwrite(fd, data.ljust(len(found), b"\n"), 0)
            posix.ftruncate(fd, len(data))
    finally:
        posix.close(fd)


def remove_etc_netns(name: str) -> None:
    """Removes weft's files, and the directory unless somebody put more into it."""
    where = f"{ETC_NETNS}/{name}"
    remove(f"{where}/hosts")
    remove(f"{where}/resolv.conf")
    remove(f"{where}/hostname")
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
        servers, found = read_resolv(path)
        search = search or found
        real = tuple([s for s in servers if _elsewhere(s)])
        if real:
            return real, search
    return (), search


def _elsewhere(server: str) -> bool:
    """Whether a name server is another machine than this one, for somebody in another namespace.

    0.0.0.0 and :: are this one too. A zone (fe80::1%eth0) is a link of this namespace.
    """
    try:
        raw = inet_pton(AF_INET6, server) if ":" in server else inet_aton(server)
    except OSError:
        return False
    if raw[:12] == bytes(10) + b"\xff\xff":
        raw = raw[12:]
    return raw[0] not in (0, 127) if len(raw) == 4 else raw not in (bytes(16), bytes(15) + b"\1")


def read_resolv(path: str) -> tuple[list[str], tuple[str, ...]]:
    """A resolv.conf(5): its servers and search domains; empty when there is none."""
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


def do(op: Op) -> None:
    """Does an operation on files. BadInput, StoreError, OSError."""
    if isinstance(op, n.EtcNetns):
        write_etc_netns(op.name, op.hosts, op.resolv, op.hostname)
    elif isinstance(op, n.ResolvConf):
        change_resolv(op.name, op.text, op.old)
    elif isinstance(op, n.EtcNetnsDel):
        remove_etc_netns(op.name)
    elif isinstance(op, f.HostsDel):
        remove_hosts(op.path, op.addresses)
    elif isinstance(op, f.HostsFile):
        make_hosts(op.path)
    elif isinstance(op, f.HostsCopy):
        copy_hosts(op.path, op.source)
    elif isinstance(op, f.HostsUncopy):
        uncopy_hosts(op.path, op.source)
    elif isinstance(op, f.OwnHosts):
        make_hosts(op.path, op.lines)
    elif isinstance(op, f.HostsFileDel):
        remove(op.path)
    elif isinstance(op, f.FileMove):
        from weft.linux import logs

        logs.move(op.path, op.to)
    else:
        raise TypeError(f"no hand knows {type(op).__name__}")
