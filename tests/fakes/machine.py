"""A machine without a kernel: it does plans to a small picture of one, and can be told to fail.

What is in the picture is what facts are made of, so that decisions meet what earlier ones left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from fakes.counters import Counters as Counted
from fakes.parts import Apart, FakeLock, FakeProcess, Names
from weft.core.boundary import Watch
from weft.core.ipam.pool import DEFAULT_POOLS, AutoPool
from weft.core.model.address import Address, parse_subnet
from weft.core.model.errors import Conflict, KernelError, NotFound
from weft.core.model.facts import BridgeFact, HostFacts, LinkFact, NetworkFacts, PlaceFacts, RouteFact
from weft.core.model.foreign import ForeignFacts
from weft.core.model.launch import Launch
from weft.core.model.link import Space
from weft.core.model.namespace import Holder, NsFact
from weft.core.model.network import Endpoint
from weft.core.model.publish import Publish
from weft.core.ops.base import Op
from weft.core.ops.cgroup import CgroupAdd, CgroupDel, CgroupFreeze, CgroupThaw
from weft.core.ops.dns import DnsStart
from weft.core.ops.file import HostsAdd, HostsDel
from weft.core.ops.link import BridgeAdd, LinkDel, VethAdd
from weft.core.ops.loopback import LoopbackAdd, LoopbackDel, LoopbackStart, LoopbackStop
from weft.core.ops.netns import NetnsAdd, NetnsAttach, NetnsDel, Sysctl
from weft.core.ops.nft import ElementAdd, ElementDel, TableAdd, TableDel
from weft.core.ops.wire import LinkMark, LinkMaster, LinkRemove, LinksDel, VethPairAdd
from weft.core.plan.plan import Plan
from weft.core.wire.neighbour import Neighbour
from weft.core.wire.rtnetlink import Bridge, Counters, Link

ROOT = "0123abcd"
T = TypeVar("T")
#: The inode of the host's own network namespace.
HOME = 4026531840


class FakeSurvey:
    """core/boundary.Survey of named namespaces; tests append strangers, and set the links themselves."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        named = [Space(machine.netns_inode(name), (name,)) for name in sorted(machine.netns)]
        self.spaces = [Space(HOME), *named, *machine.strangers]

    def links(self, number: int) -> list[tuple[Link, list[str]]]:
        space = self.spaces[number]
        where = space.names[0] if space.names else "" if number == 0 else f"?{number}"
        return [(link, []) for link in self.machine.links_of(where)]


