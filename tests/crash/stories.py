"""What the crash tests have in common: a host's whole state as a value, and commands with their way back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness import REPO, Host, diff, settle, snapshot
from harness.crash import Point
from harness.host import PYTHON

WEFT = str(REPO / "weft")
State = dict[str, Any]

#: Prints the rows of weft's database without what is different every time: times and process numbers.
#: Read inside the host, since SQLite follows /proc/PID/root out of it.
ROWS = """
import json, os, sqlite3, sys
state = sys.argv[1]
db = sqlite3.connect(f"file:{state}/weft.db?mode=ro", uri=True)
skip = {"created", "pid", "started", "watcher", "watcher_started", "next"}
skip |= {"started_at", "finished_at", "stopped"}
said = {"logs": sorted(os.listdir(f"{state}/logs")) if os.path.isdir(f"{state}/logs") else []}
for table in ("network", "container", "endpoint", "publish", "meta", "journal", "life", "spec"):
    found = db.execute(f"SELECT * FROM {table}")
    names = [d[0] for d in found.description]
    said[table] = sorted([f"{n}={v}" for n, v in zip(names, row) if n not in skip] for row in found)
# A removed name stays on record until its namespace is known to be gone, which takes as long as it takes.
said["namespace"] = sorted(list(row) for row in db.execute("SELECT name, how FROM namespace WHERE removed=0"))
said["pids"] = db.execute("SELECT count(*) FROM container WHERE pid IS NOT NULL").fetchone()[0]
print(json.dumps(said))
"""


class Story(NamedTuple):
    """A command, what must be there before it, and what leads back from after it.

    ``any_exit``: the command in the container ends by itself or by the kill, so its status tells nothing.
    ``halfway`` leads to a third state that may come of it, and back to that before it.
    """

    name: str
    setup: tuple[str, ...]
    command: str
    back: tuple[str, ...]
    any_exit: bool = False
    halfway: tuple[str, ...] = ()


BLUE = "net create blue --subnet 192.168.10.0/24"
SLEEP = "-- sleep 1000"
C = "run --network blue --name c --ip 192.168.10.20"
#: Stands behind ``c`` in the hosts file, with a line of another length.
LATE = "run --network blue --name later-one --ip 192.168.10.30 --network-alias another-name"
OTHER = "run --network blue --name other --ip 192.168.10.40 -p 9090:90 -p 9091:91/udp"
PORTS = "0.0.0.0:8080:80 8081:81/udp [::1]:8080:80"
RED = "net create red --subnet 192.168.11.0/24 --subnet fd11::/64 --mtu 1500"
CONNECT = "net connect red c --ip 192.168.11.20 --ip fd11::20 --alias second -p 8082:80"
NAMES = "ns add red green"
SWITCH = "switch add br0 --addr 10.0.5.254/24"
PLUG = "switch plug br0 red=10.0.5.1/24 green=10.0.5.2/24,fd05::2/64"

STORIES = {
    story.name: story
    for story in (
        Story("net-create", (), BLUE, ("net rm blue",)),
        Story("net-create-second", (BLUE,), "net create red --subnet 192.168.11.0/24", ("net rm red",)),
        Story("net-create-dns", (), f"{BLUE} -o dns=true", ("net rm blue",)),
        Story("net-rm-dns", (f"{BLUE} -o dns=true",), "net rm blue", (f"{BLUE} -o dns=true",)),
        Story("net-edit-dns", (BLUE, C), "net edit blue -o dns=true", ("net edit blue -o dns=",)),
        Story("net-rm", (BLUE,), "net rm blue", (BLUE,)),
        Story(
            "net-rm-force",
            (BLUE, f"{C} -d -p 8080:80 {SLEEP}"),
            "net rm -f blue",
            (BLUE, f"{C} -d -p 8080:80 {SLEEP}"),
        ),
        Story("run", (BLUE,), C, ("rm c",)),
        Story("run-foreground", (BLUE,), f"{C} -- true", ("rm c",), any_exit=True),
        Story("run-detached", (BLUE,), f"{C} -d {SLEEP}", ("rm -f c",)),
        Story("run-detached-ends", (BLUE,), f"{C} -d -- true", ("rm -f c",), any_exit=True),
        Story("run-first-port", (BLUE,), f"{C} -d -p 8080:80 -p 8081:81/udp {SLEEP}", ("rm -f c",)),
        Story("run-next-port", (BLUE, OTHER), f"{C} -p 0.0.0.0:8080:80", ("rm -f c",)),
        Story("rm", (BLUE, C, LATE), "rm c", ("rm later-one", C, LATE)),
        Story("rm-exited", (BLUE, f"{C} -- false"), "rm c", (f"{C} -- false",)),
        Story(
            "rm-force", (BLUE, f"{C} -d {SLEEP}", LATE), "rm -f c", ("rm later-one", f"{C} -d {SLEEP}", LATE)
        ),
        Story(
            "rm-last-port", (BLUE, f"{C} -d -p 8080:80 {SLEEP}"), "rm -f c", (f"{C} -d -p 8080:80 {SLEEP}",)
        ),
        Story("net-publish", (BLUE, C), f"net publish blue c {PORTS}", (f"net unpublish blue c {PORTS}",)),
        Story(
            "net-publish-next",
            (BLUE, OTHER, C),
            f"net publish blue c {PORTS}",
            (f"net unpublish blue c {PORTS}",),
        ),
        Story(
            "net-unpublish",
            (BLUE, C, f"net publish blue c 7000:70 {PORTS}"),
            f"net unpublish blue c {PORTS}",
            (f"net publish blue c {PORTS}",),
        ),
        Story(
            "net-unpublish-last",
            (BLUE, C, f"net publish blue c {PORTS}"),
            f"net unpublish blue c {PORTS}",
            (f"net publish blue c {PORTS}",),
        ),
        # Once it was in two networks a container keeps its own hosts file.
        Story(
            "net-connect",
            (BLUE, RED, f"{C} -d {SLEEP}", CONNECT, "net disconnect red c"),
            CONNECT,
            ("net disconnect red c",),
        ),
        Story("net-disconnect", (BLUE, RED, C, CONNECT), "net disconnect red c", (CONNECT,)),
        Story(
            "net-connect-namespace",
            (RED, "ns add a"),
            "net connect red a --ip 192.168.11.20 --ip fd11::20",
            ("net disconnect red a",),
        ),
        Story(
            "net-edit",
            (BLUE, RED, f"{C} -p 8080:80", CONNECT),
            "net edit red --isolated true --nat routed --mtu 1400 --label a=b",
            ("net edit red --isolated false --nat nat --mtu 1500 --label a=",),
        ),
        Story("ns-add", (), "ns add a b", ("ns rm a b",)),
        Story("ns-adopt", ("ns add a",), "ns adopt b a", ("ns rm b",)),
        Story("ns-rm", ("ns add a b",), "ns rm a b", ("ns add a b",)),
        Story(
            "wire", (NAMES,), "wire red=10.0.1.1/24 green=10.0.1.2/24,fd01::2/64", ("link rm eth0 --in red",)
        ),
        Story("wire-host", (NAMES,), "wire green:up host:down=10.0.1.1/24", ("link rm up --in green",)),
        Story("link-rm", (NAMES, "wire red host:down"), "link rm down", ("wire red host:down",)),
        Story("switch-add", (), f"{SWITCH} --stp", ("switch rm br0",)),
        Story("switch-plug", (NAMES, SWITCH), PLUG, ("switch unplug br0 red green",)),
        Story("switch-unplug", (NAMES, SWITCH, PLUG), "switch unplug br0 red green", (PLUG,)),
        Story("switch-rm", (NAMES, SWITCH, PLUG), "switch rm br0", (SWITCH, PLUG)),
        Story("stop", (BLUE, f"{C} -d -p 8080:80 {SLEEP}"), "stop c", ("start c",)),
        Story("kill", (BLUE, f"{C} -d {SLEEP}"), "kill c", ("start c",)),
        Story("start", (BLUE, f"{C} -d -p 8080:80 {SLEEP}", "stop c"), "start c", ("stop c",)),
        Story(
            "restart", (BLUE, f"{C} -d -p 8080:80 {SLEEP}"), "restart c", (), halfway=("stop c", "start c")
        ),
        Story("rename", (BLUE, f"{C} -d {SLEEP}", "stop c"), "rename c d", ("rename d c",)),
        Story(
            "run-restarts", (BLUE,), f"{C} -d --restart on-failure:1 -- false", ("rm -f c",), any_exit=True
        ),
        Story("run-terminal", (BLUE,), f"{C} -dit {SLEEP}", ("rm -f c",)),
        Story("rm-one-port", (BLUE, OTHER, f"{C} -p 8080:80"), "rm -f c other", (OTHER, f"{C} -p 8080:80")),
    )
}


def weft(host: Host, line: str, ok: Sequence[int] = (0,)) -> str:
    """One command line; what it said to stderr. Commands that fail on purpose are ``-- false``."""
    done = host.weft(*line.split(), check=False)
    expected = (1,) if line.endswith("-- false") else ok
    assert done.returncode in expected, f"weft {line}: {done.returncode}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr


def rows(host: Host, state: str = "/var/lib/weft") -> State:
    """The database and the names of the logs."""
    found: State = json.loads(host.run([*PYTHON, "-c", ROWS, state]).stdout)
    return found


def state(host: Host, any_exit: bool = False) -> State:
    """Everything: rows, kernel, files, processes."""
    found = {"rows": rows(host), **snapshot(host, wait=False)}
    for link in found["netns"]["host"]["links"].values():
        link.pop("tso_max_size")  # a bridge's follows its ports', and stays when the last one goes
    found["processes"] = sorted(re.sub(r"\bpid=\d+", "pid=N", line) for line in found["processes"])
    if any_exit:
        said = ("exit_code=", "restarts=", "backoff=")
        for table in ("container", "life"):
            found["rows"][table] = [
                [c for c in row if not c.startswith(said)] for row in found["rows"][table]
            ]
    return found


def mended(host: Host, wanted: Mapping[str, State], any_exit: bool = False) -> str:
    """Which of the wanted states the host has come to, "" when none within five seconds.

    The kernel ends namespaces and processes when it has time, so what is seen at once may be halfway.
    """
    found: list[str] = []

    def known() -> bool:
        now = state(host, any_exit)
        found[:] = [word for word, picture in wanted.items() if picture == now]
        return bool(found)

    settle(host, known)
    return found[0] if found else ""


def warm(host: Host) -> State:
    """What stays for good once anything was made (ip_forward, /run/netns, directories) comes first."""
    for line in (f"{BLUE} -o dns=true", RED, f"{C} -p 8080:80", CONNECT, "rm c", "net rm blue red"):
        weft(host, line)
    assert settle(host, lambda: not snapshot(host, wait=False)["processes"])
    return state(host)


def sample(points: Sequence[Point], count: int) -> list[Point]:
    """Deterministic, spread over time and kinds: of each system call the middle and the last time."""
    times: dict[str, list[Point]] = {}
    for point in points:
        times.setdefault(point[0], []).append(point)
    telling = {p for same in times.values() for p in (same[len(same) // 2], same[-1])}
    found = [p for p in points if p in telling]
    return [found[i * len(found) // count] for i in range(count)] if len(found) > count else found


def unlike(host: Host, picture: State) -> list[str]:
    """How the host differs from a picture now."""
    return diff(picture, state(host))
