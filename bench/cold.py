"""What does one attach cost as a whole process, and which imports does it pay for?"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import count
from statistics import median

from world import (
    BARE,
    ENVIRONMENT,
    NETWORK,
    SUBNET,
    Peer,
    Row,
    interleaved,
    ms,
    progress,
    spawn,
    spread,
    weft,
)

_ROUNDS = 30
_BAR = 0.025


def measure(kind: str) -> list[Row]:
    """User and system time of the process, by wait4(2)."""
    number, peer = count(1), Peer()
    walls: list[float] = []
    spawn(weft("net", "create", NETWORK, "--subnet", SUBNET))

    def attach(publish: str) -> Callable[[], float]:
        def action() -> float:
            n = next(number)
            port = ["-p", f"{publish}:{20000 + n}:80"] if publish else []
            spent = spawn(weft("run", "-d", "-q", "--name", f"web{n}", "--network", NETWORK, *port))
            if publish == "127.0.0.1":
                walls.append(spent.wall)
            return spent.cpu

        return action

    def three() -> float:
        return peer.attach(peer.prepare()).cpu

    actions = {"bare": lambda: spawn(BARE).cpu, "peer": three}
    actions |= {"none": attach(""), "127": attach("127.0.0.1"), "any": attach("0.0.0.0")}
    found = interleaved(actions, _ROUNDS)
    three_ = f"{spread(found['peer'])}, three processes"
    rows = []
    for key, what in (("127", "-p 127.0.0.1:N:80"), ("any", "-p 0.0.0.0:N:80"), ("none", "no port")):
        cpu = median(found[key])
        title = f"`weft run -d`, cold, CPU: {what}, state on {kind}"
        ratio = f"{cpu / median(found['peer']):.2f}"
        rows.append(Row(title, spread(found[key]), three_, ratio, f"<= {ms(_BAR)}", cpu <= _BAR))
    rows.append(Row(f"the first of these, wall time, state on {kind}", spread(walls)))
    rows.append(Row("bare interpreter (`python3 -IS -c pass`), CPU", spread(found["bare"])))
    return rows


def imports() -> None:
    """Prints what each module of a hot `weft run -d` takes to import (python -X importtime)."""
    spawn(weft("net", "create", "imports"))
    spawn(weft("run", "-d", "--name", "first", "--network", "imports", "-p", "9:9"))
    words = weft("run", "-d", "--name", "second", "--network", "imports", "-p", "10:10")
    argv = ["/usr/bin/python3", "-IS", "-X", "importtime", *words]
    told = subprocess.run(argv, env=ENVIRONMENT, check=True, capture_output=True, text=True).stderr
    spent: dict[str, int] = {}
    for line in told.splitlines():
        own, _, name = line.removeprefix("import time:").split("|") if line.count("|") == 2 else ("", "", "")
        if own.strip().isdigit():
            spent[name.strip()] = int(own)
    ours = {name: own for name, own in spent.items() if name.split(".")[0] == "weft"}
    own, rest = sum(ours.values()), sum(spent.values()) - sum(ours.values())
    progress(f"imports: weft {own} us in {len(ours)} modules, others {rest} us")
    for name, own in sorted(spent.items(), key=lambda pair: -pair[1])[:40]:
        progress(f"{own:6} us  {name}")
