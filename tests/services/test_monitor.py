"""The monitor's parts by themselves: the log and its rotation, the detach keys, clients, health."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.core.model.clock import SECOND, parse_time, shown
from weft.core.model.errors import BadInput
from weft.core.wire.cri import STDERR, STDOUT, get_entry, put_entries
from weft.linux import logs
from weft.linux.terminal import Keys
from weft.services import attached
from weft.services.attached import Clients
from weft.services.health import Health
from weft.services.logfile import LogFile, stamp

TIME = b"2026-11-25T08:44:50.123456789Z"


# -- entries


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_entries_are_what_was_written(pieces: list[bytes]) -> None:
    written = b"".join(put_entries(TIME, STDOUT, piece) for piece in pieces)
    entries = [get_entry(line) for line in written.split(b"\n")[:-1]]
    assert b"".join(e.data for e in entries if e is not None) == b"".join(pieces)
    assert None not in entries


@given(st.binary(max_size=80))
def test_what_is_no_entry(line: bytes) -> None:
    found = get_entry(line)
    assert found is None or line.startswith(found.time + b" " + found.stream)


def test_known_entries() -> None:
    """As containerd and kubelet write and read them."""
    entry = get_entry(b"2016-10-06T00:17:09.669794202Z stdout P log content 1")
    assert entry is not None and (entry.full, entry.content) == (False, b"log content 1")
    assert put_entries(TIME, STDERR, b"a\n\nb") == b"".join(
        [TIME + b" stderr F a\n", TIME + b" stderr F \n", TIME + b" stderr P b\n"]
    )


def test_times() -> None:
    now = time.time_ns()
    assert abs(parse_time(stamp().decode(), 0, "x") - now) < 60 * SECOND
    assert shown(parse_time(shown(now), 0, "x")) == shown(now)
    assert parse_time("90", 0, "x") == 90 * SECOND and parse_time("10m", now, "x") == now - 600 * SECOND
    assert parse_time("2026-11-25T08:44:50+01:30", 0, "x") == parse_time("2026-11-25T07:14:50Z", 0, "x")
    for text in (
        "",
        "now",
        "2026-13-01",
        "2026-11-25T25:00:00Z",
        "2026-11-25T08:44:50+1",
        "1.",
        "-5",
        "2026-1-1",
    ):
        with pytest.raises(BadInput):
            parse_time(text, now, "x")


# -- the log


def read(path: Path) -> bytes:
    return b"".join(e.data for e in logs.read(str(path), b"", -1))


@settings(max_examples=30)
@given(data=st.lists(st.binary(min_size=1, max_size=300), max_size=40), size=st.integers(64, 2000))
def test_what_is_kept_is_the_end(
    tmp_path_factory: pytest.TempPathFactory, data: list[bytes], size: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "c.log"
    log = LogFile(str(path), size, 3)
    for piece in data:
        log.write(STDOUT, piece)
    kept = read(path)
    assert b"".join(data).endswith(kept)
    assert len(list(path.parent.iterdir())) <= 3
    longest = max([len(e) + 40 for piece in data for e in piece.split(b"\n")], default=0)
    assert all(p.stat().st_size <= max(size, longest) for p in path.parent.iterdir())


def test_a_line_of_10_mib(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    log = LogFile(str(path), 64 << 20, 3)
    chunk = bytes(range(11, 256)) * 133
    for _ in range(330):
        log.write(STDOUT, chunk)
    log.write(STDOUT, b"\n")
    kept = read(path)
    assert len(kept) > 10 << 20
    assert kept == chunk * 330 + b"\n"


def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    """No directory, then one again: the command never waits, and what it lost is told."""
    folder = tmp_path / "logs"
    log = LogFile(str(folder / "c.log"), 1 << 20, 3)
    log.write(STDOUT, b"lost\n")
    log.write(STDOUT, b"too\n")
    folder.mkdir()
    log.write(STDOUT, b"kept\n")
    assert (
        read(folder / "c.log") == b"weft: 9 bytes of output were lost here: No such file or directory\nkept\n"
    )


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "c.log").symlink_to(target)
    LogFile(str(tmp_path / "c.log"), 1 << 20, 3).write(STDOUT, b"x\n")
    assert target.read_text() == "mine"


def test_a_damaged_log(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    path.write_bytes(
        b"\0\xff nonsense\n" + put_entries(TIME, STDOUT, b"good\n") + b"2026-11-25T08:44:50.1234567"
    )
    assert read(path) == b"good\n"
    assert [e.data for e in logs.read(str(path), TIME + b"z", -1)] == []


# -- the keys


@given(st.binary(max_size=40), st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_keys(typed: bytes, cuts: list[int]) -> None:
    """However it comes in pieces: all up to the keys is passed on, and nothing but their beginning kept."""
    keys = Keys(b"\x10\x11")
    passed, left, at = b"", False, 0
    sizes = iter(cuts * 50)
    while at < len(typed) and not left:
        size = next(sizes)
        data, left = keys.take(typed[at : at + size])
        passed, at = passed + data, at + size
    place = typed.find(b"\x10\x11")
    if place >= 0:
        assert (passed, left) == (typed[:place], True)
    else:
        assert passed == (typed[:-1] if typed.endswith(b"\x10") else typed) and not left


def test_no_keys() -> None:
    assert Keys(b"").take(b"\x10\x11") == (b"\x10\x11", False)


# -- those who look on


class Door:
    """Clients at a listening socket, and what they asked for."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.path)
        listener.listen(64)
        self.typed: list[bytes | None] = []
        self.sizes: list[tuple[int, int]] = []
        raw = socket.SocketType(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, listener.detach())
        self.clients = Clients(raw, self.typed.append, lambda r, c: self.sizes.append((r, c)))

    def come(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        found.connect(self.path)
        found.settimeout(5)
        self.clients.admit()
        return found

    def look(self) -> None:
        import select

        watched = select.poll()
        for fd, events in self.clients.watch(True):
            watched.register(fd, events)
        for fd, events in watched.poll(0):
            self.clients.ready(fd, events)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "door")
    yield made
    made.clients.close_door()


