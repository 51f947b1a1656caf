"""The wishes on disk: durable, in order, each address and port once, and a model beside them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from weft.core.model.address import Address, Cidr, parse_address, parse_subnet
from weft.core.model.errors import Conflict, Damaged, NotFound, StoreError
from weft.core.model.network import Endpoint, Network, Pool, Sandbox
from weft.core.model.publish import Publish, parse_publish
from weft.core.model.state import State
from weft.store.schema import SCHEMA_VERSION
from weft.store.sqlite import SqliteStore

ROOT = "0123abcd"
FORK = multiprocessing.get_context("fork")
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", fullmatch=True).filter(
    lambda name: name not in ("host", "none", "all")
)
#: What execve(2) takes: any bytes but NUL, seen as Python sees argv.
WORDS = st.binary(max_size=12).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))


def network(name: str = "blue", number: int = 1, bridge: str = "") -> Network:
    subnet = parse_subnet(f"10.{number}.0.0/24")
    pool = Pool(subnet, Address(4, subnet.base + 1))
    return Network(ROOT, name, number, (pool,), bridge or f"br{number}", 1400, created=7)


def endpoint(container: str, last: int = 2, *publish: str, net: str = "blue") -> Endpoint:
    ports = tuple(p for spec in publish for p in parse_publish(spec))
    return Endpoint(ROOT, net, container, (Cidr(parse_address(f"10.1.0.{last}"), 24),), publish=ports)


def add(store: SqliteStore, container: str, last: int = 2, *publish: str, net: str = "blue") -> None:
    store.add_container(Sandbox(ROOT, container, container), "created")
    store.add_endpoint(endpoint(container, last, *publish, net=net))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "weft.db")


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    made = SqliteStore(":memory:", ROOT)
    yield made
    made.close()


@pytest.fixture
def blue(store: SqliteStore) -> SqliteStore:
    store.add_network(network())
    return store


# -- the file


def pragmas(path: str) -> dict[str, Any]:
    store = SqliteStore(path, ROOT)
    try:
        names = ("journal_mode", "synchronous", "user_version")
        return {name: store._one(f"PRAGMA {name}")[0] for name in names}
    finally:
        store.close()


def test_wal_full_and_a_version(path: str) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "user_version": SCHEMA_VERSION}
    assert pragmas(path) == wanted
    assert pragmas(path) == wanted, "opened again as well"


def test_the_schema_is_sqlites_own_and_whole(path: str) -> None:
    SqliteStore(path, ROOT).close()
    with sqlite3.connect(path) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    known = "meta network pool container endpoint address resting publish namespace journal spec life event"
    assert tables - {"sqlite_sequence"} == set(known.split())


def test_names_of_namespaces(path: str) -> None:
    store = SqliteStore(path, ROOT)
    with store.write():
        for name in ("blue", "red", "odd"):
            store.add_namespace(name, "made", 1)
        store.set_namespace("blue", 77, b"handle")
        store.set_namespace("red", 78, b"other")
    with pytest.raises(Conflict, match="blue exists already"), store.write():
        store.add_namespace("blue", "adopted", 2)
    with store.write():
        store.retire_namespace("blue")
        store.retire_namespace("odd")  # without a handle nothing could be told of it any more
        store.drop_namespace("red")
        store.add_namespace("blue", "adopted", 2)
    told = [(n.name, n.how, n.inode, n.handle, n.removed) for n in store.namespaces()]
    assert told == [("blue", "made", 77, b"handle", True), ("blue", "adopted", 0, b"", False)]
    with store.write():
        store.bury_namespaces([n.id for n in store.namespaces()])
    assert [n.how for n in store.namespaces()] == ["adopted"], "a name that is in use stays"


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 1])
def test_another_format_is_refused_untouched(path: str, version: int) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE precious (x)")
        db.execute(f"PRAGMA user_version={version}")
    with pytest.raises(StoreError, match=f"format {version}, this weft knows format {SCHEMA_VERSION}"):
        SqliteStore(path, ROOT)
    with sqlite3.connect(path) as db:
        assert [row[0] for row in db.execute("SELECT name FROM sqlite_master")] == ["precious"]


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to have a header" * 20])
def test_a_file_that_is_no_database(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(Damaged, match="is damaged") as caught:
        SqliteStore(path, ROOT)
    assert "weft repair" in caught.value.hint
    assert Path(path).read_bytes() == content


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open database file") as caught:
        SqliteStore(str(tmp_path / "missing" / "weft.db"), ROOT)
    assert "repair" not in caught.value.hint, "a sound database would be thrown away"


def test_a_database_torn_under_us(path: str) -> None:
    """Reading what is no database any more is StoreError, not SQLite's own."""
    store = SqliteStore(path, ROOT)
    with store.write():
        store.add_network(network())
    store.close()
    raw = bytearray(Path(path).read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    Path(path).write_bytes(raw)
    with pytest.raises(Damaged, match="is damaged"):
        SqliteStore(path, ROOT).networks()


def _killed_writer(path: str, commit: bool) -> None:
    """In a process of its own: writes, and is killed without closing anything."""
    store = SqliteStore(path, ROOT)
    transaction = store.write()
    transaction.__enter__()
    store.add_network(network())
    store.begin("network", "blue", "plan", "undo", False)
    if commit:
        transaction.__exit__(None, None, None)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("commit", [True, False])
def test_a_commit_outlives_its_killed_writer_and_nothing_else_does(path: str, commit: bool) -> None:
    writer = FORK.Process(target=_killed_writer, args=(path, commit))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    store = SqliteStore(path, ROOT)
    assert bool(store.networks()) == bool(store.journal()) == commit
    store.close()


def _opener(path: str, barrier: Any, number: int, failures: Any) -> None:
    try:
        barrier.wait()
        store = SqliteStore(path, ROOT)
        with store.write():
            store.put(f"key{number}", "value")
        store.close()
    except Exception as error:
        failures.put(repr(error))


def test_many_open_a_new_database_at_once(path: str) -> None:
    barrier, failures = FORK.Barrier(8), FORK.Queue()
    openers = [FORK.Process(target=_opener, args=(path, barrier, n, failures)) for n in range(8)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    store = SqliteStore(path, ROOT)
    kept = [store.get(f"key{n}") for n in range(8)]
    store.close()
    assert (kept, failures.empty()) == (["value"] * 8, True), None if failures.empty() else failures.get()


# -- transactions


def test_an_error_takes_all_of_a_transaction_back(blue: SqliteStore) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), blue.write():
        add(blue, "web", 2, "8080:80")
        blue.begin("container", "web", "", "", False)
        raise RuntimeError("on purpose")
    assert (blue.containers(), blue.endpoints("blue"), blue.journal()) == ([], (), [])
    assert not blue.needs_proxy()
    with blue.write():
        add(blue, "web")
    assert blue.has_container("web")


# -- networks


def test_a_network_comes_back_as_it_went_in(store: SqliteStore) -> None:
    labels = (("team", "a=b"), ("empty", ""))
    stored = network()._replace(labels=labels)
    store.add_network(stored)
    assert store.network("blue") == stored
    assert store.networks() == (stored,)
    assert store.find_network("red") is None


@pytest.mark.parametrize(
    "other", [network("blue", 2), network("red", 2, bridge="br1"), network("red", 1, bridge="br9")]
)
def test_networks_that_conflict(blue: SqliteStore, other: Network) -> None:
    with pytest.raises(Conflict, match="exists already"):
        blue.add_network(other)
    assert [n.name for n in blue.networks()] == ["blue"]


def test_the_lowest_free_number(blue: SqliteStore) -> None:
    assert blue.free_number() == 2
    blue.add_network(network("red", 2))
    blue.add_network(network("green", 4))
    assert blue.free_number() == 3
    blue.remove_network("blue")
    assert blue.free_number() == 1


def test_where_the_search_for_an_address_starts(blue: SqliteStore) -> None:
    subnet = blue.network("blue").pools[0].subnet
    assert blue.next_address("blue", 0, subnet, 1000, 60) == subnet.base
    blue.set_next_address("blue", 0, parse_address("10.1.0.99"))
    assert blue.next_address("blue", 0, subnet, 1000, 60) == parse_address("10.1.0.99").value


def test_released_addresses_rest_and_are_free_again(blue: SqliteStore) -> None:
    subnet, low, high = (
        blue.network("blue").pools[0].subnet,
        parse_address("10.1.0.5"),
        parse_address("10.1.0.9"),
    )
    blue.set_next_address("blue", 0, parse_address("10.1.0.20"))
    blue.rest("blue", [low, high], 1060)
    assert blue.rests("blue", low, 1059, 60)
    assert not blue.rests("blue", low, 1060, 60)
    assert not blue.rests("blue", low, 900, 60), "it was put to rest before the machine was started"
    assert blue.next_address("blue", 0, subnet, 1059, 60) == parse_address("10.1.0.20").value
    assert blue.next_address("blue", 0, subnet, 1060, 60) == low.value
    assert blue.resting("blue", subnet) == [low, high]
    blue.wake(1059, 60)
    assert blue.resting("blue", subnet) == [low, high]
    blue.wake(1060, 60)
    assert blue.resting("blue", subnet) == []
    assert blue.next_address("blue", 0, subnet, 1060, 60) == low.value


def test_networks_by_id_prefix(blue: SqliteStore) -> None:
    oid = network().id
    for length in (4, 8, 16):
        assert blue.network(oid[:length]).name == "blue"
    for unknown in (oid[:3], "zzzz", "", oid + "0", "%", "____"):
        with pytest.raises(NotFound, match="no network") as caught:
            blue.network(unknown)
        assert caught.value.status == 3


def test_a_name_goes_before_an_id_and_an_ambiguous_prefix_is_nobody(store: SqliteStore) -> None:
    """Two containers whose ids begin alike, and one that is named as another's id begins."""
    ids: dict[str, str] = {}
    for n in range(100_000):
        oid = Sandbox(ROOT, f"c{n}", "").id
        if oid[:4] in ids:
            pair = (ids[oid[:4]], f"c{n}")
            break
        ids[oid[:4]] = f"c{n}"
    for name in (*pair, oid[:4][::-1] + "x"):
        store.add_container(Sandbox(ROOT, name, name), "running")
    with pytest.raises(NotFound):
        store.container(oid[:4])
    assert store.container(oid[:12])[0].name == pair[1]
    store.add_container(Sandbox(ROOT, oid[:4], "x"), "running")
    assert store.container(oid[:4])[0].name == oid[:4]


# -- containers


@given(
    name=NAMES,
    command=st.lists(WORDS, max_size=4).filter(lambda words: words != [""]),
    dns=st.lists(st.ip_addresses().map(str), max_size=3),
    auto_remove=st.booleans(),
)
def test_a_container_comes_back_as_it_went_in(
    name: str, command: list[str], dns: list[str], auto_remove: bool
) -> None:
    store = SqliteStore(":memory:", ROOT)
    sandbox = Sandbox(ROOT, name, "www", tuple(dns), ("example.net",), tuple(command), auto_remove, 1234)
    store.add_container(sandbox, "created")
    assert store.container(name) == (sandbox, State("created"))
    store.close()


def test_a_name_twice(blue: SqliteStore) -> None:
    add(blue, "web")
    with pytest.raises(Conflict, match="container web exists already"):
        blue.add_container(Sandbox(ROOT, "web", "web"), "created")


def test_what_became_of_a_process(blue: SqliteStore) -> None:
    add(blue, "web")
    assert blue.supervised() == []
    running = State("running", 10, 11, watcher=12, watcher_started=13)
    blue.set_state("web", running)
    assert [(s.name, state) for s, state in blue.supervised()] == [("web", running)]
    blue.set_state("web", State("exited", exit_code=137))
    assert blue.container("web")[1] == State("exited", exit_code=137)
    assert blue.supervised() == []


# -- endpoints and ports


def test_an_endpoint_comes_back_as_it_went_in(blue: SqliteStore) -> None:
    stored = endpoint("web", 2, "0.0.0.0:8080:80", "53:53/udp")._replace(
        mac="02:42:ac:11:00:02", ifname="lan0", aliases=("shop", "www")
    )
    blue.add_container(Sandbox(ROOT, "web", "web"), "created")
    blue.add_endpoint(stored)
    assert blue.endpoint("web") == stored
    assert blue.endpoints("blue") == (stored,)
    assert blue.published() == (stored,)
    assert blue.proxied() == {("web", "blue")}
    assert blue.count_endpoints("blue") == 1
    assert blue.address_holder("blue", stored.address) == "web"
    blue.remove_endpoints(stored.container)
    assert blue.endpoint("web") is None
    assert blue.published() == ()
    assert blue.proxied() == frozenset()
    assert blue.address_holder("blue", stored.address) == ""


def test_an_address_is_given_once(blue: SqliteStore) -> None:
    add(blue, "web", 2)
    with pytest.raises(Conflict, match="is taken already"), blue.write():
        add(blue, "db", 2)
    assert not blue.has_container("db")


def test_a_port_is_given_once(blue: SqliteStore) -> None:
    add(blue, "web", 2, "8080:80")
    with pytest.raises(Conflict, match="is taken already"), blue.write():
        add(blue, "db", 3, "8080:81")
    assert blue.endpoints("blue") == (endpoint("web", 2, "8080:80"),)


HOSTS = st.sampled_from(["0.0.0.0", "127.0.0.1", "127.0.0.2", "203.0.113.1"])
PUBLISHES = st.builds(
    Publish,
    st.sampled_from(["tcp", "udp"]),
    HOSTS.map(parse_address),
    st.integers(1, 3),
    st.just(80),
    st.just(0),
    st.just(0),
)


@given(there=PUBLISHES, asked=PUBLISHES)
def test_port_clashes_are_the_models(there: Publish, asked: Publish) -> None:
    store = SqliteStore(":memory:", ROOT)
    store.add_network(network())
    store.add_container(Sandbox(ROOT, "web", "web"), "created")
    store.add_endpoint(endpoint("web")._replace(publish=(there,)))
    assert store.port_holder(asked) == ("web" if there.clashes(asked) else "")
    assert store.needs_proxy() == there.covers_loopback
    store.close()


# -- journal and the root's own values


def test_the_journal_is_read_newest_first(store: SqliteStore) -> None:
    first = store.begin("network", "blue", "plan", "undo 1", False)
    second = store.begin("container", "web", "plan", "undo 2", True)
    assert second > first
    assert [(e.id, e.verb, e.subject, e.undo, e.forward) for e in store.journal()] == [
        (second, "container", "web", "undo 2", True),
        (first, "network", "blue", "undo 1", False),
    ]
    store.end(second)
    store.end(first)
    assert store.journal() == []
    assert store.begin("network", "red", "", "", False) > second, "a number, and so its lock, is never reused"


def test_values_of_the_root(store: SqliteStore) -> None:
    assert store.get("proxy_port") == ""
    store.put("proxy_port", "1")
    store.put("proxy_port", "2")
    assert store.get("proxy_port") == "2"


# -- against a model


class Leases(RuleBasedStateMachine):
    """The store beside a dictionary: whatever is added, removed or taken back, both say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.store = SqliteStore(":memory:", ROOT)
        self.store.add_network(network())
        self.leases: dict[str, Endpoint] = {}

    def teardown(self) -> None:
        self.store.close()

    @rule(
        number=st.integers(0, 5),
        last=st.integers(2, 6),
        publish=st.lists(PUBLISHES, max_size=2),
        keep=st.booleans(),
    )
    def attach(self, number: int, last: int, publish: list[Publish], keep: bool) -> None:
        wanted = endpoint(f"c{number}", last)._replace(publish=tuple(publish))
        taken = (
            wanted.container in self.leases
            or any(lease.address == wanted.address for lease in self.leases.values())
            or len({p.key for p in publish}) < len(publish)
            or any(p.key == q.key for p in publish for lease in self.leases.values() for q in lease.publish)
        )
        try:
            with self.store.write():
                self.store.add_container(Sandbox(ROOT, wanted.container, wanted.container), "created")
                self.store.add_endpoint(wanted)
                if not keep:
                    raise InterruptedError
        except Conflict:
            assert taken
        except InterruptedError:
            assert not taken
        else:
            assert not taken
            self.leases[wanted.container] = wanted

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.leases)))
        with self.store.write():
            self.leases.pop(name)
            self.store.remove_endpoints(name)
            self.store.remove_container(name)

    @invariant()
    def both_say_the_same(self) -> None:
        found = {e.container: e for e in self.store.endpoints("blue")}
        assert found.keys() == self.leases.keys()
        for name, lease in self.leases.items():
            assert found[name].address == lease.address
            assert set(found[name].publish) == set(lease.publish)
            assert self.store.address_holder("blue", lease.address) == name
        addresses = [lease.address for lease in found.values()]
        assert len(set(addresses)) == len(addresses)
        assert [s.name for s, _ in self.store.containers()] == sorted(self.leases)


def test_leases_against_a_model() -> None:
    run_state_machine_as_test(Leases)
