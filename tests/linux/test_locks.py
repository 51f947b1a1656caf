"""Locks between weft's processes: who excludes whom, and that a death of any kind lets go."""

from __future__ import annotations

import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from harness import Host
from linux.inside import children, inside, open_fds
from weft.linux.locks import ChangeLock, EntryLocks

RUN = "/run/weft"


def holder(act: str) -> tuple[int, int]:
    """A process that takes a lock and keeps it until it is killed, or told to end: its pid and that pipe."""
    hear, tell = os.pipe()
    wait, end = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(end)
        try:
            if act == "change":
                ChangeLock(RUN).__enter__()
            else:
                assert EntryLocks(RUN).take(int(act))
            os.write(tell, b"+")
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(tell)
    os.close(wait)
    assert os.read(hear, 1) == b"+"
    os.close(hear)
    return pid, end


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# -- the lock of changes


@inside
def test_one_change_at_a_time(host: Host) -> None:
    """Eight processes, two threads each, a step that loses counts when two do it at once."""
    os.makedirs(RUN)
    counter = Path("/run/counter")
    counter.write_text("0")

    def count() -> None:
        lock = ChangeLock(RUN)
        for _ in range(25):
            with lock:
                seen = int(counter.read_text())
                os.sched_yield()
                counter.write_text(str(seen + 1))

    def act(_: int) -> None:
        threads = [threading.Thread(target=count) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert children(8, act) == [0] * 8
    assert counter.read_text() == "400"


@inside
def test_a_killed_holder_holds_nothing(host: Host) -> None:
    os.makedirs(RUN)
    pid, _ = holder("change")
    taken = threading.Event()

    def take() -> None:
        with ChangeLock(RUN):
            taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert not taken.wait(0.05), "it is held"
    kill(pid)
    thread.join()
    assert taken.is_set()


@inside
def test_a_lock_may_be_taken_again_and_after_an_error(host: Host) -> None:
    os.makedirs(RUN)
    lock, before = ChangeLock(RUN), open_fds()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), lock:
            (fd,) = open_fds() - before
            assert not os.get_inheritable(int(fd.split()[0]))
            raise ZeroDivisionError
        with ChangeLock(RUN):
            pass
    assert stat.S_IMODE(os.stat(f"{RUN}/lock").st_mode) == 0o600
    assert open_fds() == before


@inside
def test_a_change_is_not_held_by_a_child_that_was_forked_meanwhile(host: Host) -> None:
    os.makedirs(RUN)
    hear, tell = os.pipe()
    with ChangeLock(RUN):
        pid = os.fork()
        if not pid:
            os.close(tell)
            os.read(hear, 1)
            os._exit(0)
    with ChangeLock(RUN):
        pass
    os.close(tell)
    os.waitpid(pid, 0)


@inside
def test_before_the_first_change_there_is_nothing_to_lock(host: Host) -> None:
    """A dry run on a machine that weft has never changed: it leaves no file."""
    with ChangeLock(RUN):
        assert not os.path.exists(RUN)


# -- the locks of journal entries


@inside
def test_an_entry_is_its_writers_as_long_as_that_lives(host: Host) -> None:
    os.makedirs(RUN)
    mine = EntryLocks(RUN)
    pid, end = holder("7")
    assert not mine.take(7)
    assert mine.take(8), "other entries are other locks"
    assert not mine.take(7)
    kill(pid)
    assert mine.take(7)
    pid, end = holder("9")
    assert not mine.take(9)
    os.close(end)
    os.waitpid(pid, 0)
    assert mine.take(9)


@inside
def test_an_entry_excludes_the_same_process_too(host: Host) -> None:
    """Two threads of a library, each with its own: POSIX locks would let both have it."""
    os.makedirs(RUN)
    one, other = EntryLocks(RUN), EntryLocks(RUN)
    assert one.take(1)
    assert not other.take(1)
    assert not one.take(1), "its own writer does not recover it either"
    # Closing another descriptor of the file would let go of a POSIX lock.
    os.close(os.open(f"{RUN}/journal.lock", os.O_RDWR))
    assert not other.take(1)
    one.release(1)
    assert other.take(1)
    assert not one.take(1)


@inside
def test_nothing_stays_open(host: Host) -> None:
    os.makedirs(RUN)
    locks, other = EntryLocks(RUN), EntryLocks(RUN)
    before = open_fds()
    for entry in range(50):
        assert locks.take(entry)
        assert not other.take(entry)
        locks.release(entry)
        locks.release(entry)  # twice is fine
    assert open_fds() == before


@inside
def test_a_child_that_was_forked_meanwhile_does_not_hold_it(host: Host) -> None:
    """An open file description is shared with children: what is released is released for all."""
    os.makedirs(RUN)
    locks, other = EntryLocks(RUN), EntryLocks(RUN)
    assert locks.take(1)
    hear, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(tell)
        os.read(hear, 1)
        os._exit(0)
    assert not other.take(1)
    locks.release(1)
    assert other.take(1)
    os.close(tell)
    os.waitpid(pid, 0)
