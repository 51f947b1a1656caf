"""Every netlink request of every command refused by each of twelve errors, one at a time.

What makes something does all of it or leaves nothing; what removes goes on past what the kernel refuses, and
``weft gc`` and ``weft repair`` bring the rest to one of both. The exit status is that of the contract.
"""

from __future__ import annotations

import errno
import itertools

import pytest

from campaigns.faults import SHIM
from crash.stories import BLUE, CONNECT, PORTS, RED, C, State, Story, mended, state, unlike, warm, weft
from harness import Host
from harness.host import PYTHON

ERRORS = (
    *(errno.EPERM, errno.EEXIST, errno.ENOENT, errno.ENODEV, errno.EBUSY, errno.ENOMEM),
    *(errno.ENOBUFS, errno.EINVAL, errno.ENOSPC, errno.EXFULL, errno.EOPNOTSUPP, errno.ENETDOWN),
)
#: "It is not there", which to a removal says that it was done.
GONE = (errno.ENOENT, errno.ENODEV)
#: What a command may end with: 0, and all that core/model/errors.py gives to what the kernel refuses;
#: of ``run`` 125, as the others are its command's.
STATUSES = (0, 1, 3, 4, 5, 125)
#: Faults of each story in the fast set.
FAST = 6

MAKING = (
    Story("net create", (), BLUE, ("net rm blue",)),
    Story("net create, dual", (BLUE,), RED, ("net rm red",)),
    Story("run", (BLUE,), f"{C} -p 8080:80 -p 0.0.0.0:8081:81/udp", ("rm -f c",)),
    Story("connect", (BLUE, RED, C, CONNECT, "net disconnect red c"), CONNECT, ("net disconnect red c",)),
    Story("publish", (BLUE, C), f"net publish blue c {PORTS}", (f"net unpublish blue c {PORTS}",)),
    Story(
        "edit",
        (RED, "run --network red --name c --ip 192.168.11.20 --ip fd11::20 -p 8082:80"),
        "net edit red --isolated true --nat routed --mtu 1400",
        ("net edit red --isolated false --nat nat --mtu 1500",),
    ),
)
REMOVING = (
    Story("net rm", (BLUE,), "net rm blue", (BLUE,)),
    Story("rm", (BLUE, f"{C} -p 8080:80"), "rm -f c", (f"{C} -p 8080:80",)),
    # Not the one that has the default route: repair would not see that it was not given to the other.
    Story(
        "disconnect",
        (BLUE, RED, C, f"{CONNECT} --gw-priority -1"),
        "net disconnect red c",
        (f"{CONNECT} --gw-priority -1",),
    ),
    Story(
        "unpublish",
        (BLUE, C, f"net publish blue c 7000:70 {PORTS}"),
        f"net unpublish blue c {PORTS}",
        (f"net publish blue c {PORTS}",),
    ),
)
STORIES = {story.name: story for story in (*MAKING, *REMOVING)}


class Stage:
    """One host on which a story is told again and again."""

    def __init__(self, host: Host, story: Story) -> None:
        self.host, self.story = host, story
        warm(host)
        for line in story.setup:
            weft(host, line)
        weft(host, "repair")  # which notes the boot that it has seen
        self.pictures: dict[str, State] = {}
        self.pictures["before"] = self.at_rest()
        status, said = self.run(-1, 0)
        assert status == 0, said
        self.requests = int(said.rpartition("requests=")[2])
        self.pictures["after"] = self.at_rest()
        self.go_back()

    def at_rest(self) -> State:
        now = state(self.host)
        assert mended(self.host, {"same": now}), "the machine does not come to rest"
        return now

    def run(self, number: int, error: int) -> tuple[int, str]:
        argv = [*PYTHON, "-c", SHIM, str(number), str(error), *self.story.command.split()]
        done = self.host.run(argv, check=False)
        return done.returncode, done.stderr

    def go_back(self) -> None:
        for line in self.story.back:
            weft(self.host, line)
        assert mended(self.host, {"before": self.pictures["before"]}), self.unlike()

    def unlike(self) -> str:
        lines = []
        for word, picture in self.pictures.items():
            lines += [f"against {word}:", *unlike(self.host, picture)[:12]]
        return "\n".join(lines)

    def refuse(self, number: int, error: int) -> str:
        """Refuses one request; "" or what is wrong with what came of it."""
        status, said = self.run(number, error)
        place = f"{self.story.name}, request {number} of {self.requests}: {errno.errorcode[error]}, {status}"
        if status not in STATUSES or "Traceback" in said or "internal error" in said:
            return f"{place}\n{said}"
        if status and "weft: error: " not in said:
            return f"{place}: no error is named\n{said}"
        weft(self.host, "ps -a")  # the next command lets go of the proxy's port
        if self.story in REMOVING:
            weft(self.host, "gc")
            weft(self.host, "repair")
        found = mended(self.host, self.pictures)
        expected = ("before", "after") if self.story in REMOVING else ("before",) if status else ("after",)
        wrong = "" if found in expected else f"{place}: {found or 'neither'}\n{said}{self.unlike()}"
        if not found:
            self.host.weft("repair", check=False)
            self.host.weft("gc", check=False)
            found = mended(self.host, self.pictures)
            if not found:
                pytest.fail(f"{wrong}\nand repair does not mend it", pytrace=False)
        if found == "after":
            self.go_back()
        return wrong


def told(host: Host, name: str, every: bool) -> None:
    stage = Stage(host, STORIES[name])
    errors = [e for e in ERRORS if stage.story not in REMOVING or e not in GONE]
    if every:
        faults = list(itertools.product(range(stage.requests), errors))
    else:
        count = min(FAST, stage.requests)
        faults = [(n * stage.requests // count, errors[n * len(errors) // count]) for n in range(count)]
    wrong = [text for number, error in faults if (text := stage.refuse(number, error))]
    print(f"\n{name}: {stage.requests} requests, {len(faults)} refusals, {len(wrong)} wrong")
    assert not wrong, f"{len(wrong)} of {len(faults)}\n" + "\n\n".join(wrong)


@pytest.mark.parametrize("name", STORIES)
def test_some_requests_refused(host: Host, name: str) -> None:
    told(host, name, every=False)


@pytest.mark.campaign
@pytest.mark.parametrize("name", STORIES)
def test_every_request_refused_by_every_error(host: Host, name: str) -> None:
    told(host, name, every=True)
