"""The only file that knows the engine and the hands at once: it builds one from the other."""

from __future__ import annotations

import posix

from weft.core.model.errors import NotPermitted, StoreError
from weft.core.model.names import mac_bytes, root_id
from weft.engine.work import Work
from weft.linux import files, netns, observe
from weft.linux.execute import Hands
from weft.linux.locks import ChangeLock, EntryLocks
from weft.linux.paths import environment, is_file, is_there, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from weft.core.boundary import Process, Store
    from weft.core.model.facts import HostFacts, NetworkFacts, PlaceFacts
    from weft.core.model.launch import Launch
    from weft.core.model.network import Endpoint
    from weft.core.model.publish import Publish
    from weft.core.ops.base import Op
    from weft.core.plan.plan import Plan

STATE_DIR = "/var/lib/weft"
RUN_DIR = "/run/weft"
#: os.defpath
_DEFAULT_PATH = "/bin:/usr/bin"


class Places:
    """Where one root keeps its wishes (``state``) and what a reboot may lose (``run``)."""

    __slots__ = ("root", "run", "state")

    def __init__(self, root: str = "") -> None:
        root = root or environment("WEFT_ROOT")
        self.root = base = _real(root) if root else ""
        self.state = f"{base}/state" if base else STATE_DIR
        self.run = f"{base}/run" if base else RUN_DIR


def _real(path: str) -> str:
    import os

    return os.path.realpath(path)


def launcher() -> str:
    """The ``weft`` program itself, for what it starts as processes of their own."""
    found = environment("WEFT_PROGRAM")
    if found:
        return found
    package = __file__.rpartition("/")[0]
    beside = package.rsplit("/", 2)[0] + "/weft"
    # PREFIX/lib/pythonX.Y/site-packages/weft: the program is PREFIX/bin/weft.
    return beside if is_file(beside) else package.rsplit("/", 4)[0] + "/bin/weft"


class LinuxMachine:
    """This host, as the engine sees it (core/boundary.Machine)."""

    def __init__(self, places: Places) -> None:
        self._root = places.root
        self.state_dir = places.state
        self.run_dir = places.run
        self._hands = Hands(places.run, launcher())
        self._lock = ChangeLock(places.run)
        self._entries = EntryLocks(places.run)

    def apply(self, plan: Plan, step: Callable[[Op], None] | None = None) -> None:
        self._hands.apply(plan, step)

    def revert(self, plan: Plan) -> list[str]:
        return self._hands.revert(plan)

    def host_facts(self) -> HostFacts:
        return observe.host(self._hands)

    def network_facts(self, bridge: str) -> NetworkFacts:
        return observe.network(self._hands, bridge)

    def place_facts(self, mark: str, container: str) -> PlaceFacts:
        return observe.place(self._hands, mark, container, self.run_dir)

    def wait_port(self, ifname: str) -> bool:
        return observe.wait_port(self._hands, ifname)

    def announce(self, endpoint: Endpoint) -> None:
        from weft.linux.arp import announce

        def say() -> None:
            announce(endpoint.ifname, mac_bytes(endpoint.hardware), endpoint.address.packed)

        netns.within(self._hands.home, endpoint.container, say)

    def free_proxy_port(self, preferred: int) -> int:
        return self._hands.proxy.free_port(preferred)

    def proxy_alive(self) -> bool:
        return self._hands.proxy.alive()

    def probe_port(self, publish: Publish) -> None:
        from weft.linux.loopback import hold

        posix.close(hold(*publish.key))

    def lock(self) -> ChangeLock:
        return self._lock

    def take_entry(self, entry: int) -> bool:
        return self._entries.take(entry)

    def release_entry(self, entry: int) -> None:
        self._entries.release(entry)

    def now(self) -> int:
        import time

        return int(time.time())

    def upstreams(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return files.upstreams()

    def netns_inode(self, name: str) -> int:
        return netns.inode(name)

    def processes(self, inodes: Iterable[int]) -> dict[int, list[int]]:
        from weft.linux import process

        return process.in_netns(inodes)

    def inodes_of(self, pid: int) -> dict[str, int]:
        from weft.linux import process

        return process.namespaces(pid)

    def end(self, pids: Sequence[int]) -> None:
        from weft.linux import process

        process.end(pids)

    def alive(self, pid: int | None, started: int | None) -> bool:
        from weft.linux import process

        return process.alive(pid, started)

    def find_command(self, launch: Launch) -> None:
        from weft.linux import process

        process.find_command(launch.argv, dict(launch.env).get("PATH", _DEFAULT_PATH), launch.cwd)

    def start(self, launch: Launch) -> Process:
        if launch.log:
            from weft.services.monitor import Monitored

            make_directories(launch.log.rpartition("/")[0], 0o700)
            files.remove(launch.log)  # of an earlier container of that name, if a crash left it
            root = ("--root", self._root) if self._root else ()
            return Monitored(launch, (launcher(), *root, "finished", launch.netns))
        from weft.linux import process

        return process.start(launch)

    def wait(self, pid: int) -> int:
        from weft.linux import process

        process.adopt_orphans()
        process.forward_signals(pid)
        code = process.wait(pid)
        process.end_children()
        return code

    def become(self, launch: Launch, pid: int | None, started: int | None) -> None:
        from weft.linux import process

        process.become(launch, pid, started)

    def remove_file(self, path: str) -> None:
        files.remove(path)


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


def open_work(
    root: str, say: Callable[[str], None], step: Callable[[Op], None] | None = None, dry: bool = False
) -> Work:
    """All that a command needs. NotPermitted when the caller is not root; StoreError."""
    if posix.geteuid() != 0:
        raise NotPermitted("weft needs root to change networks", "run it with sudo")
    places = Places(root)
    database = f"{places.state}/weft.db"
    if dry and not is_there(database):
        database = ":memory:"  # nothing is known yet, and a dry run leaves nothing behind
    else:
        _make_places(places)
    from weft.store.sqlite import SqliteStore

    store: Store = SqliteStore(database, root_id(places.state))
    return Work(store, LinuxMachine(places), say, step, dry)


def loopback_control(root: str, verb: str, words: Sequence[str]) -> list[str]:
    """What ``weft loopback`` does; the lines it prints. For plans that are run as shell scripts."""
    from weft.linux.loopback import LoopbackClient, hold

    places = Places(root)
    _private(places.run)
    client = LoopbackClient(places.run, launcher())
    if verb == "start":
        client.start(int(words[0]), ())
    elif verb == "add":
        fd = hold(words[0], words[1], int(words[2]))
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