def test_packets(door: Door) -> None:
    one, other = door.come(), door.come()
    one.send(b"ihello")
    other.send(b"w24 80")
    door.look()
    one.send(b"e")
    door.look()
    assert (door.typed, door.sizes) == ([b"hello", None], [(24, 80)])
    door.clients.tell(b"o", b"out")
    assert one.recv(100) == other.recv(100) == b"oout"


@pytest.mark.parametrize(
    "packet", [b"", b"x1", b"w", b"w1", b"w1 2 3", b"wa b", b"i", b"ee", b"\xff" * 1000, b"w" + b"9" * 40]
)
def test_no_packets(door: Door, packet: bytes) -> None:
    """Who sends that is let go; the others stay."""
    good, bad = door.come(), door.come()
    bad.send(packet)
    door.look()
    assert len(door.clients.known) == 1
    assert (door.typed, door.sizes) == ([], [])
    good.send(b"istill")
    door.look()
    assert door.typed == [b"still"]


def test_a_flood_of_clients(door: Door) -> None:
    some = [door.come() for _ in range(attached.CLIENTS)]
    more = door.come()
    assert more.recv(10) == b""
    assert len(door.clients.known) == attached.CLIENTS
    some[0].close()
    door.look()
    again = door.come()
    again.send(b"ihere")
    door.look()
    assert door.typed == [b"here"]


def test_one_who_does_not_read(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds the command up while there is hope, and is cut off then; the others lose nothing."""
    slow, good = door.come(), door.come()
    sent = 0
    while not door.clients.full:
        door.clients.tell(b"o", b"x" * 8192)
        sent += 8192
        assert good.recv(9000) == b"o" + b"x" * 8192
    assert attached.WAITING < sent < 4 * attached.WAITING
    now = time.monotonic()
    left = door.clients.stall(now)
    assert left is not None and 0 < left <= attached.STALL
    assert slow.recv(9000)[:1] == b"o"
    door.look()  # it took something
    assert door.clients.stall(now + attached.STALL + 60) is None
    assert (len(door.clients.known), any(c.size for c in door.clients.known.values())) == (1, False)
    door.clients.tell(b"o", b"end")
    assert good.recv(10) == b"oend"


# -- health


def settled(health: Health, until: float = 10.0) -> None:
    """Goes on until no child of it runs."""
    import select

    end = time.monotonic() + until
    while time.monotonic() < end:
        health.tick(time.monotonic())
        if health.output >= 0:
            select.select([health.output], [], [], 0.5)
            health.hear()
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            health.ended(pid, os.waitstatus_to_exitcode(status))
            if not health.pid:
                return


def test_health_changes(tmp_path: Path) -> None:
    flag, notes = tmp_path / "ok", tmp_path / "notes"
    check = ["/bin/sh", "-c", f"echo seen; test -e {flag}"]
    note = ["/bin/sh", "-c", f'echo "$1 $2 $3" >> {notes}', "note"]
    health = Health(check, note, (0.0, 5.0, 0.0, 0.0, 2), b"paused")
    for _ in range(2):
        settled(health)
    assert (health.status, health.failures) == ("unhealthy", 2)
    flag.write_text("")
    settled(health)
    assert (health.status, health.failures) == ("healthy", 0)
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        health.ended(pid, status)
    assert notes.read_text() == "unhealthy 2 seen\n\nhealthy 0 seen\n\n"


def test_a_check_that_cannot_be_run(tmp_path: Path) -> None:
    health = Health(["/no/such/program"], ["/bin/true"], (0.0, 5.0, 0.0, 0.0, 1), b"paused")
    health.tick(time.monotonic())
    assert health.status == "unhealthy"
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
