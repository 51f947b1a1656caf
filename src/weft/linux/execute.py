"""The hands: the one place that changes the kernel. Plans in, batches out, rollback on failure."""

from __future__ import annotations

import errno
import posix

from weft.core.model.errors import (
    NotFound,
    WeftError,
)
from weft.core.ops import file as f
from weft.core.ops import netns as n
from weft.core.ops.address import AddressAdd
from weft.core.ops.base import Names
from weft.core.ops.link import BridgeAdd, LinkDel
from weft.core.plan.plan import Plan
from weft.core.wire import rtnetlink as rt
from weft.linux import files, netns
from weft.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink, Refusal
from weft.linux.procfs import Procfs
from weft.linux.refusals import explain, explain_os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from weft.core.ops.base import Message, Op
    from weft.core.ops.loopback import LoopbackAdd, LoopbackDel
    from weft.linux.loopback import LoopbackClient

    T = TypeVar("T")

#: What "it is not there" looks like when something is taken away: that is what was wanted.
_GONE = frozenset((errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL))


class Hands:
    """Applies plans in the network namespace behind ``home``, a descriptor that is closed with it; without
    one in that of the thread that made it. ``brief``: the process ends with its command."""

    _home = -1

    def __init__(
        self, run_dir: str, launcher: str, home: int = -1, root: str = "", brief: bool = False
    ) -> None:
        self._brief = brief
        self._run_dir = run_dir
        self._launcher = launcher
        self._root = root
        self._home = home if home >= 0 else posix.open(netns.HERE, posix.O_RDONLY | posix.O_CLOEXEC)
        self._route: Netlink | None = None
        self._filter: Netlink | None = None
        self._inside: dict[str, Netlink] = {}
        self._fds: dict[str, int] = {}
        self._indexes: dict[tuple[str, str], int] = {}
        self._counts: list[int] = []
        self._prepared = False
        self._prepared_plan: tuple[Plan, list[Message]] = Plan(()), []
        self.procfs = Procfs()
        self._proxy: LoopbackClient | None = None
        self._answer: Callable[[], None] | None = None

    def __del__(self) -> None:
        try:
            posix.close(self._home)
        except OSError:
            pass  # it was never opened, or all was closed to become a command that could not be executed

    @property
    def home(self) -> int:
        """A descriptor of the host's network namespace."""
        return self._home

    @property
    def route(self) -> Netlink:
        """The rtnetlink socket of the host's namespace."""
        if self._route is None:
            self._route = Netlink(NETLINK_ROUTE)
        return self._route

    @property
    def filter(self) -> Netlink:
        """The nf_tables socket of the host's namespace."""
        if self._filter is None:
            self._filter = Netlink(NETLINK_NETFILTER)
        return self._filter

    @property
    def proxy(self) -> LoopbackClient:
        """The loopback proxy's control."""
        if self._proxy is None:
            from weft.linux.loopback import LoopbackClient

            self._proxy = LoopbackClient(self._run_dir, self._launcher)
        return self._proxy

    def apply(self, plan: Plan, step: Callable[[Op], None] | None = None) -> None:
        """Does all of a plan or none: on the first refusal what was done is taken back, then raised."""
        done: list[Op] = []
        try:
            for group in _groups(plan.ops):
                self._run(group, done)
                if step is not None:
                    self._hear()
                    for op in group:
                        step(op)
            self._hear()
        except BaseException:
            self._hear(quietly=True)
            self.revert(Plan(tuple(done)).undo())
            raise
        finally:
            self.unpin()

    def prepare(self, plan: Plan) -> None:
        """Encodes a plan of nf_tables alone, to be done at once when its time comes."""
        self._prepared_plan = plan, self._messages(plan.ops) if plan.ops else []

    def apply_prepared(self, plan: Plan) -> None:
        """Does what was prepared last: one transaction. Refusal."""
        assert plan is self._prepared_plan[0]  # whoever prepares another one does not ask for this
        self.filter.transaction(self._prepared_plan[1])

    def revert(self, plan: Plan) -> list[str]:
        """Takes away what a plan says, and goes on past errors; gives them. What is not there is fine."""
        errors: list[str] = []
        for group in _groups(plan.ops):
            try:
                self._remove(group, errors)
            except NotFound:
                continue  # a namespace that is gone has taken all that was in it along
            except (WeftError, OSError) as error:
                errors.append(f"{group[0].describe()}: {error}")
        self.unpin()
        return errors

    def unpin(self) -> None:
        """Closes what is open for a plan: names are looked up anew, and may lead elsewhere."""
        for link in self._inside.values():
            link.close()
        for fd in self._fds.values():
            posix.close(fd)
        self._inside.clear()
        self._fds.clear()
        self._indexes.clear()

    def _run(self, group: Sequence[Op], done: list[Op]) -> None:
        """Does a group; ``done`` grows by what is in the kernel afterwards, also when it raises."""
        kind = group[0].kind
        try:
            if kind == "rtnl":
                self._send_links(group, done)
            elif kind == "nft":
                self.filter.transaction(self._messages(group))
                done += group
            elif kind == "loopback":
                self._loopback(group)
                done += group
            elif isinstance(group[0], f.HostsAdd):
                done += group
                self._add_hosts(group)
            else:
                for op in group:
                    self._do(op, done)
        except Refusal as error:
            raise explain(group[_owner(error.index, self._counts)], error) from None
        except OSError as error:
            raise explain_os(group[0], error) from None

    def _do(self, op: Op, done: list[Op]) -> None:
        if op.kind == "file":
            done.append(op)  # before: what is half written is to be taken back too
        try:
            if op.kind == "foreign":
                from weft.linux import foreign  # only where there is another firewall

                foreign.do(self.filter, op)
            else:
                self._call(op)
        except Refusal as error:
            raise explain(op, error) from None
        except OSError as error:
            raise explain_os(op, error) from None
        if op.kind not in ("file", "taken"):
            done.append(op)

    def _send_links(self, group: Sequence[Op], done: list[Op]) -> None:
        """First what each operation makes, then its mark: where the name was taken, it is somebody else's."""
        link, messages = self.route_in(group[0].netns), self._messages(group)
        starts = [0, *self._counts[:-1]]
        answers = link.attempt([messages[start] for start in starts])
        # A leftover that was to go may have gone by itself since it was seen: its namespace was dying.
        errors = [e for e in answers if e.errno not in _GONE or not isinstance(group[e.index], LinkDel)]
        errors = [e.at(starts[e.index]) for e in errors]
        refused = {e.index for e in errors}
        made = [i for i, start in enumerate(starts) if start not in refused]
        marks = [n for i in made for n in range(starts[i] + 1, self._counts[i])]
        unmarked = [e.at(marks[e.index]) for e in link.attempt([messages[n] for n in marks])]
        half = {_owner(e.index, self._counts) for e in unmarked}
        # Its undo, which goes by the mark, would not find it.
        born = [group[i] for i in half if isinstance(group[i].undo(), LinkDel)]
        link.attempt([rt.del_link(name=getattr(op, "ifname", "")) for op in born])
        done += [group[i] for i in made if i not in half]
        if errors or unmarked:
            raise min([*errors, *unmarked], key=lambda e: e.index)

    def _remove(self, group: Sequence[Op], errors: list[str]) -> None:
        kind = group[0].kind
        if kind in ("rtnl", "nft"):
            refused = self._attempt(kind, group)
            for op, error in refused:
                if error.errno not in _GONE:
                    errors.append(f"{op.describe()}: {error}")
            return
        # The proxy is told of all at once.
        for part in [group] if kind == "loopback" else [(op,) for op in group]:
            try:
                self._run(part, [])
            except (WeftError, OSError) as error:
                errors.append(f"{part[0].describe()}: {error}")

    def _attempt(self, kind: str, group: Sequence[Op]) -> list[tuple[Op, Refusal]]:
        if kind == "rtnl":
            link = self.route_in(group[0].netns)
            if len(group) == 1 and isinstance(group[0], LinkDel) and not group[0].netns:
                answers = self._delete_soon(group[0])
            else:
                answers = link.attempt(self._messages(group))
            refusals = [(group[_owner(e.index, self._counts)], e) for e in answers]
            for op, error in refusals:
                if error.errno in _GONE and isinstance(op, LinkDel) and op.mac:
                    _delete_unmarked(link, op)
            return refusals
        # One element that is not there refuses the whole transaction: the rest goes again without it.
        found: list[tuple[Op, Refusal]] = []
        rest = list(group)
        while rest and (errors := self.filter.transact(self._messages(rest))):
            refused = {_owner(e.index, self._counts): e for e in reversed(errors)}
            found += [(rest[i], e) for i, e in refused.items()]
            rest = [op for i, op in enumerate(rest) if i not in refused]
        return found

    def _delete_soon(self, op: LinkDel) -> list[Refusal]:
        """Deletes a link and waits until its name is gone, not until the kernel has freed it: whoever asks
        sleeps for an RCU grace period, 20 ms (netdev_run_todo()). A process that is about to end would wait
        for its threads: there a child is left behind that asks."""
        if self._brief:
            from weft.linux.aside import delete

            self._counts = [1]
            return delete(self.route, op.ifname, op.mark)
        from _thread import allocate_lock, start_new_thread

        self._counts = [1]
        answers: list[Refusal] = []
        ended = allocate_lock()
        ended.acquire()

        def ask() -> None:
            try:
                netlink = Netlink(NETLINK_ROUTE)
                answers.extend(netlink.attempt([rt.del_link(name=op.mark)]))
                netlink.close()
            finally:
                ended.release()

        start_new_thread(ask, ())
        while not ended.acquire(timeout=0.0001):
            try:
                self.route.index(op.ifname)
            except Refusal:
                return []
        return answers

    def _messages(self, group: Sequence[Op]) -> list[Message]:
        names = self._names(group[0].netns)
        found: list[Message] = []
        self._counts = []
        for op in group:
            try:
                found += op.encode(names)
            except Refusal as error:
                raise explain(op, error) from None  # a name that it needs is not there
            self._counts.append(len(found))
        return found

    def route_in(self, name: str) -> Netlink:
        """The rtnetlink socket of a namespace, until ``unpin``. NotFound."""
        if not name:
            return self.route
        link = self._inside.get(name)
        if link is None:
            link = self._inside[name] = self.within(name, lambda: Netlink(NETLINK_ROUTE))
        return link

    def within(self, name: str, action: Callable[[], T]) -> T:
        """Does something with the thread inside a namespace. NotFound."""
        return netns.within(self._home, self._netns_fd(name) if name else self._home, action)

    def _names(self, where: str) -> Names:
        return Names(lambda ifname: self._index(where, ifname), self._netns_fd)

    def pin(self, name: str) -> int:
        """Opens a network namespace for the next plan, whatever becomes of its name or process; its inode.

        NotFound when there is none, BadInput when it is something else.
        """
        if not name:
            return posix.fstat(self._home).st_ino
        if name not in self._fds:
            self._fds[name] = netns.open_net(name)
        return posix.fstat(self._fds[name]).st_ino

    def _netns_fd(self, name: str) -> int:
        fd = self._fds.get(name)
        if fd is None:
            fd = self._fds[name] = netns.open_fd(name)
        return fd

    def _index(self, where: str, ifname: str) -> int:
        index = self._indexes.get((where, ifname))
        if index is None:
            index = self._indexes[where, ifname] = self.route_in(where).index(ifname)
        return index

    def _call(self, op: Op) -> None:
        if isinstance(op, n.NetnsAdd):
            self._add_netns(op)
        elif isinstance(op, n.NetnsAttach):
            self._prepare()
            netns.attach(op.name, self._netns_fd(op.source))
        elif isinstance(op, n.NsBind):
            netns.keep(op.path, op.source)
        elif isinstance(op, n.NsUnbind):
            netns.let_go(op.path)
        elif isinstance(op, n.NetnsDel):
            netns.delete(op.name)
        elif isinstance(op, n.Sysctl):
            self._sysctl(op)
        elif op.kind == "file":
            self._file(op)
        elif op.kind == "conntrack":
            self._flush(op)
        elif op.kind == "queue":  # one by one: what it is about may be of the same plan
            self.route_in(op.netns).send(self._messages((op,)))
        else:
            self._seldom(op)

    def _seldom(self, op: Op) -> None:
        """What not every command does; its hands are imported then."""
        if op.kind == "dns":
            from weft.linux import dns

            dns.start(self._run_dir, self._launcher, self._root)
        elif op.kind in ("remote", "taken"):
            from weft.linux import remote

            remote.do(self, op)
        elif op.kind == "cgroup":
            from weft.linux import cgroup

            cgroup.do(op)
        else:
            raise TypeError(f"no hand knows {type(op).__name__}")

    def _file(self, op: Op) -> None:
        if isinstance(op, f.HostsSwitch):
            self._switch_hosts(op)
        else:
            files.do(op)

    def _flush(self, op: Op) -> None:
        from weft.core.ops.conntrack import ConntrackFlush
        from weft.linux.conntrack import flush

        assert isinstance(op, ConntrackFlush)  # the only one of its kind
        flush(self.filter, self.route, op.ports)

    def _sysctl(self, op: n.Sysctl) -> None:
        if op.netns:
            self.within(op.netns, lambda: self.procfs.write(op.key, op.value))
        else:
            files.sysctl(op.key, op.value)

    def _switch_hosts(self, op: f.HostsSwitch) -> None:
        files.link_etc_netns(op.name, op.path)
        if op.pid:
            from weft.linux.view import show_hosts

            show_hosts(op.pid, op.started, op.path)

    def _add_hosts(self, group: Sequence[Op]) -> None:
        lines: dict[str, str] = {}
        for op in group:
            if isinstance(op, f.HostsAdd):
                lines[op.path] = lines.get(op.path, "") + op.line + "\n"
        for path, text in lines.items():
            files.add_hosts(path, text)

    def _prepare(self) -> None:
        if not self._prepared:
            netns.prepare()
            self._prepared = True

    def _add_netns(self, op: n.NetnsAdd) -> None:
        self._prepare()
        if op.plain:
            netns.add(op.name, self._home, lambda: None)
            return

        def first() -> Netlink:
            self.procfs.switch_ipv6_off()
            return Netlink(NETLINK_ROUTE)

        self._inside[op.name] = netns.add(op.name, self._home, first)

    def _loopback(self, group: Sequence[Op]) -> None:
        from weft.core.ops import loopback as lb
        from weft.linux.loopback import hold

        adds = [op for op in group if isinstance(op, lb.LoopbackAdd)]
        dels = [op for op in group if isinstance(op, lb.LoopbackDel)]
        fds: list[int] = []
        self._hear()
        try:
            for op in adds:
                fds.append(hold(op.proto, op.address, op.port, op.target))
            for start in [op for op in group if isinstance(op, lb.LoopbackStart)]:
                self.proxy.start(start.port, ())
            if adds:
                self._answer = self.proxy.begin_add([_mapping(op) for op in adds], fds)
        finally:
            for fd in fds:
                posix.close(fd)
        self._let_go(dels, any(isinstance(op, lb.LoopbackStop) for op in group))

    def _hear(self, quietly: bool = False) -> None:
        """The proxy's answer to what it was told: it works while we do, and is asked at the end."""
        answer, self._answer = self._answer, None
        try:
            if answer is not None:
                answer()
        except WeftError:
            if not quietly:
                raise

    def _let_go(self, dels: Sequence[LoopbackDel], stop: bool) -> None:
        if not (dels or stop) or not self.proxy.alive():
            return
        if stop:
            self.proxy.stop()
        else:
            self.proxy.remove([(op.proto, op.address, op.port) for op in dels])


