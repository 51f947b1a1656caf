"""``weft ns watch`` beside what `ip` and `unshare` do: everything told once, in order, live."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

import pytest

from harness import Host, Process
from harness.host import PYTHON, REPO


class Heard:
    """A running watch and what it has told so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.rows: list[dict[str, Any]] = []

    def until(self, known: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Reads on until such a row comes; the watch is ended after a minute."""
        assert self.process.stdout
        while line := self.process.stdout.readline():
            self.rows.append(json.loads(line))
            if known(self.rows[-1]):
                return self.rows[-1]
        raise AssertionError(f"it ended; told: {self.rows}")

    def event(self, event: str, **keys: object) -> dict[str, Any]:
        return self.until(lambda row: row["event"] == event and all(row[k] == v for k, v in keys.items()))


#: With a socket that holds a handful of notices.
DEAF = f"""
import sys
sys.path.insert(0, {str(REPO / "src")!r})
from weft.linux import scratch
scratch.RECEIVE_BUFFER = 1 << 14
from weft.frontends.cli.main import main
main(["ns", "watch", "--format", "json"])
"""


@contextmanager
def watching(host: Host, deaf: bool = False) -> Iterator[Heard]:
    weft = [str(REPO / "weft"), "ns", "watch", "--format", "json"]
    process = host.popen([*PYTHON, "-c", DEAF] if deaf else weft)
    assert process.stderr
    # What never comes is an error, not a test without end.
    bound = Timer(60, process.kill)
    bound.start()
    try:
        assert process.stderr.readline().startswith("weft: watching ")
        yield Heard(process)
    finally:
        bound.cancel()
        process.end()
        host.processes.remove(process)


def inode(host: Host, name: str) -> int:
    return int(host.run(["stat", "-c%i", f"/run/netns/{name}"]).stdout)


@pytest.mark.parametrize("how", ["ip netns add", "weft ns add"])
def test_names_and_namespaces_whoever_makes_them(host: Host, how: str) -> None:
    with watching(host) as heard:
        words = how.split()
        host.run([str(REPO / "weft") if words[0] == "weft" else "ip", *words[1:], "red"])
        number = inode(host, "red")
        assert heard.event("named", ns="red")["inode"] == number
        if not any(row["event"] == "born" for row in heard.rows):  # a look through /proc may have been first
            heard.event("born", inode=number)
        host.ip("netns", "del", "red")
        heard.event("died", inode=number)
        told = [row["event"] for row in heard.rows if row["inode"] == number and "link" not in row["event"]]
        assert sorted(told[:2]) == ["born", "named"] and told[2:] in (["unnamed", "died"], ["died"]), told


def test_a_link_that_moves_from_namespace_to_namespace(host: Host) -> None:
    host.sh("ip netns add red\nip netns add blue")
    with watching(host) as heard:
        host.sh("ip link add v0 type veth peer name v1\nip link set v1 netns red name eth0")
        heard.event("link-new", ns="host", ifname="v1", kind="veth")
        assert heard.event("link-in", ns="red", ifname="v1")["other"] == "host"
        heard.event("link-renamed", ns="red", ifname="eth0", other="v1")
        host.sh("ip -n red link set eth0 netns blue")
        heard.event("link-out", ns="red", ifname="eth0")
        assert heard.event("link-in", ns="blue")["other"] == "red"
        host.sh("ip -n blue link set eth0 name lan\nip link del v0")
        assert heard.event("link-renamed", ns="blue", ifname="lan")["other"] == "eth0"
        heard.event("link-gone", ns="blue", ifname="lan")
        assert len([row for row in heard.rows if row["event"] == "link-in"]) == 2


def test_a_namespace_without_a_name(host: Host) -> None:
    with watching(host) as heard:
        process = host.popen(["unshare", "--net", "sleep", "60"])
        born = heard.until(lambda row: row["event"] == "born")
        assert (born["ns"], born["pid"]) == ("", process.inner_pid())
        process.end()
        heard.event("died", inode=born["inode"])


def test_the_hosts_own_ids_are_left_alone(host: Host) -> None:
    host.ip("netns", "add", "red")
    with watching(host) as heard:
        host.ip("netns", "add", "blue")
        heard.event("named", ns="blue")
        assert host.ip("netns", "list-id") == ""


def test_more_links_than_the_socket_holds(host: Host) -> None:
    """What the kernel dropped is made up for by looking again."""
    host.ip("netns", "add", "red")
    with watching(host, deaf=True) as heard:
        heard.process.send_signal(signal.SIGSTOP)  # it reads nothing for a while
        lines = "\n".join(f"link add l{n} type veth peer name p{n} netns red" for n in range(50))
        host.run(["ip", "-batch", "-"], input=lines)
        os.kill(heard.process.pid, signal.SIGCONT)  # nsenter has stopped too, and passes this on
        seen = {"host": set[str](), "red": set[str]()}
        while len(seen["host"]) < 50 or len(seen["red"]) < 50:
            row = heard.until(lambda row: row["event"] == "link-new")
            if row["ns"] in seen:
                assert row["ifname"] not in seen[row["ns"]]
                seen[row["ns"]].add(row["ifname"])


def test_lines_for_people_show_hostile_names_harmless(host: Host) -> None:
    process = host.popen([str(REPO / "weft"), "ns", "watch"])
    assert process.stderr
    assert process.stdout
    assert process.stderr.readline().startswith("weft: watching ")
    host.run(["ip", "link", "add", "a\x1b[31m", "type", "bridge"])
    line = process.stdout.readline()
    assert r"link-new      host  a\x1b[31m" in line
    process.end()
