"""Puts each question to a machine of its own, in turn, and prints the answers as one table in Markdown."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence

import machine
from world import Row, progress

#: Each question, and the places of weft's state it is asked for.
QUESTIONS = {
    "attach": ("memory", "tmpfs", "disk"),
    "connect": ("memory",),
    "cold": ("tmpfs", "disk"),
    "detach": ("tmpfs",),
    "thousand": ("tmpfs", "disk"),
    "memory": ("tmpfs",),
    "names": ("tmpfs",),
    "namespaces": ("tmpfs",),
    "links": ("tmpfs",),
    "enter": ("tmpfs",),
    "containers": ("tmpfs",),
    "repair": ("tmpfs",),
    "publish": ("memory", "tmpfs", "disk"),
    "netavark": ("tmpfs", "disk"),
    "traffic": ("memory",),
    "cni": ("tmpfs",),
    "dns": ("tmpfs",),
}
_HEAD = Row("what", "weft", "peer", "ratio", "bar")
_RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")
_MET = {None: "", True: "met", False: "missed"}


def _line(row: Row, met: str) -> str:
    return f"| {' | '.join([row.what, row.weft, row.peer, row.ratio, row.bar, met])} |"


def _ask(question: str, kind: str, imports: bool) -> list[Row]:
    flags = ["--imports"] if imports else []
    start = time.monotonic()
    told = machine.run([_RUN, "--inside", question, kind, *flags], on_disk=kind == "disk")
    progress(f"{question} ({kind}): {time.monotonic() - start:.0f} s")
    return [Row(*json.loads(line)) for line in told.splitlines()]


def _answer(question: str, kind: str, flags: Sequence[str]) -> None:
    """Inside the machine: one row a line."""
    room = __import__(question)
    if flags:
        room.imports()
    for row in room.measure(kind):
        print(json.dumps(row))


def main(argv: Sequence[str]) -> int:
    """``bench/run``: 0, whatever was measured; 2 for wrong usage."""
    if (
        argv[:1] == ["--inside"] and os.getppid() == 1
    ):  # the machine's shell; never this machine's own network
        _answer(argv[1], argv[2], argv[3:])
        return 0
    wanted = [a for a in argv if a != "--imports"] or list(QUESTIONS)
    if not set(wanted) <= set(QUESTIONS):
        progress(f"usage: bench/run [{'|'.join(QUESTIONS)}]... [--imports]")
        return 2
    print(f"{machine.summary()}; the disk is {machine.disk()}.\n")
    print(_line(_HEAD, ""))
    print("|---" * 6 + "|", flush=True)
    for question in wanted:
        for kind in QUESTIONS[question]:
            for row in _ask(question, kind, "--imports" in argv and (question, kind) == ("cold", "tmpfs")):
                print(_line(row, _MET[row.met]), flush=True)
    return 0
