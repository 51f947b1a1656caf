"""A machine without a kernel: it does plans to a small picture of one, and can be told to fail.

What is in the picture is what facts are made of, so that decisions meet what earlier ones left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from weft.core.model.address import Address, parse_subnet
from weft.core.model.enter import Command, Way
from weft.core.model.errors import Conflict, KernelError
from weft.core.model.facts import HostFacts, LinkFact, PlaceFacts, RouteFact
from weft.core.model.launch import Launch
from weft.core.model.network import Endpoint
from weft.core.model.publish import Publish
from weft.core.model.unshare import Fresh
from weft.core.ops.base import Op
from weft.core.ops.file import HostsAdd, HostsDel
from weft.core.ops.link import BridgeAdd, LinkDel, VethAdd
from weft.core.ops.loopback import LoopbackAdd, LoopbackDel, LoopbackStart, LoopbackStop
from weft.core.ops.netns import NetnsAdd, NetnsDel, Sysctl
from weft.core.ops.nft import ElementAdd, ElementDel, TableAdd, TableDel
from weft.core.plan.plan import Plan
from weft.engine.work import Work
from weft.store.sqlite import SqliteStore

ROOT = "0123abcd"
T = TypeVar("T")


class FakeProcess:
    """A started command; ``error`` is what ``go`` raises."""

    def __init__(self, machine: FakeMachine, launch: Launch) -> None:
        self.machine, self.launch = machine, launch
        self.pid, self.started, self.watcher, self.watcher_started = 100, 1000, 200, 2000
        self.error: Exception | None = machine.go_error

    def go(self, command: str) -> None:
        self.machine.said.append(f"go {command}")
        if self.error is not None:
            raise self.error

    def settled(self) -> None:
        self.machine.said.append("settled")

    def cancel(self) -> None:
        self.machine.said.append("cancel")


class FakeLock:
    """Held or not; held twice is a mistake of the engine."""

    def __init__(self) -> None:
        self.held = False

    def __enter__(self) -> None:
        assert not self.held, "the lock is taken twice"
        self.held = True

    def __exit__(self, *_: object) -> None:
        self.held = False


class FakeMachine:
    """core/boundary.Machine. ``done`` are the operations that took effect, undone ones included."""

    run_dir = "/run/weft"
    state_dir = "/var/lib/weft"

    def __init__(self) -> None:
        self.links: dict[str, LinkFact] = {"lo": LinkFact("lo", "", ())}
        self.tables: dict[str, str] = {}
        self.routes: list[RouteFact] = []
        self.nameservers: tuple[Address, ...] = ()
        self.servers: tuple[str, ...] = ("203.0.113.53",)
        self.forwarding = False
        self.netns: set[str] = set()
        self.files: dict[str, str] = {}
        self.elements: set[tuple[str, ...]] = set()
        self.hosts: dict[str, str] = {}
        self.held: set[tuple[str, str, int]] = set()
        self.proxy_runs = False
        self.proxy_port = 0
        self.busy_ports: set[int] = set()
        self.living: set[tuple[int, int]] = set()
        self.inside: dict[str, list[int]] = {}
        self.locked_entries: set[int] = set()
        self.done: list[Op] = []
        self.said: list[str] = []
        self.removed: list[str] = []
        self.clock = 1_700_000_000
        #: Fails at the operation whose description begins so.
        self.fail_at = ""
        self.fail_with: BaseException = KernelError("refused on purpose", 22)
        self.go_error: Exception | None = None
        self.find_error: Exception | None = None
        self.change_lock = FakeLock()

    # -- plans

    def apply(self, plan: Plan, step: Callable[[Op], None] | None = None) -> None:
        done: list[Op] = []
        try:
            for op in plan.ops:
                if self.fail_at and op.describe().startswith(self.fail_at):
                    raise self.fail_with
                self._do(op)
                done.append(op)
                if step is not None:
                    step(op)
        except BaseException:
            self.revert(Plan(tuple(done)).undo())
            raise

    def revert(self, plan: Plan) -> list[str]:
        for op in plan.ops:
            self._do(op)
        return []

    def _do(self, op: Op) -> None:
        assert self.change_lock.held, f"{op.describe()}: without the lock"
        self.done.append(op)
        if isinstance(op, (BridgeAdd, VethAdd)):
            assert op.ifname not in self.links, f"{op.ifname} is there already"
            kind = "bridge" if isinstance(op, BridgeAdd) else "veth"
            self.links[op.ifname] = LinkFact(op.ifname, kind, (op.mark,))
        elif isinstance(op, LinkDel):
            self.links = {n: f for n, f in self.links.items() if op.mark not in f.altnames}
        elif isinstance(op, TableAdd):
            assert op.family not in self.tables, f"the table {op.family} is there: its rules would double"
            self.tables[op.family] = op.comment
        elif isinstance(op, TableDel):
            self.tables.pop(op.family, None)
            self.elements = {e for e in self.elements if e[0] != op.family}
        elif isinstance(op, (ElementAdd, ElementDel)):
            self._element(op)
        elif isinstance(op, NetnsAdd):
            assert op.name not in self.netns
            self.netns.add(op.name)
        elif isinstance(op, NetnsDel):
            self.netns.discard(op.name)
            # Its cable goes with it; the alias tells the picture which.
            gone = [o.ifname for o in self.done if isinstance(o, VethAdd) and o.peer_netns == op.name]
            for ifname in gone:
                self.links.pop(ifname, None)
        elif isinstance(op, Sysctl) and op.key == "net/ipv4/ip_forward":
            self.forwarding = op.value == "1"
        elif isinstance(op, HostsAdd):
            self.hosts[op.address] = op.line
        elif isinstance(op, HostsDel):
            for address in op.addresses:
                self.hosts.pop(address, None)
        else:
            self._proxy(op)

    def _element(self, op: ElementAdd | ElementDel) -> None:
        key = (op.family, op.set, *(value for _, value in op.key))
        if isinstance(op, ElementDel):
            self.elements.discard(key)
            return
        assert op.family in self.tables, f"{op.describe()}: no such table"
        assert key not in self.elements, f"{op.describe()}: there already"
        self.elements.add(key)

    def _proxy(self, op: Op) -> None:
        if isinstance(op, LoopbackStart):
            assert not self.proxy_runs
            self.proxy_runs, self.proxy_port = True, op.port
        elif isinstance(op, LoopbackStop):
            self.proxy_runs = False
            self.held.clear()
        elif isinstance(op, LoopbackAdd):
            assert self.proxy_runs, "nobody there to hold the port"
            assert (op.proto, op.address, op.port) not in self.held
            if op.port in self.busy_ports:
                raise Conflict(f"port {op.port} is taken")
            self.held.add((op.proto, op.address, op.port))
        elif isinstance(op, LoopbackDel):
            self.held.discard((op.proto, op.address, op.port))

    # -- facts

    def host_facts(self) -> HostFacts:
        links, tables = tuple(self.links.values()), tuple(self.tables.items())
        return HostFacts(links, tuple(self.routes), tables, self.forwarding, self.nameservers)

    def place_facts(self, bridge: str, mark: str, container: str) -> PlaceFacts:
        facts = self.host_facts()
        tables = tuple((f, self.tables[f]) for f in ("inet", "bridge") if f in self.tables)
        there, foreign = container in self.netns, self.files.get(container, "")
        return PlaceFacts(facts.link(bridge), tables, facts.link(mark), there, foreign)

    def foreign_link(self, name: str, kind: str = "bridge", *altnames: str) -> None:
        self.links[name] = LinkFact(name, kind, altnames)

    def route(self, subnet: str, by: str) -> None:
        self.routes.append(RouteFact(parse_subnet(subnet), by))

    # -- the rest of a host

    def wait_port(self, ifname: str) -> bool:
        return True

    def announce(self, endpoint: Endpoint) -> None:
        self.said.append(f"announce {endpoint.address}")

    def free_proxy_port(self, preferred: int) -> int:
        return preferred

    def proxy_alive(self) -> bool:
        return self.proxy_runs

    def probe_port(self, publish: Publish) -> None:
        self.said.append(f"probe {publish.host_port}")
        if publish.host_port in self.busy_ports:
            raise Conflict(f"port {publish.host_port} is taken")

    def lock(self) -> FakeLock:
        return self.change_lock

    def take_entry(self, entry: int) -> bool:
        return entry not in self.locked_entries

    def release_entry(self, entry: int) -> None:
        self.locked_entries.discard(entry)

    def now(self) -> int:
        return self.clock

    def upstreams(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.servers, ()

    def pin(self, netns: str) -> int:
        return self.netns_inode(netns) if netns else 1

    def netns_names(self) -> list[str]:
        return sorted(self.netns)

    def netns_handle(self, name: str) -> bytes:
        return name.encode()

    def is_gone(self, handle: bytes) -> bool:
        return handle.decode() not in self.netns

    def wait_gone(self, handle: bytes) -> None:
        assert self.is_gone(handle)

    def container_pid(self, engine: str, name: str) -> int:
        raise NotImplementedError

    def netns_inode(self, name: str) -> int:
        return sorted(self.netns).index(name) + 1 if name in self.netns else 0

    def processes(self, inodes: Iterable[int]) -> dict[int, list[int]]:
        wanted = {self.netns_inode(name): pids for name, pids in self.inside.items()}
        return {inode: wanted.get(inode, []) for inode in inodes if inode}

    def inodes_of(self, pid: int) -> dict[str, int]:
        return {"net": 1}

    def end(self, pids: Sequence[int]) -> None:
        self.said.append(f"end {list(pids)}")
        self.inside = {n: [p for p in inside if p not in pids] for n, inside in self.inside.items()}

    def alive(self, pid: int | None, started: int | None) -> bool:
        return (pid, started) in self.living

    def find_command(self, launch: Launch) -> None:
        if self.find_error is not None:
            raise self.find_error

    def start(self, launch: Launch) -> FakeProcess:
        self.said.append(f"start {' '.join(launch.argv)}")
        return FakeProcess(self, launch)

    def wait(self, pid: int) -> int:
        return 0

    def become(self, launch: Launch, pid: int | None, started: int | None) -> None:
        self.said.append(f"become {' '.join(launch.argv)}")

    def named(self, name: str) -> tuple[tuple[str, str], ...]:
        return (("net", f"/run/netns/{name}"),) if name in self.netns else ()

    def type_of(self, path: str) -> str:
        return path.rpartition("/")[2]

    def started(self, pid: int) -> int:
        return 1000

    def enter(self, way: Way, command: Command, say: Callable[[str], None]) -> int:
        raise NotImplementedError

    def enter_all(self, ways: Sequence[Way], command: Command, say: Callable[[str], None]) -> int:
        raise NotImplementedError

    def entered(self, way: Way) -> AbstractContextManager[None]:
        raise NotImplementedError

    def beside(self, way: Way, action: Callable[[], T]) -> T:
        raise NotImplementedError

    def apart(self, way: Way, action: Callable[[], T]) -> T:
        raise NotImplementedError

    def unshare(self, fresh: Fresh, command: Command, say: Callable[[str], None]) -> int:
        raise NotImplementedError

    def start_unshared(self, fresh: Fresh, command: Command, say: Callable[[str], None]) -> FakeProcess:
        raise NotImplementedError

    def attend(self, child: object, fresh: Fresh, name: str) -> int:
        raise NotImplementedError

    def remove_file(self, path: str) -> None:
        self.removed.append(path)


class Bench:
    """A machine, a store in memory, and the engine over both; ``remarks`` is what a user would read."""

    def __init__(self) -> None:
        self.machine = FakeMachine()
        self.store = SqliteStore(":memory:", ROOT)
        self.remarks: list[str] = []
        self.shown: list[Op] = []
        self.work = Work(self.store, self.machine, self.remarks.append)

    def dry(self) -> Work:
        return Work(self.store, self.machine, self.remarks.append, self.shown.append, dry=True)

    def plan(self, action: Callable[[], object]) -> list[Op]:
        """The operations that ``action`` had done."""
        before = len(self.machine.done)
        action()
        return self.machine.done[before:]

    def kernel(self) -> tuple[object, ...]:
        """The whole picture as a value: two that are equal are the same machine."""
        m = self.machine
        links = frozenset(m.links.values())
        sets = (frozenset(m.netns), frozenset(m.elements), frozenset(m.held))
        return (links, frozenset(m.tables.items()), *sets, frozenset(m.hosts.items()), m.proxy_runs)

    def wishes(self) -> tuple[object, ...]:
        endpoints = tuple(e for n in self.store.networks() for e in self.store.endpoints(n.name))
        return self.store.networks(), tuple(self.store.containers()), endpoints, tuple(self.store.journal())

    def clean(self) -> bool:
        return not self.store.journal() and not self.machine.change_lock.held
