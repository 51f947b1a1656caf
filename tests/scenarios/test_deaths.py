"""kill -9 of a monitor, a foreground weft, a command, or of both: the next command says so and mends."""

from __future__ import annotations

import json

import pytest

from harness import Host, diff, settle, snapshot
from harness.host import HERE, PYTHON
from scenarios.life import (
    IDLE,
    WEFT,
    clear,
    command_of,
    heard,
    inspect,
    monitor_of,
    run,
    running,
    shell,
    state,
)

PLACE = ("--ip", "192.168.10.50", "-p", "0.0.0.0:8080:80")
#: The command, and a child of it that outlives both.
PAIR = "setsid sleep 4712 > /dev/null 2>&1 & exec sleep 4711"


def freed(host: Host) -> None:
    """The exited container's address and port are free, and it is only a name."""
    assert run(host, *PLACE, name="next").returncode == 0
    host.weft("rm", "next")
    assert host.weft("rm", "c").stderr == ""


@pytest.mark.parametrize("pids", ["private", "host"])
@pytest.mark.parametrize("who", ["monitor", "both"])
def test_a_monitor_is_killed(one: Host, who: str, pids: str) -> None:
    """Its command goes with it at once, and with a pid namespace all that is in that; the next command says
    so, ends what is left and frees the place."""
    shell(one, PAIR, "-d", "--pid", pids, *PLACE)
    assert settle(one, lambda: bool(running(one, "sleep 4712")))
    pid = inspect(one)["pid"]
    victims = [monitor_of(one, pid)] + ([pid] if who == "both" else [])
    one.sh(f"kill -9 {' '.join(map(str, victims))} || true")  # the second may have gone with the first
    assert settle(one, lambda: not running(one, "sleep 4711"))
    if pids == "private":
        assert settle(one, lambda: not running(one, "sleep 4712"))
    else:
        assert running(one, "sleep 4712")
    said = one.weft("ps", "-a")
    assert said.stderr == "weft: container c and its monitor were killed: cleaning up\n"
    assert "exited (137)" in said.stdout
    assert not running(one, "sleep 4711") + running(one, "sleep 4712")
    assert one.weft("ps", "-a").stderr == ""
    freed(one)


@pytest.mark.parametrize("who", ["weft", "both"])
def test_a_foreground_weft_is_killed(one: Host, who: str) -> None:
    argv = [WEFT, "run", "--name", "c", "--network", "blue", *PLACE, "--", "sh", "-c", f"echo; {PAIR}"]
    process = one.popen(argv)
    assert heard(process) == ""
    assert settle(one, lambda: inspect(one)["state"] == "running")
    victims = [process.inner_pid()] + ([inspect(one)["pid"]] if who == "both" else [])
    one.sh(f"kill -9 {' '.join(map(str, victims))} || true")  # the second may have gone with the first
    process.wait()
    process.end()
    assert settle(one, lambda: not running(one, "sleep 4711"))
    said = one.weft("ps", "-a")
    assert "container c and its monitor were killed: cleaning up" in said.stderr
    assert "exited (137)" in said.stdout
    assert not running(one, "sleep 4711") + running(one, "sleep 4712")
    freed(one)


def test_a_command_is_killed(one: Host) -> None:
    """Whoever waits for it puts that on record: the next command has nothing to mend."""
    shell(one, PAIR, "-d", *PLACE)
    one.sh(f"kill -9 {inspect(one)['pid']}")
    assert settle(one, lambda: state(one) == ("exited", 137))
    assert not running(one, "sleep 4711") + running(one, "sleep 4712")
    freed(one)
    process = one.popen(
        [WEFT, "run", "--name", "c", "--network", "blue", *PLACE, "--", "sh", "-c", f"echo; {PAIR}"]
    )
    assert heard(process) == ""
    assert settle(one, lambda: inspect(one)["state"] == "running")
    one.sh(f"kill -9 {inspect(one)['pid']}")
    assert process.wait() == 137
    assert "cleaning" not in process.communicate()[1]
    process.end()
    assert state(one) == ("exited", 137)
    freed(one)


def test_a_monitor_of_an_auto_removed_one_is_killed(one: Host) -> None:
    run(one, "-d", "--rm", *PLACE, "--", "sleep", "4711")
    one.sh(f"kill -9 {monitor_of(one, inspect(one)['pid'])}")
    assert settle(one, lambda: not running(one, "sleep 4711"))
    assert "cleaning up" in one.weft("ps", "-a").stderr
    assert one.weft("ps", "-aq").stdout == ""
    assert run(one, *PLACE).returncode == 0


