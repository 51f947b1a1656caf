"""Names of namespaces: what is refused before anything is touched, and what is on record afterwards."""

from __future__ import annotations

import pytest

from fakes.bench import Bench
from fakes.machine import FakeMachine
from weft.core.model.errors import BadInput, Conflict, KernelError, NotFound, WeftError
from weft.core.ops.netns import NetnsAdd, NetnsAttach
from weft.core.plan.plan import Plan
from weft.engine import namespace
from weft.engine.container import create
from weft.engine.network import NetworkRequest
from weft.engine.network import create as make_network
from weft.engine.request import Join, RunRequest
from weft.engine.work import NAMESPACE, Work


@pytest.fixture
def work(bench: Bench) -> Work:
    return bench.work


@pytest.fixture
def machine(bench: Bench) -> FakeMachine:
    return bench.machine


def on_record(work: Work) -> list[tuple[str, str, bool]]:
    return [(n.name, n.how, n.removed) for n in work.store.namespaces()]


def test_added_and_on_record(work: Work, machine: FakeMachine) -> None:
    namespace.add(work, ["blue", "red"])
    assert machine.netns == {"blue", "red"}
    assert on_record(work) == [("blue", "made", False), ("red", "made", False)]
    assert [n.handle for n in work.store.namespaces()] == [b"blue", b"red"]
    assert work.store.journal() == []


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["host"], BadInput),
        (["none"], BadInput),
        (["all"], BadInput),
        (["../x"], BadInput),
        (["-x"], BadInput),
        (["a b"], BadInput),
        (["\x1b[2J"], BadInput),
        (["ü"], BadInput),
        (["x" * 64], BadInput),
        (["12"], BadInput),
        (["new", "new"], BadInput),
        (["new", "there"], Conflict),
        (["new", "web"], Conflict),
    ],
)
def test_refused_and_none_made(
    work: Work, machine: FakeMachine, names: list[str], error: type[WeftError]
) -> None:
    make_network(work, NetworkRequest("blue"))
    create(work, RunRequest("web", (Join("blue"),)))
    machine.netns.add("there")
    before = set(machine.netns)
    with pytest.raises(error):
        namespace.add(work, names)
    assert machine.netns == before
    assert on_record(work) == []


def test_a_refusal_of_the_kernel_takes_all_back(work: Work, machine: FakeMachine) -> None:
    machine.fail_at = "make the network namespace red"
    with pytest.raises(KernelError):
        namespace.add(work, ["blue", "red"])
    assert (machine.netns, on_record(work), work.store.journal()) == (set(), [], [])


def test_adopted_by_pid_and_by_path(work: Work, machine: FakeMachine) -> None:
    machine.netns.add("/proc/42/ns/net")
    machine.netns.add("/run/user/ns")
    namespace.adopt(work, "one", "42")
    namespace.adopt(work, "two", "/run/user/ns")
    ops = [op for op in machine.done if isinstance(op, NetnsAttach)]
    assert [(op.name, op.source) for op in ops] == [("one", "/proc/42/ns/net"), ("two", "/run/user/ns")]
    assert on_record(work) == [("one", "adopted", False), ("two", "adopted", False)]


def test_the_hosts_own_is_not_adopted(work: Work) -> None:
    with pytest.raises(BadInput, match="needs no name"):
        namespace.adopt(work, "home", "host")


def test_removed_names_stay_on_record_until_their_namespaces_are_gone(
    work: Work, machine: FakeMachine
) -> None:
    namespace.add(work, ["blue", "red"])
    machine.inside["blue"] = [100, 101]
    (gone,) = namespace.remove(work, ["blue"])
    assert (gone.name, gone.pids) == ("blue", (100, 101))
    assert ("blue", "made", True) in on_record(work)
    assert not any(line.startswith("end ") for line in machine.said), "nobody is killed"
    namespace.add(work, ["green"])  # blue is gone by now, as the picture of this machine has it
    assert on_record(work) == [("green", "made", False), ("red", "made", False)]


def test_all_takes_off_what_weft_gave_and_nothing_else(work: Work, machine: FakeMachine) -> None:
    namespace.add(work, ["blue", "red"])
    machine.netns |= {"foreign"}
    assert [one.name for one in namespace.remove(work, [], every=True)] == ["blue", "red"]
    assert machine.netns == {"foreign"}
    assert namespace.remove(work, [], every=True) == []


@pytest.mark.parametrize(("name", "error"), [("nope", NotFound), ("../etc", BadInput), (".", BadInput)])
def test_what_is_not_there_or_no_name(work: Work, name: str, error: type[WeftError]) -> None:
    with pytest.raises(error):
        namespace.remove(work, [name])


def test_a_containers_namespace_is_its_own(work: Work, machine: FakeMachine) -> None:
    make_network(work, NetworkRequest("blue"))
    create(work, RunRequest("web", (Join("blue"),)))
    with pytest.raises(Conflict, match="belongs to container web"):
        namespace.remove(work, ["web"])


def test_forgotten_only_when_something_else_holds_it(work: Work, machine: FakeMachine) -> None:
    namespace.add(work, ["blue"])
    with pytest.raises(Conflict, match="nothing but its name"):
        namespace.forget(work, "blue")
    assert machine.netns == {"blue"}
    machine.inside["blue"] = [100]
    namespace.forget(work, "blue")
    assert machine.netns == set()


def test_a_dry_run_shows_and_does_nothing(work: Work, machine: FakeMachine) -> None:
    shown: list[object] = []
    dry = Work(work.store, machine, work.say, shown.append, dry=True)
    namespace.add(dry, ["blue"])
    assert shown == [NetnsAdd("blue", plain=True)]
    assert (machine.netns, on_record(work)) == (set(), [])


def test_what_a_killed_command_left_is_ended(work: Work, machine: FakeMachine) -> None:
    """A half-made name is taken back."""
    namespace.add(work, ["old"])
    plan = Plan((NetnsAdd("half", plain=True),))
    entry = work._begin(
        NAMESPACE, "half", plan, plan.undo(), lambda: work.store.add_namespace("half", "made", 1), False
    )
    machine.release_entry(entry)
    machine.netns.add("half")
    with machine.lock():
        work.recover()
    assert (machine.netns, on_record(work)) == ({"old"}, [("old", "made", False)])
