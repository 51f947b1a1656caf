"""Every operation has its faces: described, printed, encoded, undone; and plans survive the journal."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import weft.core.ops
from core.ops.strategies import PLANS, STRATEGIES
from weft.core.drivers import bridge as driver
from weft.core.emit.shell import script
from weft.core.firewall.tables import tables
from weft.core.model.address import Address, Cidr, Subnet
from weft.core.model.network import Endpoint, Network, Pool, Sandbox
from weft.core.model.publish import Publish
from weft.core.ops import file, link, netns, nft
from weft.core.ops.base import Final, Names, Op
from weft.core.ops.sublink import SublinkAdd
from weft.core.plan.plan import Plan, batched, dump, load
from weft.core.wire import nfnetlink as nf
from weft.core.wire import rtnetlink as rt
from weft.core.wire import vlan as vl

_NFT = 10 << 8
#: Message types (linux/rtnetlink.h, linux/netfilter/nf_tables.h) and the codec that reads each.
CODECS: dict[int, tuple[Any, Any]] = {
    **dict.fromkeys((16, 17, 108, 109), (rt.put_link, rt.get_link)),
    19: (vl.put_vlans, vl.get_vlans),
    **dict.fromkeys((20, 21), (rt.put_address, rt.get_address)),
    **dict.fromkeys((24, 25), (rt.put_route, rt.get_route)),
    **dict.fromkeys((32, 33), (rt.put_rule, rt.get_rule)),
    **dict.fromkeys((_NFT | 0, _NFT | 2), (nf.put_table, nf.get_table)),
    _NFT | 3: (nf.put_chain, nf.get_chain),
    _NFT | 6: (nf.put_rule, nf.get_rule),
    _NFT | 9: (nf.put_set, nf.get_set),
    **dict.fromkeys((_NFT | 12, _NFT | 14), (nf.put_elements, nf.get_elements)),
}
by_class = pytest.mark.parametrize("kind", STRATEGIES, ids=lambda kind: kind.__name__)
few = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])


def all_ops() -> set[type[Op]]:
    found: set[type[Op]] = set()
    for info in pkgutil.iter_modules(weft.core.ops.__path__):
        module = importlib.import_module(f"weft.core.ops.{info.name}")
        found |= {
            v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Op) and v is not Op
        }
    return found


def test_every_operation_is_tested() -> None:
    assert all_ops() == set(STRATEGIES)


@by_class
@few
@given(data=st.data())
def test_described_in_one_line(kind: type[Op], data: st.DataObject) -> None:
    op = data.draw(STRATEGIES[kind])
    assert op.describe() and op.describe().isprintable()


@by_class
@few
@given(data=st.data())
def test_the_way_back(kind: type[Op], data: st.DataObject) -> None:
    """What takes back is an operation on the same object, or a reason; and it can be taken back too."""
    op = data.draw(STRATEGIES[kind])
    back = op.undo()
    if isinstance(back, Final):
        assert back.reason and back.reason.isprintable()
        return
    assert type(back) in STRATEGIES and back.kind == op.kind
    # What is made from here, in another namespace, is taken back there.
    assert back.netns == (op.peer_netns if isinstance(op, SublinkAdd) else op.netns)
    again = back.undo()
    assert isinstance(again, Final | Op)
    if isinstance(again, Op):
        assert type(again) is kind
        assert again.undo() == back


@by_class
@few
@given(data=st.data())
def test_messages_can_be_read_back(kind: type[Op], data: st.DataObject) -> None:
    op = data.draw(STRATEGIES[kind])
    names = Names(lambda ifname: 7, lambda name: 9)
    if op.kind == "queue":  # tests/core/wire/test_traffic.py
        assert op.encode(names)
        return
    if op.kind not in ("rtnl", "nft"):
        with pytest.raises(NotImplementedError):
            op.encode(names)
        return
    messages = op.encode(names)
    assert messages
    for number, flags, payload in messages:
        put, get = CODECS[number]
        assert flags & 1, "NLM_F_REQUEST"
        found = get(payload)
        assert get(put(found)) == found


@by_class
@few
@given(data=st.data())
def test_the_journal_keeps_it(kind: type[Op], data: st.DataObject) -> None:
    plan = Plan((data.draw(STRATEGIES[kind]),))
    assert load(dump(plan)) == plan


@given(PLANS)
def test_plans_go_through_the_journal(plan: Plan) -> None:
    assert load(dump(plan)) == plan
    assert load(dump(plan.undo())) == plan.undo()
    assert len(plan.describe().splitlines()) == len(plan.ops)


@given(PLANS)
def test_undo_runs_backwards(plan: Plan) -> None:
    expected = [back for op in reversed(plan.ops) if isinstance(back := op.undo(), Op)]
    assert list(plan.undo().ops) == expected


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=4) | st.floats()
MODULES = st.sampled_from(
    (
        "weft.core.ops.netns",
        "weft.core.ops.base",
        "weft.core",
        "weft.core.",
        "weft.core..x",
        "os",
        "weft.wiring",
    )
)
FAKES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=2), inner, max_size=2),
        st.builds(
            lambda module, name, rest: ("@", module, name, *rest),
            MODULES | st.text(max_size=5),
            st.sampled_from(("NetnsDel", "Op", "Names", "quote", "annotations", "", "__name__", "Final")),
            st.lists(inner, max_size=3),
        ),
    ),
    max_leaves=12,
)


def refuses_or_loads(text: str) -> None:
    try:
        plan = load(text)
    except (ValueError, SyntaxError):
        return
    assert isinstance(plan, Plan) and all(type(op) in all_ops() for op in plan.ops)


@given(st.text(max_size=60))
@example("")
@example("\0")
@example("\ud800")
@example("(" * 5000)
@example("(" * 150 + ")" * 150)
@example("(1," * 190 + ")" * 190)
@example("-" * 100_000 + "1")
@example("9" * 5000)
@example("{[]: 1}")
@example("{{}}")
@example("__import__('os').system('id')")
@example("('@',)")
@example("('@', 'weft.core.ops.netns')")
@example("(('@', 'weft.core.nope', 'X'),)")
@example("(('@', 'weft.core.ops.netns', 'NetnsAdd'),)")
@example("(('@', 'weft.core.ops.netns', 'NetnsAdd', 1, 2, 3),)")
@example("(('@', 'weft.core.ops.base', 'Op'),)")
def test_hostile_text(text: str) -> None:
    refuses_or_loads(text)


@given(FAKES)
def test_hostile_literals(value: Any) -> None:
    refuses_or_loads(repr(value))
    refuses_or_loads(repr((value,)))


@given(PLANS, st.data())
def test_damaged_plans(plan: Plan, data: st.DataObject) -> None:
    """A torn or altered text is refused, or is another plan: never another error."""
    text = dump(plan)
    at = data.draw(st.integers(0, len(text)))
    refuses_or_loads(text[:at])
    refuses_or_loads(text[:at] + data.draw(st.text(max_size=3)) + text[at + 1 :])


def test_code_outside_the_head_is_not_loaded() -> None:
    for module in ("os", "weft.linux.files", "weft.coreutils", "..core"):
        with pytest.raises(ValueError, match="not a module of values"):
            load(repr((("@", module, "X"),)))


def attaches(count: int) -> list[tuple[Op, ...]]:
    subnet = Subnet(4, 10 << 24, 8)
    network = Network("0123abcd", "blue", 1, (Pool(subnet, Address(4, subnet.first.value + 1)),), "wb0")
    found = []
    for n in range(count):
        publish = (Publish("tcp", Address(4, 0), 1000 + n, 80),)
        end = Endpoint(
            "0123abcd", "blue", f"c{n}", (Cidr(Address(4, subnet.first.value + 2 + n), 8),), publish=publish
        )
        sandbox = Sandbox("0123abcd", f"c{n}", f"c{n}")
        inside = (*driver.endpoint_wants(network, sandbox, end), *driver.sandbox_starts(sandbox))
        names = driver.names_want(sandbox, end, ["/run/h"])
        found.append((*driver.sandbox_wants(sandbox, "/run/h"), *inside, *names))
    return found


@pytest.mark.parametrize("size", [1, 3, 200])
def test_batched_keeps_the_order_of_each(size: int) -> None:
    plans = attaches(7)
    whole = batched(plans, size).ops
    assert len(whole) == sum(map(len, plans))
    for plan in plans:
        own = set(plan)
        assert tuple([op for op in whole if op in own]) == plan


def test_batched_is_bounded() -> None:
    """At most ``size`` namespaces are between their birth and their last step: each is open descriptors."""
    plans, size = attaches(10), 4
    opened: set[str] = set()
    for op in batched(plans, size).ops:
        if isinstance(op, netns.NetnsAdd):
            opened.add(op.name)
        elif isinstance(op, file.HostsAdd):
            opened.discard(op.names[0])
        assert len(opened) <= size
    assert not opened


def test_batched_brings_likes_together() -> None:
    kinds = [type(op) for op in batched(attaches(5)).ops]
    runs = [kind for n, kind in enumerate(kinds) if n == 0 or kinds[n - 1] is not kind]
    assert runs.count(link.VethAdd) == runs.count(netns.NetnsAdd) == runs.count(nft.ElementAdd) == 1


def test_a_script_of_everything() -> None:
    """Each class once, in one script: the comments say what the lines below do."""
    ops = tables("0123abcd")
    text = script(ops)
    assert [line for line in text.splitlines() if line.startswith("# ")] == [f"# {o.describe()}" for o in ops]
