"""What the kernel tells of a watched directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.wire.sandbox import command, sandboxed
from core.wire.syscalls import watched
from weft.core.model.errors import WireError
from weft.core.wire import inotify as ino

MASK = (
    ino.IN_CREATE
    | ino.IN_DELETE
    | ino.IN_MOVED_FROM
    | ino.IN_MOVED_TO
    | ino.IN_DELETE_SELF
    | ino.IN_MOVE_SELF
)


def told(fd: int) -> list[ino.Event]:
    return list(ino.get_events(os.read(fd, 1 << 16)))


def test_files_come_move_and_go(tmp_path: Path) -> None:
    fd = watched(str(tmp_path), MASK)
    assert not os.get_inheritable(fd)
    assert not os.get_blocking(fd)
    long = "n" * 255
    (tmp_path / "a").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "a").rename(tmp_path / long)
    (tmp_path / long).unlink()
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\x1b[1m", os.O_CREAT | os.O_WRONLY))
    events = told(fd)
    os.close(fd)
    assert {event.wd for event in events} == {1}
    assert [(event.mask, event.name) for event in events] == [
        (ino.IN_CREATE, "a"),
        (ino.IN_CREATE | ino.IN_ISDIR, "dir"),
        (ino.IN_MOVED_FROM, "a"),
        (ino.IN_MOVED_TO, long),
        (ino.IN_DELETE, long),
        (ino.IN_CREATE, "\udcff\x1b[1m"),
    ]
    cookies = [event.cookie for event in events]
    assert cookies[2] == cookies[3] > 0
    assert cookies[:2] == [0, 0]


def test_the_directory_goes_itself(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    fd = watched(str(place), MASK)
    place.rename(tmp_path / "moved")
    (tmp_path / "moved").rmdir()
    events = told(fd)
    os.close(fd)
    masks = (ino.IN_MOVE_SELF, ino.IN_DELETE_SELF, ino.IN_IGNORED)
    assert events == [ino.Event(1, mask, 0, "") for mask in masks]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        watched(str(tmp_path / "file"), MASK)


def test_too_many_to_keep(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    fd = watched(str(tmp_path), ino.IN_MOVED_FROM | ino.IN_MOVED_TO)
    (tmp_path / "a").touch()
    for _ in range(limit // 4 + 1):
        os.rename(tmp_path / "a", tmp_path / "b")
        os.rename(tmp_path / "b", tmp_path / "a")
    found: list[ino.Event] = []
    while len(found) <= limit:
        found += told(fd)
    os.close(fd)
    assert found[-1] == ino.Event(-1, ino.IN_Q_OVERFLOW, 0, "")
    assert len(found) == limit + 1


@sandboxed
def test_the_names_of_namespaces() -> None:
    command("mount", "-t", "tmpfs", "none", "/run")
    command("ip", "netns", "add", "first")
    fd = watched("/run/netns", MASK)
    command("ip", "netns", "add", "blue")
    command("ip", "netns", "delete", "blue")
    events = told(fd)
    command("umount", "-l", "/run/netns")
    command("umount", "-l", "/run")
    ended = told(fd)
    assert [(event.mask, event.name) for event in events] == [
        (ino.IN_CREATE, "blue"),
        (ino.IN_DELETE, "blue"),
    ]
    masks = (ino.IN_UNMOUNT | ino.IN_ISDIR, ino.IN_IGNORED)
    assert ended == [ino.Event(1, mask, 0, "") for mask in masks]


def test_lengths_that_lie() -> None:
    head = bytes(12)
    for size in (1, 0xFFFF, 0xFFFFFFFF):
        with pytest.raises(WireError):
            list(ino.get_events(head + size.to_bytes(4, "little")))
    assert len(list(ino.get_events(bytes(64)))) == 4
