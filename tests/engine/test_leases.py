"""A model of whole lives: networks and containers come, fail and go; no address or port is had twice."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fakes.bench import Bench
from weft.core.model.errors import Conflict, KernelError, NotFound
from weft.core.model.publish import parse_publish
from weft.engine import container, network, removal
from weft.engine.network import NetworkRequest
from weft.engine.request import Join, RunRequest

NETS = st.sampled_from(["one", "two"])
CONTAINERS = st.sampled_from(["a", "b", "c", "d", "e", "f", "g"])
PORTS = st.sampled_from(["", "80:80", "0.0.0.0:80:80", "203.0.113.1:80:80", "81:80/udp", "80-81:80-81"])
STEPS = st.sampled_from(["", "", "", "make the network namespace", "plug", "name ", "hold ", "add "])


class Lives(RuleBasedStateMachine):
    """The fake machine asserts by itself that nothing is made twice or without what it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.empty = self.bench.kernel()

    def teardown(self) -> None:
        for name in ("one", "two"):
            if self.bench.store.find_network(name):
                network.remove(self.bench.work, name, force=True)
        assert self.bench.kernel() == self.empty
        assert self.bench.clean()
        self.bench.store.close()

    @rule(name=NETS)
    def create(self, name: str) -> None:
        subnet = "10.1.0.0/29" if name == "one" else "10.2.0.0/29"
        exists = self.bench.store.find_network(name) is not None
        try:
            network.create(self.bench.work, NetworkRequest(name, (subnet,)))
            assert not exists
        except Conflict:
            assert exists

    @rule(name=NETS, force=st.booleans())
    def remove(self, name: str, force: bool) -> None:
        try:
            network.remove(self.bench.work, name, force)
        except NotFound:
            assert self.bench.store.find_network(name) is None
        except Conflict:
            assert not force

    @rule(net=NETS, name=CONTAINERS, last=st.integers(0, 7), port=PORTS, step=STEPS)
    def attach(self, net: str, name: str, last: int, port: str, step: str) -> None:
        """With a fixed address or none, with ports or none; sometimes the kernel refuses a step."""
        before = self._mended()
        address = f"10.{1 if net == 'one' else 2}.0.{last}" if 2 <= last <= 6 else ""
        ports = parse_publish(port) if port else ()
        self.bench.machine.fail_at = step
        try:
            made = container.create(
                self.bench.work, RunRequest(name, (Join(net, (address,) if address else ()),), publish=ports)
            )
            assert not address or str(made.endpoint.address) == address
        except (Conflict, NotFound, KernelError):
            assert (self.bench.kernel(), self.bench.wishes()) == before
        finally:
            self.bench.machine.fail_at = ""

    def _mended(self) -> object:
        """The picture after what every command does first: it may bring a killed proxy back."""
        with self.bench.machine.lock():
            self.bench.work.recover()
        return self.bench.kernel(), self.bench.wishes()

    @rule(net=NETS, count=st.integers(1, 4))
    def attach_many(self, net: str, count: int) -> None:
        before = self._mended()
        requests = [RunRequest(f"batch{n}", (Join(net),)) for n in range(count)]
        try:
            assert len(container.attach_many(self.bench.work, requests)) == count
        except (Conflict, NotFound):
            assert (self.bench.kernel(), self.bench.wishes()) == before

    @rule(name=CONTAINERS)
    def detach(self, name: str) -> None:
        try:
            removal.remove(self.bench.work, [name])
        except NotFound:
            assert not self.bench.store.has_container(name)

    @rule(net=NETS, name=CONTAINERS, port=PORTS)
    def killed_while_attaching(self, net: str, name: str, port: str) -> None:
        """The next command of any kind takes it back, whatever that is."""
        ports = parse_publish(port) if port else ()
        try:
            container.attach(self.bench.work, RunRequest(name, (Join(net),), publish=ports))
        except (Conflict, NotFound):
            return
        with self.bench.machine.lock():
            self.bench.work.recover()
        assert not self.bench.store.has_container(name)

    @rule()
    def the_proxy_is_killed(self) -> None:
        self.bench.machine.proxy_runs = False
        self.bench.machine.held.clear()

    @invariant()
    def no_address_twice(self) -> None:
        store = self.bench.store
        for net in store.networks():
            leases = [e.address for e in store.endpoints(net.name)]
            assert len(set(leases)) == len(leases)
            assert net.pool4.gateway not in leases
            assert all(address in net.pool4.subnet for address in leases)

    @invariant()
    def no_port_twice(self) -> None:
        ports = [p for e in self.bench.store.published() for p in e.publish]
        for n, one in enumerate(ports):
            assert not any(one.clashes(other) for other in ports[:n])

    @invariant()
    def the_kernel_has_what_is_wished(self) -> None:
        store, machine = self.bench.store, self.bench.machine
        endpoints = [e for n in store.networks() for e in store.endpoints(n.name)]
        assert machine.netns == {e.container for e in endpoints}
        assert set(machine.hosts) == {str(e.address) for e in endpoints}
        assert bool(machine.tables) == bool(store.networks())
        assert self.bench.clean()


def test_lives() -> None:
    run_state_machine_as_test(Lives, settings=settings(stateful_step_count=30, max_examples=60))
