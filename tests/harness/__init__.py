"""Throw-away machines (host), pictures of the kernel (snapshot), deaths at every system call (crash)."""

from harness.crash import points, run_killed
from harness.host import REPO, CommandFailed, Host, Lan, Page, Process
from harness.snapshot import Snapshot, diff, differences, settle, snapshot

__all__ = [
    "REPO",
    "CommandFailed",
    "Host",
    "Lan",
    "Page",
    "Process",
    "Snapshot",
    "diff",
    "differences",
    "points",
    "run_killed",
    "settle",
    "snapshot",
]
