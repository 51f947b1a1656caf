"""A container's life as tests look at it: weft's own words, processes, and what is left in the end."""

from __future__ import annotations

import json
from typing import Any

from harness import REPO, Host, Process, settle

WEFT = str(REPO / "weft")
#: Waits for signals; nobody who outlives it holds its output open.
IDLE = "while :; do sleep 1000 > /dev/null 2>&1 & wait $!; done"


def run(host: Host, *words: str, name: str = "c", **options: Any) -> Any:
    """``weft run`` in the network blue; what came of it."""
    return host.weft("run", "--name", name, "--network", "blue", *words, check=False, **options)


def shell(host: Host, script: str, *flags: str, name: str = "c", **options: Any) -> Any:
    return run(host, *flags, "--", "sh", "-c", script, name=name, **options)


def inspect(host: Host, name: str = "c") -> dict[str, Any]:
    (found,) = host.weft_json("inspect", name)
    return dict(found)


def state(host: Host, name: str = "c") -> tuple[str, int | None]:
    found = inspect(host, name)
    return found["state"], found["exit_code"]


def running(host: Host, command: str) -> list[int]:
    """The processes of the machine that are exactly this command, whoever its ancestors are."""
    rows = [line.split(None, 1) for line in host.run(["ps", "-eo", "pid=,args="]).stdout.splitlines()]
    return [int(pid) for pid, args in rows if args == command]


def commands(host: Host) -> str:
    """What runs on the machine, and whose children they are."""
    return host.run(["ps", "-eo", "pid,ppid,args"]).stdout


def monitor_of(host: Host, pid: int) -> int:
    return int(host.run(["ps", "-o", "ppid=", "-p", str(pid)]).stdout)


def command_of(host: Host, name: str = "c") -> int:
    """The process of a container's command, which its pid 1 has started before all others."""
    init = inspect(host, name)["pid"]
    return int(host.read(f"/proc/{init}/task/{init}/children").split()[0])


def clear(host: Host) -> None:
    """Removes all containers, and looks for what is left of them."""
    names = host.weft("ps", "-aq").stdout.split()
    if names:
        host.weft("rm", "-f", *names)
    assert settle(host, lambda: not leftovers(host)), leftovers(host)


def leftovers(host: Host) -> list[str]:
    found = [f"link {link['ifname']}" for link in json.loads(host.ip("-j", "link")) if "wv" in link["ifname"]]
    if "LOWER_UP" in host.ip("-br", "link", "show", "type", "bridge"):
        found.append("a bridge still has a port")
    for directory in ("/run/netns", "/etc/netns", "/var/lib/weft/logs"):
        if host.path(directory).exists():
            found += [f"{directory}/{entry.name}" for entry in host.path(directory).iterdir()]
    found += [
        line for line in host.nft("list", "set", "bridge", "weft", "lease4").splitlines() if "weft:" in line
    ]
    found += [line for line in commands(host).splitlines() if "/weft " in line or "sleep" in line]
    hosts = host.read("/run/weft/hosts/blue").splitlines()
    return found + [line for line in hosts if not line.endswith(("localhost", "loopback"))]


def heard(process: Process) -> str:
    assert process.stdout
    return process.stdout.readline().strip()
