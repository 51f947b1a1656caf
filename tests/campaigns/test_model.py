"""Random commands, floods of foreign hands and kills: after ``weft repair`` wishes and kernel agree.

The model knows which containers are in which networks and what they publish; weft's answers, the bridge ports
and the firewall's elements are compared with it. Nothing is left for repair or gc to do after a repair.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from harness import Host, settle
from scenarios.test_concurrency import elements

NETWORKS = ("blue", "red")
CONTAINERS = ("a", "b", "c")


class Model(RuleBasedStateMachine):
    """Networks, the containers in each, and the ports of each place."""

    def __init__(self) -> None:
        super().__init__()
        self.host = Host()
        self.places: dict[str, dict[str, set[int]]] = {}
        self.hurt = False

    def teardown(self) -> None:
        self.mend()
        self.host.close()

    def weft(self, *words: str, fine: bool = True) -> None:
        """What the model says goes, goes; what it says does not is refused with a reason."""
        done = self.host.weft(*words, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        if self.hurt:  # what a foreign hand took may be missed
            self.mend()
            done = self.host.weft(*words, check=False) if done.returncode else done
        assert (done.returncode == 0) == fine, (words, done.returncode, done.stderr)

    def mend(self) -> None:
        self.host.weft("repair")
        self.hurt = False
        for word in ("repair", "gc"):
            assert self.host.weft(word).stdout == "", word

    def living(self) -> set[str]:
        return {name for members in self.places.values() for name in members}

    @rule(network=st.sampled_from(NETWORKS))
    def create(self, network: str) -> None:
        self.weft("net", "create", network, fine=network not in self.places)
        self.places.setdefault(network, {})

    @rule(network=st.sampled_from(NETWORKS))
    def remove_network(self, network: str) -> None:
        self.weft("net", "rm", network, fine=network in self.places and not self.places[network])
        if not self.places.get(network, {"": set()}):
            del self.places[network]

    @rule(network=st.sampled_from(NETWORKS), name=st.sampled_from(CONTAINERS))
    def run(self, network: str, name: str) -> None:
        fine = network in self.places and name not in self.living()
        self.weft("run", "--name", name, "--network", network, fine=fine)
        if fine:
            self.places[network][name] = set()

    @rule(name=st.sampled_from(CONTAINERS))
    def remove(self, name: str) -> None:
        self.weft("rm", "-f", name, fine=name in self.living())
        for members in self.places.values():
            members.pop(name, None)

    @rule(network=st.sampled_from(NETWORKS), name=st.sampled_from(CONTAINERS))
    def connect(self, network: str, name: str) -> None:
        fine = network in self.places and name in self.living() and name not in self.places[network]
        self.weft("net", "connect", network, name, fine=fine)
        if fine:
            self.places[network][name] = set()

    @rule(network=st.sampled_from(NETWORKS), name=st.sampled_from(CONTAINERS), port=st.integers(9000, 9003))
    def publish(self, network: str, name: str, port: int) -> None:
        held = {p for members in self.places.values() for ports in members.values() for p in ports}
        fine = name in self.places.get(network, {}) and port not in held
        self.weft("net", "publish", network, name, f"0.0.0.0:{port}:80", fine=fine)
        if fine:
            self.places[network][name].add(port)

    @rule()
    def flush(self) -> None:
        self.host.nft("flush", "ruleset")
        self.hurt = True

    @rule(network=st.sampled_from(NETWORKS))
    def delete_the_bridge(self, network: str) -> None:
        if network in self.places:
            self.host.ip("link", "del", self.host.weft_json("net", "inspect", network)[0]["bridge"])
            self.hurt = True

    @rule(network=st.sampled_from(NETWORKS), name=st.sampled_from(CONTAINERS))
    def delete_a_cable(self, network: str, name: str) -> None:
        if name in self.places.get(network, {}):
            (found,) = self.host.weft_json("inspect", name)
            self.host.run(["ip", "link", "del", found["networks"][network]["host_ifname"]], check=False)
            self.hurt = True

    @rule()
    def repair(self) -> None:
        self.mend()

    @invariant()
    def agrees(self) -> None:
        if self.hurt:
            return
        shown = {row["name"]: row["networks"] for row in self.host.weft_json("ps", "-a")}
        assert {n: set(v) for n, v in shown.items()} == {
            name: {net for net, members in self.places.items() if name in members} for name in self.living()
        }
        cables = {place["host_ifname"] for nets in shown.values() for place in nets.values()}
        assert settle(self.host, lambda: self.cables() == cables)
        if self.places:
            ports = {p for members in self.places.values() for of in members.values() for p in of}
            assert {e["concat"][1] for e in elements(self.host, "inet", "publish4_any")} == ports

    def cables(self) -> set[str]:
        links = json.loads(self.host.ip("-j", "link", "show", "type", "veth"))
        return {link["ifname"] for link in links if link.get("master")}


def told(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_few_stories() -> None:
    told(3, 12)


@pytest.mark.campaign
def test_many_stories() -> None:
    told(100, 40)