class FakeMachine(Counted, Apart, Names):
    """core/boundary.Machine. ``done`` are the operations that took effect, undone ones included."""

    run_dir = "/run/weft"
    state_dir = "/var/lib/weft"

    def __init__(self) -> None:
        super().__init__()
        self.links: dict[str, LinkFact] = {"lo": LinkFact("lo", "", ())}
        #: What wires and switches are made of, by namespace and name.
        self.devices: dict[str, dict[str, Link]] = {}
        self.strangers: list[Space] = []
        self.tables: dict[str, str] = {}
        self.routes: list[RouteFact] = []
        self.kept: list[RouteFact] = []
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
        self.holders: dict[int, tuple[Holder, ...]] = {}
        #: The namespaces that are found, those at paths, those of processes (None: weft's own).
        self.facts: list[NsFact] = []
        self.foreign = ForeignFacts()
        self.paths: dict[str, tuple[str, int]] = {}
        self.inodes: dict[int | None, dict[str, int]] = {}
        self.locked_entries: set[int] = set()
        self.done: list[Op] = []
        self.said: list[str] = []
        self.removed: list[str] = []
        self.ticks = 0
        #: Who the engine itself is, and the signals that end a process.
        self.me = (200, 2000)
        self.deadly = {9, 15}
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
        if isinstance(op, (VethPairAdd, LinkMark, LinkMaster, LinkRemove)):
            self._device(op)
        elif isinstance(op, (BridgeAdd, VethAdd)):
            assert op.ifname not in self.links, f"{op.ifname} is there already"
            kind = "bridge" if isinstance(op, BridgeAdd) else "veth"
            self.links[op.ifname] = LinkFact(op.ifname, kind, (op.mark,))
            where = op.netns if isinstance(op, BridgeAdd) else ""
            if isinstance(op, BridgeAdd):
                self.device(where, op.ifname, "bridge", op.mark, op.alias, Bridge(stp_state=int(op.stp)))
                if where:
                    del self.links[op.ifname]
        elif isinstance(op, (LinkDel, LinksDel)):
            for mark in (op.mark,) if isinstance(op, LinkDel) else op.marks:
                self._unmake(mark)
                self.links = {n: f for n, f in self.links.items() if mark not in f.altnames}
        elif isinstance(op, (CgroupAdd, CgroupDel, CgroupFreeze, CgroupThaw)):
            self._group(op)
        elif isinstance(op, TableAdd):
            assert op.family not in self.tables, f"the table {op.family} is there: its rules would double"
            self.tables[op.family] = op.comment
        elif isinstance(op, TableDel):
            self.tables.pop(op.family, None)
            self.elements = {e for e in self.elements if e[0] != op.family}
        elif isinstance(op, (ElementAdd, ElementDel)):
            self._element(op)
        elif isinstance(op, (NetnsAdd, NetnsAttach)):
            assert op.name not in self.netns
            self.netns.add(op.name)
        elif isinstance(op, NetnsDel):
            self.netns.discard(op.name)
            # Its cable goes with it; the alias tells the picture which.
            gone = [o.ifname for o in self.done if isinstance(o, VethAdd) and o.peer_netns == op.name]
            for ifname in gone:
                self.links.pop(ifname, None)
        elif isinstance(op, Sysctl):
            if op.key == "net/ipv4/ip_forward":
                self.forwarding = op.value == "1"
        elif isinstance(op, HostsAdd):
            self.hosts[op.address] = op.line
        elif isinstance(op, HostsDel):
            for address in op.addresses:
                self.hosts.pop(address, None)
        elif isinstance(op, DnsStart):
            self.start_dns()
        else:
            self._proxy(op)

    def device(
        self,
        where: str,
        name: str,
        kind: str = "veth",
        mark: str = "",
        alias: str = "",
        bridge: Bridge | None = None,
        master: str = "",
    ) -> None:
        """Another link of a namespace."""
        there = self.devices.setdefault(where, {})
        assert name not in there, f"{name} is in {where or 'host'} already"
        assert not any(mark and mark in link.altnames for link in there.values()), f"{mark} is there already"
        index = 2 + sum(len(found) for found in self.devices.values())
        marks = (mark,) if mark else ()
        over = there[master].ifindex if master else None
        there[name] = Link(
            index, ifname=name, altnames=marks, alias=alias, kind=kind, bridge=bridge, master=over
        )

    def _device(self, op: VethPairAdd | LinkMark | LinkMaster | LinkRemove) -> None:
        if isinstance(op, VethPairAdd):
            assert op.peer_netns, "a wire's far end is never the host's"
            self.device(op.netns, op.ifname, "veth", op.mark, op.alias, master=op.master)
            self.device(op.peer_netns, op.peer)
        elif isinstance(op, LinkRemove):
            link = self.devices[op.netns].pop(op.ifname)
            for mark in link.altnames:
                self._unmake(mark)
        else:
            there = self.devices[op.netns]
            change: dict[str, object] = (
                {"altnames": (op.mark,), "alias": op.alias}
                if isinstance(op, LinkMark)
                else {"master": there[op.master].ifindex}
            )
            there[op.ifname] = there[op.ifname]._replace(**change)

    def _unmake(self, mark: str) -> None:
        """Both ends of a wire go at once: one that has no mark yet is the last that was made."""
        for where, there in self.devices.items():
            self.devices[where] = {
                n: link
                for n, link in there.items()
                if mark not in link.altnames and (link.altnames or link.alias)
            }

    def _group(self, op: CgroupAdd | CgroupDel | CgroupFreeze | CgroupThaw) -> None:
        if isinstance(op, CgroupAdd):
            assert op.path not in self.groups, f"the cgroup {op.path} is there already"
            self.groups.add(op.path)
        elif isinstance(op, CgroupFreeze):
            assert op.path in self.groups, f"no cgroup {op.path} to freeze"
            self.frozen.add(op.path)
        else:
            self.frozen.discard(op.path)
        if isinstance(op, CgroupDel):
            self.groups.discard(op.path)

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
        facts = HostFacts(links, tuple(self.routes), tables, self.forwarding, self.nameservers)
        return facts._replace(kept=tuple(self.kept))

    def network_facts(self, bridge: str) -> NetworkFacts:
        tables = tuple((f, self.tables[f]) for f in ("inet", "bridge") if f in self.tables)
        return NetworkFacts(self.host_facts().link(bridge), tables)

    def place_facts(self, marks: Sequence[str], container: str) -> PlaceFacts:
        there, foreign = container in self.netns, self.files.get(container, "")
        found = [(self.host_facts().link(mark), mark) for mark in marks]
        return PlaceFacts(tuple((link, mark) for link, mark in found if link is not None), there, foreign)

    def bridge_fact(self, ifname: str) -> BridgeFact:
        return BridgeFact((), 1500)

    def foreign_facts(self) -> ForeignFacts:
        return self.foreign

    def auto_pools(self) -> tuple[AutoPool, ...]:
        return DEFAULT_POOLS

    def foreign_link(self, name: str, kind: str = "bridge", *altnames: str) -> None:
        self.links[name] = LinkFact(name, kind, altnames)

    def route(self, subnet: str, by: str) -> None:
        self.routes.append(RouteFact(parse_subnet(subnet), by))

    # -- the rest of a host

    def wait_port(self, ifname: str) -> bool:
        return True

    def announce(self, endpoint: Endpoint, where: str = "") -> None:
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

    def boot_id(self) -> str:
        return "boot"

    def name_servers(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        raise NotImplementedError("a database is made anew on real machines")

    def proxied(self) -> list[tuple[str, str, int, str, int]]:
        raise NotImplementedError("a database is made anew on real machines")

    def tables_seen(self) -> frozenset[str]:
        return frozenset(self.tables)

    def tables_stand(self, root: str) -> bool:
        return set(self.tables) == {"inet", "bridge"}

    def free_port(
        self, proto: str, address: str, low: int, high: int, start: int, is_taken: Callable[[int], bool]
    ) -> int:
        low, high = (low, high) if low else (32768, 60999)
        ports = [low + (start + n) % (high - low + 1) for n in range(high - low + 1)]
        return next(p for p in ports if p not in self.busy_ports and not is_taken(p))

    def uptime(self) -> int:
        return self.clock

    def upstreams(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.servers, ()

    def pin(self, netns: str) -> int:
        inode = self.netns_inode(netns) if netns else HOME
        if not inode:
            raise NotFound(f"no network namespace {netns}")
        return inode

    def unpin(self) -> None:
        self.said.append("unpin")

    @contextmanager
    def survey(self) -> Iterator[FakeSurvey]:
        yield FakeSurvey(self)

    def links_of(self, netns: str) -> list[Link]:
        return list(self.devices.get(netns, {}).values())

    def bridge(
        self, netns: str, ifindex: int
    ) -> tuple[Link, Counters, list[tuple[Link, Counters]], list[Neighbour]]:
        raise NotImplementedError

    def wait_up(self, netns: str, ifname: str, forwards: bool) -> bool:
        self.said.append(f"wait {netns}:{ifname} {forwards}")
        return True

    def netns_names(self) -> list[str]:
        return sorted(self.netns)

    def netns_handle(self, name: str) -> bytes:
        return name.encode()

    def is_gone(self, handle: bytes) -> bool:
        return handle.decode() not in self.netns

    def wait_gone(self, handle: bytes) -> None:
        assert self.is_gone(handle)

    def watch(self) -> AbstractContextManager[Watch]:
        raise NotImplementedError

    def run_plugin(self, path: str, words: Sequence[str], data: bytes) -> tuple[int, bytes]:
        raise NotImplementedError

    def container_pid(self, engine: str, name: str) -> int:
        raise NotImplementedError

    def netns_inode(self, name: str) -> int:
        return sorted(self.netns).index(name) + 1 if name in self.netns else 0

    def find_namespaces(
        self, types: Sequence[str], removed: Sequence[tuple[str, bytes]]
    ) -> tuple[NsFact, ...]:
        self.asked = (tuple(types), tuple(removed))
        return tuple([fact for fact in self.facts if fact.type in types])

    def left_alive(self, names: Mapping[str, int]) -> dict[int, tuple[tuple[int, ...], tuple[Holder, ...]]]:
        found = self.processes(names.values())
        return {i: (tuple(pids), self.holders.get(i, ())) for i, pids in found.items()}

    def namespace_at(self, path: str) -> tuple[str, int]:
        return self.paths[path]

    def nspid(self, pid: int) -> list[int]:
        return [pid, pid % 100]

    def monitor(self, pid: int, name: str) -> int | None:
        return None

    def processes(self, inodes: Iterable[int], type: str = "net") -> dict[int, list[int]]:
        wanted = {self.netns_inode(name): pids for name, pids in self.inside.items()}
        return {inode: wanted.get(inode, []) for inode in inodes if inode}

    def inodes_of(self, pid: int | None) -> dict[str, int]:
        return self.inodes.get(pid, {"net": 1})

    def end(self, pids: Sequence[int]) -> None:
        self.said.append(f"end {list(pids)}")
        self.inside = {n: [p for p in inside if p not in pids] for n, inside in self.inside.items()}

    def alive(self, pid: int | None, started: int | None) -> bool:
        return (pid, started) in self.living

    def find_command(self, launch: Launch) -> None:
        if self.find_error is not None:
            raise self.find_error

    def start(self, launch: Launch, fresh: bool = True) -> FakeProcess:
        self.said.append(f"start {' '.join(launch.argv)}")
        return FakeProcess(self, launch)

    def wait(self, pid: int) -> int:
        return 0

    def become(self, launch: Launch, pid: int | None, started: int | None) -> int:
        self.said.append(f"become {' '.join(launch.argv)}")
        return 0

    def named(self, name: str) -> tuple[tuple[str, str], ...]:
        return (("net", f"/run/netns/{name}"),) if name in self.netns else ()

    def type_of(self, path: str) -> str:
        return path.rpartition("/")[2]

    def started(self, pid: int) -> int:
        return 1000

    def remove_logs(self, path: str) -> None:
        self.removed.append(path)

    def remove_door(self, name: str) -> None:
        self.removed.append(f"door of {name}")

    def now_ns(self) -> int:
        self.ticks += 1
        return self.clock * 10**9 + self.ticks

    def start_again(self, launch: Launch) -> FakeProcess:
        self.said.append(f"start again {' '.join(launch.argv)}")
        return FakeProcess(self, launch)

    def await_restart(self, name: str, milliseconds: int) -> None:
        self.said.append(f"await {name} {milliseconds}")

    def is_me(self, pid: int | None, started: int | None) -> bool:
        return (pid, started) == self.me

    def signal(self, pid: int | None, started: int | None, number: int) -> bool:
        self.said.append(f"signal {pid} {number}")
        if number in self.deadly:
            self.living.discard((pid or 0, started or 0))
        return True

    def wait_ended(
        self, processes: Sequence[tuple[int, int]], seconds: float | None
    ) -> list[tuple[int, int]]:
        return [one for one in processes if one in self.living]

    def wake(self, pid: int | None, started: int | None) -> None:
        self.said.append(f"wake {pid}")

    def window(self) -> tuple[int, int]:
        return 24, 80

    def forget_runtime(self, name: str) -> None:
        """No container here is another runtime's."""

    def remove_file(self, path: str) -> None:
        self.removed.append(path)
