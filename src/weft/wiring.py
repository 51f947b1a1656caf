"""Builds the engine from the store and the machine: what a door asks for."""

from __future__ import annotations

import posix

from weft.core.model.errors import Damaged, NotPermitted, StoreError, WeftError
from weft.core.model.names import root_id
from weft.engine.work import Work
from weft.linux.paths import is_there, make_directories
from weft.machine import LinuxMachine, Places
from weft.watched import launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weft.core.boundary import Ledger, Store
    from weft.core.model.inside import Inside
    from weft.core.ops.base import Op


def _private(path: str) -> None:
    """A directory that only root may enter; made when missing."""
    try:
        posix.mkdir(path, 0o700)
        return
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_directories(path, 0o700)
        return
    found = posix.lstat(path)
    if found.st_mode & 0o170000 != 0o040000 or found.st_uid != posix.geteuid():
        raise StoreError(f"{path} is not a directory of root's", "remove it, or use --root DIR")
    if found.st_mode & 0o077:
        posix.chmod(path, 0o700)


def _make_places(places: Places) -> None:
    try:
        _private(places.state)
        _private(places.run)
    except OSError as error:
        raise StoreError(f"cannot make {error.filename}: {error.strerror}", "use --root DIR") from None


#: CAP_NET_ADMIN and CAP_SYS_ADMIN (linux/capability.h).
_CAPABILITIES = 1 << 12 | 1 << 21


def _check_rights() -> None:
    """Before anything is touched: a removal that the kernel refuses would forget what is still there."""
    if posix.geteuid() != 0:
        raise NotPermitted("weft needs root to change networks", "run it with sudo")
    fd = posix.open("/proc/self/status", posix.O_RDONLY | posix.O_CLOEXEC)
    held = int(posix.read(fd, 1 << 16).partition(b"CapEff:")[2].split()[0], 16)
    posix.close(fd)
    if held & _CAPABILITIES != _CAPABILITIES:
        raise NotPermitted(
            "weft needs the capabilities CAP_NET_ADMIN and CAP_SYS_ADMIN",
            "root inside a container lacks them",
        )


def open_work(
    root: str,
    say: Callable[[str], None],
    step: Callable[[Op], None] | None = None,
    dry: bool = False,
    looks: bool = False,
    brief: bool = False,
) -> Work:
    """All that a command needs. ``looks``: it changes nothing, and so makes no database where there is none.
    ``brief``: the process has no other thread, and ends with this command.

    NotPermitted when the caller is not root; StoreError.
    """
    _check_rights()
    places = Places(root)
    database = f"{places.state}/weft.db"
    if (dry or looks) and not is_there(database):
        database = ":memory:"  # nothing is known yet, and nothing is to be left behind
    else:
        _make_places(places)
    from weft.store.sqlite import SqliteStore

    store: Store = SqliteStore(database, root_id(places.state))
    machine = LinuxMachine(places)
    machine.brief = brief
    return Work(store, machine, say, step, dry)


def rebuild(
    root: str, say: Callable[[str], None], step: Callable[[Op], None] | None, dry: bool
) -> tuple[Work, list[str], str]:
    """A database made anew from the kernel; the work on it, what was lost, and where the old one is kept."""
    from weft.engine.rebuild import rebuild_into
    from weft.store import aside
    from weft.store.sqlite import SqliteStore

    _check_rights()
    places = Places(root)
    _make_places(places)
    path, kept = f"{places.state}/weft.db", ""
    fresh = ":memory:" if dry else aside.fresh(path)
    work = Work(SqliteStore(fresh, root_id(places.state)), LinuxMachine(places), say, step, dry)

    def swap() -> None:
        nonlocal kept
        work.store.close()
        kept = aside.swap(path, fresh)

    lost = rebuild_into(work, swap)
    if not dry:
        work.store = SqliteStore(path, root_id(places.state))
    return work, lost, kept


def damage(root: str) -> Damaged | None:
    """What is wrong with the database, where that is why a command failed."""
    from weft.store.sqlite import SqliteStore

    places = Places(root)
    database = f"{places.state}/weft.db"
    if not is_there(database):
        return None
    try:
        SqliteStore(database, root_id(places.state)).check(deep=True)
    except Damaged as error:
        return error
    except WeftError:
        pass  # that is not damage
    return None


def loopback_control(root: str, verb: str, words: Sequence[str]) -> list[str]:
    """What ``weft loopback`` does; the lines it prints. For plans that are run as shell scripts."""
    from weft.linux.loopback import LoopbackClient, hold

    places = Places(root)
    _private(places.run)
    client = LoopbackClient(places.run, launcher())
    if verb == "start":
        client.start(int(words[0]), ())
    elif verb == "add":
        fd = hold(words[0], words[1], int(words[2]), words[3])
        client.add([(words[0], words[1], int(words[2]), words[3], int(words[4]))], [fd])
    elif verb == "list":
        return [f"{p} {a}:{n} {t}:{tn}" for p, a, n, t, tn in client.list()]
    elif client.alive():
        if verb == "stop":
            client.stop()
        else:
            client.remove([(words[0], words[1], int(words[2]))])
    return []


