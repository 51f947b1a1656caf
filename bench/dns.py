"""How many names a second does `weft dns` answer, beside aardvark-dns and dnsmasq, and how large is it?"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable

from world import ENVIRONMENT, NETWORK, Row, library, needs, progress, weft

from weft.engine import edit
from weft.engine.container import RunRequest, attach_many
from weft.engine.request import Join

_MANY = 1000
_SIZES = (10, _MANY)
_ROUNDS, _SECONDS = 3, 2
_GATEWAY = "10.90.0.1"
_FOLDER, _HOSTS = "/run/aardvark", "/run/peer-hosts"
_AARDVARK = "/usr/lib/podman/aardvark-dns"
_MIB = 20


def measure(kind: str) -> list[Row]:
    """The best of three rounds, each server in turn on the same address, asked by the same container."""
    needs({_AARDVARK: "aardvark-dns", "dnsmasq": "dnsmasq-base", "dnsperf": "dnsperf"})
    _world()
    servers = {"weft dns": _weft, "aardvark-dns": _aardvark, "dnsmasq": _dnsmasq}
    found: dict[tuple[str, int], list[float]] = {}
    sizes: dict[str, int] = {}
    for number in range(_ROUNDS):
        for name, start in servers.items():
            pid, stop = start()
            for size in _SIZES:
                found.setdefault((name, size), []).append(_asked(size))
            sizes[name] = max(sizes.get(name, 0), _resident(pid))
            stop()
        progress(f"dns: round {number + 1} of {_ROUNDS}")
    best = {key: max(rates) for key, rates in found.items()}
    rows = [_row(best, size, peer) for size in _SIZES for peer in ("aardvark-dns", "dnsmasq")]
    mine = sizes["weft dns"] / 1024
    peers = ", ".join([f"{n} {s / 1024:.1f} MiB" for n, s in sizes.items() if n != "weft dns"])
    return [*rows, Row("resident", f"{mine:.1f} MiB", peers, "", f"<= {_MIB} MiB", mine <= _MIB)]


def _row(best: dict[tuple[str, int], float], size: int, peer: str) -> Row:
    mine, other = best["weft dns", size], best[peer, size]
    ratio = mine / other
    what = f"DNS by UDP, {size} names of a network of {_MANY}: questions a second (dnsperf)"
    bar = ">= 1 x" if peer == "aardvark-dns" else ""
    return Row(what, f"{mine:.0f}", f"{other:.0f}, {peer}", f"{ratio:.2f}", bar, ratio >= 1 if bar else None)


def _world() -> None:
    """A network of a thousand containers, and the same names for the peers."""
    work = library("tmpfs")
    requests = [RunRequest(f"name{n}", (Join(NETWORK),)) for n in range(_MANY)]
    members = [m for start in range(0, _MANY, 200) for m in attach_many(work, requests[start : start + 200])]
    edit.edit(work, NETWORK, edit.Change(options=(("dns", "true"),)))
    work.store.close()
    os.makedirs(_FOLDER, exist_ok=True)
    addresses = {m.sandbox.name: str(m.endpoint.address) for m in members}
    with open(f"{_FOLDER}/{NETWORK}", "w") as file:
        file.write(f"{_GATEWAY}\n")
        file.writelines(f"{n:064x} {a}  {name}\n" for n, (name, a) in enumerate(addresses.items()))
    with open(_HOSTS, "w") as file:
        file.writelines(f"{a} {name}\n" for name, a in addresses.items())
    for size in _SIZES:
        with open(f"/run/asked{size}", "w") as file:
            file.writelines(f"name{n} A\n" for n in range(size))


def _asked(size: int) -> float:
    """What dnsperf says, in a container."""
    argv = ["nsenter", "--net=/run/netns/name0", "dnsperf", "-s", _GATEWAY, "-d", f"/run/asked{size}"]
    flags = ["-l", str(_SECONDS), "-c", "8"]
    ran = subprocess.run(
        [*argv, *flags],
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    rate = re.search(r"Queries per second: +([\d.]+)", ran.stdout)
    lost = re.search(r"Queries lost: +(\d+)", ran.stdout)
    good = re.search(r"NOERROR \d+ \(100.00%\)", ran.stdout)
    if rate is None or lost is None or int(lost[1]) > 100 or good is None:
        raise SystemExit(f"dnsperf: {ran.stdout}")
    return float(rate[1])


def _weft() -> tuple[int, Callable[[], None]]:
    subprocess.run(weft("dns", "start"), env=ENVIRONMENT, check=True)
    said = subprocess.run(weft("dns"), env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True).stdout
    pid = re.match(r"running, pid (\d+)", said)
    if pid is None:
        raise SystemExit(f"weft dns: {said}")
    return int(pid[1]), lambda: subprocess.run(weft("dns", "stop"), env=ENVIRONMENT, check=True) and None


def _aardvark() -> tuple[int, Callable[[], None]]:
    argv = [_AARDVARK, "--config", _FOLDER, "-p", "53", "run"]
    return _started(argv)


def _dnsmasq() -> tuple[int, Callable[[], None]]:
    flags = "--keep-in-foreground --no-resolv --no-hosts --bind-interfaces --user=root --conf-file=/dev/null"
    argv = ["dnsmasq", *flags.split(), f"--addn-hosts={_HOSTS}", f"--listen-address={_GATEWAY}"]
    return _started(argv)


def _started(argv: list[str]) -> tuple[int, Callable[[], None]]:
    """A peer that listens; whatever it forked ends with its session."""
    process = subprocess.Popen(
        argv, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 10
    while not (pid := _listener()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{argv[0]} does not listen: is it installed?")
        time.sleep(0.02)  # nothing tells

    def stop() -> None:
        os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()
        while _listener():
            time.sleep(0.02)

    return pid, stop


def _listener() -> int:
    """Who listens on the gateway's port 53."""
    said = subprocess.run(
        ["ss", "-Hlunp", "sport = :53"], env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    pid = re.search(r"pid=(\d+)", said)
    return int(pid[1]) if pid else 0


def _resident(pid: int) -> int:
    """KiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
