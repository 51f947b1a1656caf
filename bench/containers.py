"""What do containers with a command cost as whole processes, beside runc and ip?"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import count
from statistics import median
from typing import Any

from world import ENVIRONMENT, NETWORK, SUBNET, Peer, Row, Spent, against, interleaved, ms, spawn, timed, weft

_ROUNDS = 20
_MANY = 200
_BAR_CPU, _BAR_START, _BAR_END = 0.06, 10.0, 3.0
_ROOT = "/run/root"
_MOUNTS = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
)


def _program(name: str) -> str:
    found = shutil.which(name, path=ENVIRONMENT["PATH"])
    if not found:
        raise SystemExit(f"bench: {name} is missing: apt-get install {name}")
    return found


def _furnish() -> None:
    """The root that both use: busybox, and nothing else."""
    for folder in ("bin", "proc", "dev", "sys", "etc", "tmp"):
        os.makedirs(f"{_ROOT}/{folder}")
    shutil.copy(_program("busybox"), f"{_ROOT}/bin/busybox")
    for tool in ("true", "sleep"):
        os.symlink("busybox", f"{_ROOT}/bin/{tool}")


class Runc:
    """A careful script's container: its network made by ``ip``, its command started by runc."""

    def __init__(self) -> None:
        self.peer, self.runc = Peer(), _program("runc")
        spawn([self.runc, "spec", "--bundle", self._bundle("spec")])
        with open("/run/bundles/spec/config.json") as file:
            self.spec: dict[str, Any] = json.load(file)

    def _bundle(self, name: str) -> str:
        path = f"/run/bundles/{name}"
        os.makedirs(path, exist_ok=True)
        return path

    def prepare(self, command: Sequence[str]) -> str:
        """Writes a bundle like what weft makes, in a network namespace by its path; the name."""
        name = self.peer.prepare()
        process: Mapping[str, Any] = {**self.spec["process"], "terminal": False, "args": [*command]}
        linux = dict(self.spec["linux"])
        kinds = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
        linux["namespaces"] = [*kinds, {"type": "network", "path": f"/run/netns/{name}"}]
        mounts = [
            {"destination": to, "type": kind, "source": source, "options": [*options]}
            for to, kind, source, options in _MOUNTS
        ]
        root = {"path": _ROOT, "readonly": False}
        config = {**self.spec, "process": process, "linux": linux, "mounts": mounts, "root": root}
        with open(f"{self._bundle(name)}/config.json", "w") as file:
            json.dump(config, file)
        return name

    def run(self, name: str, detached: bool = False) -> Spent:
        """Makes it, waits for its command, and takes it away."""
        spent = [self.peer.attach(name)]
        words = [self.runc, "run", *(["-d"] if detached else []), "-b", f"/run/bundles/{name}", name]
        spent.append(spawn(words))
        wall, cpu = sum([s.wall for s in spent]), sum([s.cpu for s in spent])
        return Spent(wall if detached else wall + self.peer.detach(name, link_first=True), cpu)


def measure(kind: str) -> list[Row]:
    """Wall time of the caller; CPU of the processes that it waits for (wait4(2))."""
    _furnish()
    spawn(weft("net", "create", NETWORK, "--subnet", SUBNET))
    runc = Runc()
    return [*_runs(runc), *_execs(runc), *_lots()]


def _runs(runc: Runc) -> list[Row]:
    base = ("run", "--rm", "--network", NETWORK)
    cpu: list[float] = []

    def on_files() -> float:
        spent = spawn(weft(*base, "--", "/bin/true"))
        cpu.append(spent.cpu)
        return spent.wall

    def on_root() -> float:
        return spawn(weft(*base, "--rootfs", _ROOT, "--", "/bin/true")).wall

    def peer() -> float:
        return runc.run(runc.prepare(["/bin/true"])).wall

    found = interleaved({"files": on_files, "root": on_root, "runc": peer}, _ROUNDS)
    middle = median(cpu)
    return [
        against("`weft run --rm -- /bin/true`, wall time", found["files"], found["runc"], 0.4, _RUNC),
        against("the same with `--rootfs` of busybox", found["root"], found["runc"], 0.4, _RUNC),
        Row("the first of these, CPU", ms(middle), bar=f"<= {ms(_BAR_CPU)}", met=middle <= _BAR_CPU),
    ]


_RUNC = ", `ip` and `runc run`"


def _execs(runc: Runc) -> list[Row]:
    name = runc.prepare(["/bin/sleep", "1000"])
    runc.run(name, detached=True)
    on_root = ("--rootfs", _ROOT, "--", "/bin/sleep", "1000")
    spawn(weft("run", "-d", "-q", "--name", "job", "--network", NETWORK, *on_root))
    actions = {
        "weft": lambda: spawn(weft("exec", "job", "--", "/bin/true")).wall,
        "runc": lambda: spawn([runc.runc, "exec", name, "/bin/true"]).wall,
    }
    found = interleaved(actions, _ROUNDS)
    spawn([runc.runc, "delete", "--force", name])
    spawn(weft("rm", "-f", "job"))
    return [against("`weft exec C -- true`, wall time", found["weft"], found["runc"], 0.5, ", `runc exec`")]


def _lots() -> list[Row]:
    number = count(1)

    def start() -> None:
        name = ("--name", f"many{next(number)}")
        spawn(weft("run", "-d", "-q", *name, "--network", NETWORK, "--", "/bin/sleep", "1000"))

    started = timed(lambda: [start() for _ in range(_MANY)])
    names = [f"many{n}" for n in range(1, _MANY + 1)]
    ended = timed(lambda: spawn(weft("rm", "-f", "-q", *names)))
    return [
        _least(f"{_MANY} containers started one after another, detached", started, _BAR_START),
        _least(f"all {_MANY} stopped and removed", ended, _BAR_END),
    ]


def _least(what: str, seconds: float, bar: float) -> Row:
    return Row(what, f"{seconds:.1f} s", bar=f"<= {bar:.0f} s", met=seconds <= bar)