def loopback_serve(control: int, listener: int) -> None:
    """The loopback proxy's own life, on two descriptors that its starter opened."""
    from weft.services.loopback import serve

    serve(control, listener)


def serve_plugin(
    path: str,
    handler: Callable[[str, bytes], tuple[int, bytes, Callable[[], None] | None]],
    ready: Callable[[], None],
) -> None:
    """A plug-in of Docker's on a Unix socket, until it is told to end. Conflict, BadInput.

    Each request is answered by a fork: what is imported before that need not be by each.
    """
    for name in _WARM:
        __import__(f"weft.{name}")
    from weft.services.plugin import serve

    serve(path, handler, ready)


#: What joining and leaving networks takes.
_WARM = (
    "store.sqlite linux.execute linux.observe linux.loopback linux.conntrack linux.arp linux.procfs"
    " core.firewall.elements core.firewall.tables core.firewall.foreign core.ops.conntrack core.ops.loopback"
    " core.ops.route core.ops.rule core.ops.shard engine.connect engine.publish engine.proxy engine.removal"
).split()


def cgroup_private(privileged: bool) -> bool:
    """Whether a container has a cgroup namespace of its own unless something else is asked for: Docker's
    rule, where there is version 2 alone, and not for privileged ones."""
    return not privileged and is_there("/sys/fs/cgroup/cgroup.controllers")


# what plug-ins of CNI ask for beside the engine


def host_local(folder: str) -> Ledger:
    """The files of CNI's host-local in a directory."""
    from weft.linux.hostlocal import Ledger as Files

    return Files(folder)


def exists(path: str) -> bool:
    """Whether there is anything at a path."""
    return is_there(path)


def small_file(path: str, what: str) -> str:
    """A configuration file's text. BadInput when it cannot be read, or is larger than 64 KiB."""
    from weft.linux.files import read_small

    return read_small(path, what)


def run_plugin(kind: str, path: Sequence[str], command: str, config: bytes) -> tuple[int, bytes]:
    """Another plug-in of CNI's, with the caller's environment; its status and what it said. BadInput,
    KernelError."""
    from weft.linux import delegate

    environment = {**posix.environ, b"CNI_COMMAND": command.encode()}
    return delegate.run(delegate.find(kind, path), environment, config)


def bare_machine() -> LinuxMachine:
    """The hands alone, for what needs no record. NotPermitted."""
    _check_rights()
    return LinuxMachine(Places(""))


def look_inside(path: str) -> Inside:
    """The links, addresses and routes of a network namespace. NotFound, BadInput."""
    from weft.linux.inside import look

    return look(path)


def is_netns(path: str) -> str:
    """ "" when a path leads to a network namespace, else why it does not."""
    from weft.linux import netns

    try:
        posix.close(netns.open_net(path))
    except (WeftError, OSError) as error:
        return str(error)
    return ""


def sysctls_inside(path: str, keys: Sequence[str]) -> list[str]:
    """Sysctls of a network namespace. NotFound, BadInput."""
    from weft.linux.inside import sysctls

    return sysctls(path, keys)


def queues(ifname: str) -> list[tuple[int, int]]:
    """The token buckets of a link of the host: rate in bytes a second, limit in bytes; none when it is
    gone."""
    from weft.linux.inside import buckets

    return buckets(ifname)


def write_file(path: str, data: bytes) -> None:
    """A file, and the directories above it. StoreError."""
    from weft.linux.files import write_small

    write_small(path, data)


def remove_file(path: str) -> None:
    """Fine when it is not there."""
    from weft.linux.files import remove

    remove(path)


def folder_names(path: str) -> list[str]:
    """What is in a directory; nothing when it is not there."""
    try:
        return posix.listdir(path)
    except OSError:
        return []


# DNS


def directory_serve(folder: str, port: int, domain: str) -> None:
    """aardvark-dns's place: answers DNS for the networks of a directory, in the background. Returns when it
    listens. KernelError, StoreError."""
    from weft.services.dns_directory import start

    start(folder, port, domain)


def dns_serve(root: str, tells: int) -> None:
    """The DNS server's own life. ``tells``: a descriptor on which its starter waits until it answers."""
    from weft.linux.dns import Lock, log
    from weft.services.dns_wishes import Wishes, start
    from weft.store.sqlite import SqliteStore

    places = Places(root)
    lock = Lock(places.run)
    database = f"{places.state}/weft.db"
    wishes = Wishes(places.state, lambda: SqliteStore(database, root_id(places.state)), lock)
    start(wishes, lock, log(places.run), tells)