@pytest.mark.parametrize("flag", ["--init=false", "--pid=host"])
def test_a_command_that_outlives_its_monitor(one: Host, flag: str) -> None:
    """It has asked not to die with its parent, and has no init which would: it goes on, and is cleaned up
    after when it has ended."""
    run(one, "-d", flag, *PLACE, "--", "setpriv", "--pdeathsig", "clear", "sleep", "4711")
    assert settle(one, lambda: bool(running(one, "sleep 4711")))
    pid = inspect(one)["pid"]
    one.sh(f"kill -9 {monitor_of(one, pid)}")
    said = one.weft("ps", "--format", "json")
    assert (said.stderr, [row["pid"] for row in json.loads(said.stdout)]) == ("", [pid])
    assert one.weft("exec", "c", "--", "hostname").stdout == "c\n"
    one.sh(f"kill -9 {pid}")  # a pid 1 is deaf to what it has no handler for
    assert settle(one, lambda: not running(one, "sleep 4711"))
    assert "cleaning up" in one.weft("ps", "-a").stderr
    assert state(one) == ("exited", 137)
    freed(one)


def test_a_name_is_taken_off(one: Host) -> None:
    """Held by its name alone, a container ends with it; by a process, it goes on."""
    one.weft("run", "--name", "bare", "--network", "blue")
    run(one, "-d", "--", "sleep", "1000")
    one.sh("ip netns del bare; ip netns del c")
    assert (state(one, "bare"), state(one)) == (("exited", None), ("running", None))
    assert inspect(one)["pids"] == [inspect(one)["pid"], command_of(one)]
    assert one.weft("ps", "-q").stdout == "c\n"
    one.weft("rm", "bare")
    one.weft("rm", "-f", "c")


def test_a_number_that_another_process_has_got(one: Host) -> None:
    """Monitor and command are killed, and an innocent gets the command's pid: weft leaves it alone."""
    run(one, "-d", *PLACE, "--", "sleep", "4711")
    pid = inspect(one)["pid"]
    one.sh(f"kill -9 {monitor_of(one, pid)}")
    assert settle(one, lambda: not running(one, "sleep 4711"))
    again = f"echo {pid - 1} > /proc/sys/kernel/ns_last_pid; sleep 4712 > /run/null 2>&1 & echo $!"
    got = one.sh(f"for i in 1 2 3 4 5; do {again}; done").split()
    assert str(pid) in got
    assert "cleaning up" in one.weft("ps", "-a").stderr
    assert state(one) == ("exited", 137)
    assert len(running(one, "sleep 4712")) == 5
    one.weft("rm", "-f", "c")
    assert len(running(one, "sleep 4712")) == 5
    one.sh(f"kill {' '.join(got)}")


# -- the others go on


def test_ports_go_on_when_others_go(one: Host) -> None:
    """On 127.0.0.1 and on the gateway, from the host, a sibling and itself, whatever becomes of others."""
    serve = (*PYTHON, str(HERE / "pages.py"), "http", "", "80")
    gateway = "192.168.10.1"
    # The one that starts the proxy is in the foreground, and is the first to go.
    first = one.popen(
        [
            WEFT,
            "run",
            "--name",
            "first",
            "--network",
            "blue",
            "-p",
            "7000:70",
            "--",
            "sh",
            "-c",
            f"echo; {IDLE}",
        ]
    )
    assert heard(first) == ""
    run(one, "-d", "-p", "0.0.0.0:8080:80", "--", *serve, "web", name="web")
    run(one, "-d", "-p", "8081:80", "--", *serve, "other", name="other")
    run(one, name="sibling")

    def reached() -> tuple[str, ...]:
        asked = (("web", gateway), ("sibling", gateway), (None, "127.0.0.1"), (None, gateway))
        return tuple(one.fetch(f"http://{address}:8080/", netns=who).body for who, address in asked)

    assert settle(one, lambda: reached() == ("web",) * 4)
    first.terminate()
    assert first.wait() == 143
    first.end()
    assert reached() == ("web",) * 4
    assert one.fetch("http://127.0.0.1:8081/").body == "other"
    one.sh(f"kill -9 {monitor_of(one, inspect(one, 'other')['pid'])}")
    assert settle(one, lambda: not running(one, " ".join((*serve, "other"))))
    assert "cleaning up" in one.weft("ps").stderr
    assert reached() == ("web",) * 4
    one.weft("rm", "other", "first")
    assert reached() == ("web",) * 4
    one.sh("kill -9 $(pgrep -f loopback-serve)")
    assert reached() == ("web", "web", "", "web")
    assert "the loopback proxy was killed: starting it again" in one.weft("ps").stderr
    assert reached() == ("web",) * 4


def test_the_picture_is_the_same_in_both_modes() -> None:
    """What a container makes on the host does not depend on how the host's mounts propagate, but for that."""
    pictures = []
    for shared in (False, True):
        with Host(shared=shared) as host:
            host.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
            run(host, "-d", *PLACE, "--", "sleep", "1000")
            seen = snapshot(host)
            seen["mounts"] = sorted({line.rpartition(" ")[0] for line in seen["mounts"]})
            pictures.append(seen)
            clear(host)
    assert diff(*pictures) == []
