"""How what the machine has found becomes rows, and which namespace a TARGET means."""

from __future__ import annotations

import pytest

from fakes.bench import Bench
from weft.core.model.errors import BadInput, NotFound
from weft.core.model.namespace import TYPES, EngineName, Holder, NsFact
from weft.engine import container, namespace, namespaces, network
from weft.engine.network import NetworkRequest
from weft.engine.request import Join, RunRequest


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_types() -> None:
    assert namespaces.types("all") == TYPES
    assert namespaces.types("net") == ("net",)
    for bad in ("", "NET", "mount", "net,pid", "time_for_children"):
        with pytest.raises(BadInput):
            namespaces.types(bad)


def test_a_row(bench: Bench) -> None:
    docker = EngineName("docker", "web", "ab" * 32)
    held = (Holder("process", 7), Holder("mount", 0, "/run/netns/blue"))
    bench.machine.facts = [
        NsFact(5, "net", ("blue",), (7, 9), "sh -c x", "root", 3, 0, 4, held, docker),
        NsFact(0, "net", ("old",), stale=True),
        NsFact(6, "net", former=("gone",)),
        NsFact(8, "net", ("again",), former=("gone",)),
        NsFact(11, "pid", parent=10, here=True),
    ]
    rows = {row["inode"]: row for row in namespaces.rows(bench.work, TYPES)}
    assert rows[5] == {
        "inode": 5,
        "type": "net",
        "state": "ok",
        "here": False,
        "names": ["blue"],
        "former": [],
        "pids": [7, 9],
        "nprocs": 2,
        "command": "sh -c x",
        "user": "root",
        "owner": 3,
        "parent": None,
        "nsid": 4,
        "links": [],
        "held_by": [
            {"kind": "process", "pid": 7, "where": ""},
            {"kind": "mount", "pid": None, "where": "/run/netns/blue"},
        ],
        "container": {"engine": "docker", "name": "web", "id": "ab" * 32},
    }
    assert {inode: row["state"] for inode, row in rows.items()} == {
        5: "ok",
        0: "stale",
        6: "leaked",
        8: "ok",
        11: "ok",
    }
    assert rows[11]["parent"] == 10 and rows[11]["owner"] is None


def test_the_handles_of_removed_names_are_asked_for(bench: Bench) -> None:
    namespace.add(bench.work, ["blue", "red"])
    namespaces.rows(bench.work, ("net",))
    assert bench.machine.asked == (("net",), ())
    namespace.remove(bench.work, ["red"])
    namespaces.rows(bench.work, ("net", "uts"))
    assert bench.machine.asked == (("net", "uts"), (("red", b"red"),))


def test_wefts_own_name_comes_before_an_engines(bench: Bench) -> None:
    network.create(bench.work, NetworkRequest("blue", ()))
    container.create(bench.work, RunRequest("quiet", (Join("blue"),)))
    id = bench.store.container("quiet")[0].id
    other = EngineName("systemd", "x.service", "x.service")
    bench.machine.facts = [
        NsFact(5, "net", ("quiet",), (7,), container=other),
        NsFact(6, "uts", ("quiet",), (7,), container=other),
    ]
    rows = namespaces.rows(bench.work, TYPES)
    assert [row["container"]["engine"] for row in rows] == ["weft", "systemd"]
    assert rows[0]["container"] == {"engine": "weft", "name": "quiet", "id": id}


def test_which_namespace_is_meant(bench: Bench) -> None:
    namespace.add(bench.work, ["blue", "red"])
    machine = bench.machine
    machine.inodes = {None: {"net": 1, "uts": 2}, 7: {"net": 9, "uts": 8}, 404: {}}
    machine.paths = {"/a": ("uts", 30), "/b": ("", 31)}
    inode = namespaces.inode
    assert [inode(bench.work, t, "net") for t in ("blue", "netns:red", "7", "host")] == [1, 2, 9, 1]
    assert [inode(bench.work, t, "uts") for t in ("7", "host", "/a")] == [8, 2, 30]
    for target, kind in (
        ("/a", "net"),
        ("/b", "uts"),
        ("blue", "uts"),
        ("netns:blue", "pid"),
        ("x/y", "net"),
    ):
        with pytest.raises(BadInput):
            inode(bench.work, target, kind)
    for target, kind in (("404", "net"), ("7", "cgroup"), ("weft:blue", "net")):
        with pytest.raises(NotFound):
            inode(bench.work, target, kind)


def test_identify_and_differing(bench: Bench) -> None:
    namespace.add(bench.work, ["blue", "red"])
    bench.machine.inodes = {None: {"net": 2, "uts": 5}, 7: {"net": 3, "uts": 5}, 404: {}}
    assert namespaces.identify(bench.work, None, ("net",)) == [{"type": "net", "inode": 2, "names": ["red"]}]
    assert namespaces.identify(bench.work, 7, ("net", "pid", "uts")) == [
        {"type": "net", "inode": 3, "names": []},
        {"type": "uts", "inode": 5, "names": []},
    ]
    assert namespaces.differing(bench.work, "host", "7", ("net", "uts")) == ["net"]
    assert namespaces.differing(bench.work, "host", "red", ("net",)) == []
    with pytest.raises(NotFound):
        namespaces.identify(bench.work, 404, ("net",))


def test_pids(bench: Bench) -> None:
    namespace.add(bench.work, ["blue"])
    bench.machine.inside = {"blue": [107, 109]}
    assert namespaces.pids(bench.work, "blue", "net") == [
        {"pid": 107, "nspid": [107, 7]},
        {"pid": 109, "nspid": [109, 9]},
    ]
