"""This host as the engine sees it: the protocols of core/boundary on top of the hands."""

from __future__ import annotations

import posix

from weft.core.model.errors import BadInput, StoreError
from weft.core.model.names import mac_bytes, mark
from weft.linux import files, netns
from weft.linux.locks import ChangeLock, EntryLocks
from weft.linux.paths import environment, is_there
from weft.watched import Watched, launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import TypeVar

    from weft.core.boundary import Process
    from weft.core.ipam.pool import AutoPool
    from weft.core.model.enter import Command, Way
    from weft.core.model.facts import BridgeFact, HostFacts, NetworkFacts, PlaceFacts
    from weft.core.model.foreign import ForeignFacts
    from weft.core.model.hierarchy import Cgroups, Usage
    from weft.core.model.inventory import Inventory
    from weft.core.model.launch import Launch
    from weft.core.model.namespace import Holder, NsFact
    from weft.core.model.network import Endpoint
    from weft.core.model.oci import Seccomp, Spec
    from weft.core.model.publish import Publish
    from weft.core.model.task import Task
    from weft.core.model.unshare import Fresh
    from weft.core.ops.base import Op
    from weft.core.plan.plan import Plan
    from weft.core.wire.neighbour import Neighbour
    from weft.core.wire.rtnetlink import Counters, Link
    from weft.linux.execute import Hands
    from weft.linux.links import Survey
    from weft.linux.notices import Heard
    from weft.linux.watch import Watch

    T = TypeVar("T")

STATE_DIR = "/var/lib/weft"
RUN_DIR = "/run/weft"
#: os.defpath
_DEFAULT_PATH = "/bin:/usr/bin"


class Places:
    """Where one root keeps its wishes (``state``) and what a reboot may lose (``run``)."""

    __slots__ = ("root", "run", "state")

    def __init__(self, root: str = "") -> None:
        root = root or environment("WEFT_ROOT")
        try:
            self.root = base = _real(root) if root else ""
        except FileNotFoundError:
            raise StoreError(
                f"the directory that --root {root} starts from does not exist any more"
            ) from None
        if any("\ud800" <= c <= "\udfff" for c in base):
            # It is in what the database, the journal and the proxy keep as text.
            raise BadInput(f"the directory of --root {base!a} is not UTF-8", "choose another --root DIR")
        self.state = f"{base}/state" if base else STATE_DIR
        self.run = f"{base}/run" if base else RUN_DIR


def _real(path: str) -> str:
    import os

    return os.path.realpath(path)