def _delete_unmarked(link: Netlink, op: LinkDel) -> None:
    """Deletes what was born and never marked."""
    try:
        found = rt.get_link(link.ask(rt.get_link_request(name=op.ifname)))
    except Refusal:
        return
    if found.mac == bytes.fromhex(op.mac.replace(":", "")) and not found.altnames:
        link.attempt([rt.del_link(ifindex=found.ifindex)])


def _mapping(op: LoopbackAdd) -> tuple[str, str, int, str, int]:
    return op.proto, op.address, op.port, op.target, op.target_port


def _groups(ops: Iterable[Op]) -> list[list[Op]]:
    """Neighbours that go out together: of one kind, in one namespace."""
    groups: list[list[Op]] = []
    for op in ops:
        if groups and _alike(groups[-1][0], op) and not _awaits(groups[-1][0], op):
            groups[-1].append(op)
        else:
            groups.append([op])
    return groups


def _alike(a: Op, b: Op) -> bool:
    if isinstance(a, f.HostsAdd) != isinstance(b, f.HostsAdd):
        return False
    return a.kind == b.kind and a.netns == b.netns


def _awaits(first: Op, op: Op) -> bool:
    """Whether an address is for a bridge of the same group: it has no number before that is sent."""
    born = isinstance(first, BridgeAdd) and isinstance(op, AddressAdd)
    return born or (op.later and not first.later)


def _owner(index: int, counts: Sequence[int]) -> int:
    """Which operation of a group message ``index`` came from."""
    return next(i for i, end in enumerate(counts) if index < end)