class LinuxMachine(Watched):
    """This host, as the engine sees it (core/boundary.Machine)."""

    def __init__(self, places: Places) -> None:
        super().__init__(places.root, places.state, places.run)
        # What changes the kernel is much to import; what only enters a namespace needs none of it.
        self._made: Hands | None = None
        self.brief = False
        self._home = -1  # should there be no descriptor left
        self._home = posix.open(netns.HERE, posix.O_RDONLY | posix.O_CLOEXEC)
        self._lock = ChangeLock(places.run)
        self._entries = EntryLocks(places.run)
        self._cgroups: Cgroups | None = None

    def __del__(self) -> None:
        if self._made is None:
            try:
                posix.close(self._home)
            except OSError:
                pass  # all was closed to become a command that could not be executed

    @property
    def _hands(self) -> Hands:
        if self._made is None:
            from weft.linux.execute import Hands

            self._made = Hands(self.run_dir, launcher(), self._home, self._root, self.brief)
        return self._made

    def apply(self, plan: Plan, step: Callable[[Op], None] | None = None) -> None:
        self._hands.apply(plan, step)

    def prepare(self, plan: Plan) -> None:
        self._hands.prepare(plan)

    def apply_prepared(self, plan: Plan) -> None:
        self._hands.apply_prepared(plan)

    def revert(self, plan: Plan) -> list[str]:
        return self._hands.revert(plan)

    def host_facts(self) -> HostFacts:
        from weft.linux import observe

        return observe.host(self._hands)

    def network_facts(self, bridge: str) -> NetworkFacts:
        from weft.linux import observe

        return observe.network(self._hands, bridge)

    def bridge_fact(self, ifname: str) -> BridgeFact:
        from weft.linux import observe

        return observe.bridge(self._hands, ifname)

    def auto_pools(self) -> tuple[AutoPool, ...]:
        from weft.linux import config

        return config.pools(self._root)

    def inventory(self, sysctls: Iterable[str]) -> Inventory:
        from weft.linux.inventory import look

        return look(self._hands, self.run_dir, sysctls)

    def tables_seen(self) -> frozenset[str]:
        from weft.linux import observe

        return frozenset([family for family, _ in observe.tables(self._hands)])

    def tables_stand(self, root: str) -> bool:
        from weft.linux import observe

        said = mark(root)
        return [said, said] == [found for _, found in observe.tables(self._hands)]

    def name_servers(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        servers, search = files.read_resolv(f"/etc/netns/{name}/resolv.conf")
        return tuple(servers), search

    def proxied(self) -> list[tuple[str, str, int, str, int]]:
        return self._hands.proxy.list() if self._hands.proxy.alive() else []

    def heard(self) -> Heard:
        from weft.linux.notices import Heard

        return Heard()

    def boot_id(self) -> str:
        return files.read_sysctl("kernel/random/boot_id")

    def foreign_facts(self) -> ForeignFacts:
        from weft.linux import foreign

        return foreign.look(self._hands.filter)

    def place_facts(self, marks: Sequence[str], container: str) -> PlaceFacts:
        from weft.linux import observe

        return observe.place(self._hands, marks, container, self.run_dir)

    def wait_port(self, ifname: str) -> bool:
        from weft.linux import observe

        return observe.wait_port(self._hands, ifname)

    def announce(self, endpoint: Endpoint, where: str = "") -> None:
        from weft.linux.arp import announce

        versions = frozenset([cidr.address.version for cidr in endpoint.addresses])
        where, mac = where or endpoint.container, mac_bytes(endpoint.hardware)
        announce(self._hands, where, endpoint.ifname, mac, versions)

    def free_proxy_port(self, preferred: int) -> int:
        return self._hands.proxy.free_port(preferred)

    def proxy_alive(self) -> bool:
        from weft.linux.loopback import LoopbackClient  # without the hands: every command asks

        return LoopbackClient(self.run_dir, launcher()).alive()

    def free_port(
        self, proto: str, address: str, low: int, high: int, start: int, is_taken: Callable[[int], bool]
    ) -> int:
        from weft.linux.loopback import free_port

        return free_port(proto, address, low, high, start, is_taken)

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

    def now_ns(self) -> int:
        import time

        return time.time_ns()

    def uptime(self) -> int:
        import time

        return int(time.clock_gettime(time.CLOCK_BOOTTIME))

    def upstreams(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return files.upstreams()

    def netns_inode(self, name: str) -> int:
        return netns.inode(name)

    def pin(self, netns: str) -> int:
        return self._hands.pin(netns)

    def unpin(self) -> None:
        self._hands.unpin()

    def survey(self) -> Survey:
        from weft.linux.links import Survey

        return Survey()

    def links_of(self, netns: str) -> list[Link]:
        from weft.linux import observe

        return observe.links(self._hands, netns)

    def bridge(
        self, netns: str, ifindex: int
    ) -> tuple[Link, Counters, list[tuple[Link, Counters]], list[Neighbour]]:
        from weft.linux import links

        return links.bridge(self._hands, netns, ifindex)

    def wait_up(self, netns: str, ifname: str, forwards: bool) -> bool:
        from weft.linux import links

        return links.wait_up(self._hands, netns, ifname, forwards)

    def netns_names(self) -> list[str]:
        return netns.names()

    def netns_handle(self, name: str) -> bytes:
        from weft.linux import nsfs

        try:
            return nsfs.handle(netns.path(name))
        except OSError:
            return b""  # before Linux 6.18 namespaces have none

    def is_gone(self, handle: bytes) -> bool:
        from weft.linux import nsfs

        return nsfs.is_gone(handle)

    def wait_gone(self, handle: bytes) -> None:
        from weft.linux import nsfs

        nsfs.wait_gone(handle)

    def watch(self) -> Watch:
        from weft.linux.watch import Watch

        return Watch()

    def container_pid(self, engine: str, name: str) -> int:
        from weft.linux.engines import pid_of

        return pid_of(engine, name)

    def find_namespaces(
        self, types: Sequence[str], removed: Sequence[tuple[str, bytes]]
    ) -> tuple[NsFact, ...]:
        from weft.linux.find import find

        return find(types, removed, f"{self.run_dir}/ns")

    def left_alive(self, names: Mapping[str, int]) -> dict[int, tuple[tuple[int, ...], tuple[Holder, ...]]]:
        from weft.linux.find import left_alive

        return left_alive(names)

    def namespace_at(self, path: str) -> tuple[str, int]:
        return netns.at(path)

    def processes(self, inodes: Iterable[int], type: str = "net") -> dict[int, list[int]]:
        from weft.linux import process

        return process.in_namespaces(inodes, type)

    def inodes_of(self, pid: int | None) -> dict[str, int]:
        from weft.linux import process

        return process.namespaces("thread-self" if pid is None else pid)

    def nspid(self, pid: int) -> list[int]:
        from weft.linux import process

        return process.nspid(pid)

    def monitor(self, pid: int, name: str) -> int | None:
        from weft.linux import process

        return process.monitor(pid, name)

    def end(self, pids: Sequence[int]) -> None:
        from weft.linux import process

        process.end(pids)

    def alive(self, pid: int | None, started: int | None) -> bool:
        from weft.linux import process

        return process.alive(pid, started)

    def cgroups(self) -> Cgroups:
        if self._cgroups is None:
            from weft.linux.cgroup import find

            self._cgroups = find()
        return self._cgroups

    def group_pids(self, path: str) -> list[int]:
        from weft.linux import cgroup

        return cgroup.pids(path, self.cgroups())

    def group_names(self, top: str) -> list[str]:
        from weft.linux import cgroup

        return cgroup.names(top, self.cgroups())

    def group_usage(self, path: str) -> Usage | None:
        from weft.linux import usage

        return usage.of_group(self.cgroups(), path)

    def end_group(self, path: str) -> None:
        from weft.linux import cgroup

        cgroup.end(self.cgroups().directories(path))

    def traffic(self, netns: str) -> tuple[int, int] | None:
        from weft.linux import links

        return links.traffic(self._hands, netns)

    def memory_total(self) -> int:
        from weft.linux import usage

        return usage.memory_total()

    def monotonic_ns(self) -> int:
        import time

        return time.monotonic_ns()

    def tasks(self, pids: Iterable[int]) -> list[Task]:
        from weft.linux import tasks

        return tasks.look(pids)

    def find_command(self, launch: Launch) -> None:
        if launch.spec.root:
            return  # it is looked for where it is executed
        from weft.linux import process

        process.find_command(launch.argv, dict(launch.env).get("PATH", _DEFAULT_PATH), launch.cwd)

    def wait(self, pid: int) -> int:
        from weft.linux import process

        code = process.wait(pid)
        process.end_children()
        return code

    def become(self, launch: Launch, pid: int | None, started: int | None) -> int:
        from weft.linux.launch import execute

        return execute(launch, pid, started)

    def named(self, name: str) -> tuple[tuple[str, str], ...]:
        folder = f"{self.run_dir}/ns/{name}"
        try:
            found = [(kind, f"{folder}/{kind}") for kind in sorted(posix.listdir(folder))]
        except OSError:
            found = []  # none but, perhaps, the network namespace
        path = netns.path(name)
        return (*([("net", path)] if is_there(path) else []), *found)

    def type_of(self, path: str) -> str:
        fd, kind = netns.open_ns(path)
        posix.close(fd)
        return kind

    def started(self, pid: int) -> int:
        from weft.linux import enter, process

        posix.close(enter.open_process(pid))
        return process.start_time(pid)

    def enter(self, way: Way, command: Command, say: Callable[[str], None]) -> int:
        from weft.linux import enter

        return enter.become(way, command, say)

    def enter_all(self, ways: Sequence[Way], command: Command, say: Callable[[str], None]) -> int:
        from weft.linux import together

        return together.run(ways, command, say)

    def entered(self, way: Way) -> AbstractContextManager[None]:
        from weft.linux import enter

        return enter.Inside(way)

    def beside(self, way: Way, action: Callable[[], T]) -> T:
        from weft.linux import apart

        return apart.beside(way, action)

    def apart(self, way: Way, action: Callable[[], T]) -> T:
        from weft.linux import apart

        return apart.apart(way, action)

    def unshare(self, fresh: Fresh, command: Command, say: Callable[[str], None]) -> int:
        return unshare(fresh, command, say)

    def start_unshared(self, fresh: Fresh, command: Command, say: Callable[[str], None]) -> Process:
        from weft.linux import unshare

        return unshare.start(fresh, command, say)

    def attend(self, child: Process, fresh: Fresh, name: str) -> int:
        from weft.linux import unshare

        return unshare.attend(child, fresh, name)

    def remove_file(self, path: str) -> None:
        files.remove(path)

    def forget_runtime(self, name: str) -> None:
        folder = f"{self.run_dir}/oci/{name}"
        if is_there(folder):
            from weft.linux import runtime

            runtime.forget(folder)


def unshare(fresh: Fresh, command: Command, say: Callable[[str], None]) -> int:
    """Executes a command in new namespaces, in place of this program where that can be; else its status."""
    from weft.linux import unshare

    if not fresh.forks:
        unshare.become(fresh, command, say)
    return unshare.attend(unshare.start(fresh, command, say), fresh, command.argv[0])


def whole(spec: Spec) -> tuple[Spec, Seccomp | None]:
    """A container with its user's numbers, and what its seccomp filter says. BadInput, Unsupported."""
    from weft.linux import runtime, seccomp

    return runtime.settled(spec), seccomp.rules(spec)


def filtered(spec: Spec) -> Spec:
    """A container with the rules that its seccomp filter is read from. BadInput, Unsupported."""
    from weft.linux import seccomp

    return seccomp.checked(spec)
