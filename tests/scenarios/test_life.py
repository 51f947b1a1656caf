"""Containers logged, stopped, killed, awaited, started again by hand and by policy, renamed; what is told."""

from __future__ import annotations

import json
import signal
import time

import pytest

from harness import Host, settle
from harness.host import HERE, PYTHON
from scenarios.life import IDLE, WEFT, heard, inspect, run, running, shell, state

PLACE = ("--ip", "192.168.10.50", "-p", "0.0.0.0:8080:80")


def exits(host: Host, *words: str) -> int:
    return host.weft(*words, check=False).returncode


# -- logs


def test_both_streams_and_times(one: Host) -> None:
    shell(one, "echo one; echo two >&2; sleep 0.1; printf three; exit 2", "-d")
    assert one.weft("wait", "c").stdout == "2\n"
    done = one.weft("logs", "c")
    assert (done.stdout, done.stderr) == ("one\nthree", "two\n")
    stamped = one.weft("logs", "--timestamps", "c").stdout.splitlines()
    times = [line.split()[0] for line in stamped]
    assert [line.split()[1] for line in stamped] == ["one", "three"] and times == sorted(times)
    raw = one.read("/var/lib/weft/logs/c.log").splitlines()
    assert [line.split(" ", 1)[1] for line in raw if "stdout" in line] == ["stdout F one", "stdout P three"]
    assert one.weft("logs", "--tail", "1", "c").stdout == "three"
    assert one.weft("logs", "-n0", "c").stdout == ""
    assert one.weft("logs", "--since", times[1], "c").stdout == "three"
    assert one.weft("logs", "--until", times[0], "c").stdout == "one\n"
    assert one.weft("logs", "--since", "10m", "c").stdout == "one\nthree"
    assert one.weft("logs", "--since", str(int(time.time()) + 60), "c").stdout == ""
    for flag in ("--since=yesterday", "--tail=-1", "--tail=x", "--until=1x"):
        assert exits(one, "logs", flag, "c") == 2


def test_nothing_was_said(one: Host) -> None:
    shell(one, "sleep 1000", "-d")
    assert one.weft("logs", "c").stdout == ""
    follower = one.popen([WEFT, "logs", "-f", "c"])
    one.weft("kill", "c")
    assert (follower.communicate()[0], follower.returncode) == ("", 0)
    assert one.weft("logs", "c").stdout == ""
    assert exits(one, "run", "-d", "--name", "no", "--network", "none", "--", "/etc/passwd") == 126
    assert "no.log" not in one.sh("ls /var/lib/weft/logs")


def test_a_log_with_nothing_in_it(one: Host) -> None:
    """It is there from the start, and can be followed."""
    run(one, "-di", "--", "sh", "-c", "read x; echo $x")
    assert one.weft("logs", "c").stdout == ""
    follower = one.popen([WEFT, "logs", "-f", "c"])
    one.weft("attach", "c", input="late\n", check=False)
    assert follower.communicate(timeout=20) == ("late\n", "")
    one.weft("rm", "c")
    shell(one, "exit 0", name="f")
    assert "has no log" in one.weft("logs", "f", check=False).stderr


def test_rotated_and_followed(one: Host) -> None:
    """Not a line is missed, not one told twice, and what was rotated away is gone."""
    limits = ("--log-opt", "max-size=8k", "--log-opt", "max-file=4")
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; read x"
    run(one, "-di", *limits, "--", "sh", "-c", script)
    follower = one.popen([WEFT, "logs", "-f", "c"])
    assert settle(one, lambda: "line 2999\n" in one.weft("logs", "--tail", "1", "c").stdout)
    one.weft("attach", "c", input="\n", check=False)
    told, err = follower.communicate(timeout=20)
    numbers = [int(line.split()[1]) for line in told.splitlines()]
    assert (err, numbers) == ("", list(range(numbers[0], 3000)))
    files = sorted(p.name for p in one.path("/var/lib/weft/logs").iterdir())
    assert files == ["c.log", "c.log.1", "c.log.2", "c.log.3"]
    assert all(p.stat().st_size <= 8192 for p in one.path("/var/lib/weft/logs").iterdir())
    kept = [int(line.split()[1]) for line in one.weft("logs", "c").stdout.splitlines()]
    assert kept == list(range(kept[0], 3000)) and 0 < kept[0] < 2900
    one.weft("rm", "c")
    assert list(one.path("/var/lib/weft/logs").iterdir()) == []


def test_following_goes_on_through_restarts(one: Host) -> None:
    run(one, "-d", "--restart", "on-failure:2", "--", "sh", "-c", "echo life; exit 1")
    done = one.weft("logs", "-f", "c")
    assert done.stdout == "life\n" * 3
    assert state(one) == ("exited", 1)
    assert one.weft("logs", "-f", "c").stdout == "life\n" * 3


# -- stop, kill, wait


def test_stopped_at_once_together(one: Host) -> None:
    """Three that take their time end in that of one; one that does not listen is killed."""
    slow = "trap 'sleep 0.5; exit 3' TERM; while :; do sleep 0.05; done"
    for name in ("a", "b", "d"):
        shell(one, f"echo ready; {slow}", "-d", name=name)
    shell(one, "trap '' TERM; echo ready; while :; do sleep 0.05; done", "-d", name="deaf")
    assert settle(one, lambda: all(one.weft("logs", n).stdout for n in ("a", "b", "d", "deaf")))
    assert one.weft("stop", "-t", "1", "a", "b", "d", "deaf").stdout == "a\nb\nd\ndeaf\n"
    assert [state(one, n) for n in ("a", "b", "d")] == [("exited", 3)] * 3
    assert state(one, "deaf") == ("exited", 137)
    assert one.weft("stop", "a").stdout == "a\n", "stopped already"
    assert exits(one, "stop", "a", "nobody") == 3
    assert exits(one, "stop", "-t", "x", "a") == 2


def test_stop_signal_and_no_process(one: Host) -> None:
    script = "trap 'exit 8' USR1; echo ready; while :; do sleep 0.05; done"
    shell(one, script, "-d", "--stop-signal", "SIGUSR1", "--stop-timeout", "30")
    assert settle(one, lambda: one.weft("logs", "c").stdout != "")
    one.weft("stop", "c")
    assert state(one) == ("exited", 8)
    run(one, *PLACE, name="bare")
    assert one.weft("stop", "bare").stdout == "bare\n"
    assert (state(one, "bare"), inspect(one, "bare")["networks"]) == (("exited", 0), {})
    one.weft("start", "bare")
    assert inspect(one, "bare")["networks"]["blue"]["addresses"] == ["192.168.10.50/24"]
    assert one.pings("192.168.10.50")
    done = one.weft("stop", "--dry-run", "bare")
    assert state(one, "bare") == ("running", None) and done.returncode == 0


def test_a_foreground_one_is_stopped(one: Host) -> None:
    client = one.popen([WEFT, "run", "--name", "c", "--network", "blue", "--", "sh", "-c", f"echo; {IDLE}"])
    assert heard(client) == ""
    one.weft("stop", "c")
    assert client.wait(10) == 143
    client.end()
    assert state(one) == ("exited", 143)


def test_kill(one: Host) -> None:
    shell(one, "trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done", "-d", "--restart", "always")
    assert settle(one, lambda: one.weft("logs", "c").stdout == "ready\n")
    one.weft("kill", "-s", "HUP", "c")
    assert settle(one, lambda: "hup\n" in one.weft("logs", "c").stdout)
    assert one.weft("kill", "c").stdout == "c\n"
    assert state(one) == ("exited", 137), "a killed one is not started again"
    done = one.weft("kill", "c", check=False)
    assert (done.returncode, "has exited" in done.stderr) == (4, True)
    run(one, name="bare")
    assert "has no process" in one.weft("kill", "bare", check=False).stderr
    assert exits(one, "kill", "-s", "NOSUCH", "c") == 2


def test_wait(one: Host) -> None:
    """In the order asked for, also for those that are removed when they end."""
    run(one, "-di", "--rm", "--", "sh", "-c", "read x; exit 4")
    run(one, "-d", "--", "sh", "-c", "exit 5", name="d")
    waiting = one.popen([WEFT, "wait", "c", "d"])
    assert settle(one, lambda: state(one, "d") == ("exited", 5))
    one.weft("attach", "c", input="\n", check=False)
    assert waiting.communicate(timeout=10)[0] == "4\n5\n"
    assert one.weft("ps", "-aq").stdout == "d\n"
    assert exits(one, "wait", "nobody") == 3
    run(one, name="bare")
    assert exits(one, "wait", "bare") == 4


def test_wait_through_restarts(one: Host) -> None:
    run(one, "-d", "--restart", "on-failure:2", "--", "sh", "-c", "exit 6")
    assert one.weft("wait", "c").stdout == "6\n"
    assert inspect(one)["restart_count"] == 2


# -- started again


def test_started_again_in_its_place(one: Host) -> None:
    """The address, MAC and port it had, its names, its log; another's address by now is another one."""
    serve = (*PYTHON, str(HERE / "pages.py"), "http", "", "80", "web")
    run(one, "-d", "-p", "0.0.0.0:8080:80", "--network-alias", "www", "--", *serve)
    run(one, name="other")
    before = inspect(one)
    one.weft("stop", "-t", "1", "c")
    assert one.weft("start", "c").stdout == "c\n"
    after = inspect(one)
    for key in ("networks", "publish", "id", "created", "command"):
        assert after[key] == before[key], key
    assert settle(one, lambda: one.fetch("http://127.0.0.1:8080/").body == "web")
    assert "www" in one.weft("exec", "other", "--", "cat", "/etc/hosts").stdout
    assert one.weft("logs", "c").stdout == "ready\n" * 2
    assert one.weft("start", "c").stdout == "c\n", "it runs: nothing to do"
    one.weft("stop", "-t", "1", "c")
    address = before["networks"]["blue"]["addresses"][0].partition("/")[0]
    run(one, "--ip", address, name="thief")
    done = one.weft("start", "c")
    assert f"{address} is another's by now" in done.stderr
    assert inspect(one)["networks"]["blue"]["addresses"] != before["networks"]["blue"]["addresses"]
    one.weft("stop", "-t", "1", "c")
    run(one, "-p", "0.0.0.0:8080:81", name="porter")
    done = one.weft("start", "c", check=False)
    assert (done.returncode, "port 8080/tcp" in done.stderr) == (4, True)
    assert state(one)[0] == "exited"


def test_restart(one: Host) -> None:
    shell(one, f"echo life; {IDLE}", "-d", *PLACE)
    assert settle(one, lambda: one.weft("logs", "c").stdout == "life\n")
    first = inspect(one)
    assert one.weft("restart", "-t", "5", "c").stdout == "c\n"
    second = inspect(one)
    assert second["pid"] != first["pid"] and second["networks"] == first["networks"]
    assert settle(one, lambda: one.weft("logs", "c").stdout == "life\n" * 2)
    assert second["started_at"] > first["started_at"] and second["restart_count"] == 0


def test_restart_of_one_that_is_removed_when_it_ends(one: Host) -> None:
    run(one, "-d", "--rm", "--", "sleep", "1000")
    assert one.weft("restart", "-t", "0", "c").stdout == "c\n"
    assert (state(one)[0], inspect(one)["auto_remove"]) == ("running", True)
    one.weft("stop", "-t", "0", "c")
    assert one.weft("ps", "-aq").stdout == ""


def test_a_donor_started_again_keeps_its_joiners_connected(one: Host) -> None:
    run(one, "-d", *PLACE, "--", "sleep", "1000", name="donor")
    one.weft("run", "-d", "--name", "joiner", "--network", "container:donor", "--", "sleep", "2000")
    before = inspect(one, "joiner")["namespaces"]["net"]
    one.weft("restart", "-t", "1", "donor")
    assert inspect(one, "donor")["namespaces"]["net"] == before == inspect(one, "joiner")["namespaces"]["net"]
    assert one.pings("192.168.10.50")
    one.sh(f"kill -9 {inspect(one, 'donor')['pid']}")
    assert settle(one, lambda: state(one, "donor") == ("exited", 137))
    assert one.weft("exec", "joiner", "--", "ip", "-br", "addr", "show", "eth0").stdout.split()[1] == "UP"
    one.weft("start", "donor")
    assert inspect(one, "donor")["namespaces"]["net"] == before


def test_what_cannot_start_is_as_it_was(one: Host) -> None:
    one.write("/run/tool", "#!/bin/sh\nexit 3\n", 0o755)
    run(one, "-d", *PLACE, "--", "/run/tool")
    assert one.weft("wait", "c").stdout == "3\n"
    one.write("/run/tool", "#!/no/such/interpreter\n", 0o755)
    assert exits(one, "start", "c") == 127
    assert (state(one), inspect(one)["networks"]) == (("exited", 3), {})
    one.path("/run/tool").unlink()
    assert exits(one, "start", "c") == 127
    one.write("/run/tool", "#!/bin/sh\nexit 4\n", 0o755)
    one.weft("start", "c")
    assert one.weft("wait", "c").stdout == "4\n"
    run(one, "--", "true", name="gone")
    assert exits(one, "start", "nobody") == 3


# -- policies


def test_always_until_it_is_stopped(one: Host) -> None:
    run(one, "-d", "--restart", "always", "--", "sh", "-c", "echo life; exit 0")
    assert settle(one, lambda: inspect(one)["restart_count"] >= 2)
    assert "192.168.10." in inspect(one)["networks"]["blue"]["addresses"][0], "its place is kept"
    one.weft("stop", "c")
    assert state(one) == ("exited", 0)
    count = inspect(one)["restart_count"]
    one.weft("start", "c")
    assert settle(one, lambda: inspect(one)["restart_count"] != count)
    one.weft("rm", "-f", "c")
    left: list[str] = []

    def gone() -> bool:
        lines = one.run(["ps", "-eo", "pid,ppid,stat,etimes,args"]).stdout.splitlines()
        left[:] = [line for line in lines if "/weft " in line or "weft-init" in line]
        return not left

    assert settle(one, gone), left


def test_a_pause_that_grows(one: Host) -> None:
    run(one, "-d", "--restart", "unless-stopped", "--", "false")
    assert settle(one, lambda: inspect(one)["restart_count"] == 4)
    told = one.weft("events", "--since", "1m", "--until", "0s", "--filter", "container=c", "--format", "json")
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    born = max(place for place, row in enumerate(rows) if row["action"] == "create")
    moments = [row["time"] for row in rows[born:] if row["action"] in ("die", "start")]
    pauses = [_seconds(b) - _seconds(a) for a, b in zip(moments[1::2], moments[2::2], strict=False)]
    assert pauses == sorted(pauses) and all(p > 0.1 * 2**n for n, p in enumerate(pauses))
    assert one.weft("rm", "c", check=False).returncode == 4
    one.weft("rm", "-f", "c")


def _seconds(stamp: str) -> float:
    hours, minutes, seconds = stamp.partition("T")[2].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_nothing_gets_into_one_that_is_about_to_start_again(one: Host) -> None:
    shell(one, "exit 1", "-d", "--restart", "always")
    assert settle(one, lambda: inspect(one)["restart_count"] > 2)

    def refused(*words: str) -> bool:
        done = one.weft(*words, check=False)  # now and then it comes while the command runs
        return (done.returncode, "is about to be started again" in done.stderr) == (4, True)

    assert settle(one, lambda: refused("exec", "c", "--", "true"))
    assert settle(one, lambda: refused("exec", "-d", "c", "--", "true"))
    assert settle(one, lambda: refused("pause", "c"))


def test_only_failures_and_not_for_ever(one: Host) -> None:
    run(one, "-d", "--restart", "on-failure", "--", "true", name="good")
    run(one, "-d", "--restart", "on-failure:1", "--", "sh", "-c", "exit 9", name="bad")
    assert one.weft("wait", "good", "bad").stdout == "0\n9\n"
    assert [inspect(one, n)["restart_count"] for n in ("good", "bad")] == [0, 1]
    assert exits(one, "run", "--rm", "--restart", "always", "--", "true") == 2


def test_a_command_that_is_gone_when_it_is_to_start_again(one: Host) -> None:
    one.write("/run/tool", "#!/bin/sh\nrm -f /run/tool\nexit 1\n", 0o755)
    run(one, "-d", "--restart", "on-failure:2", "--", "/run/tool")
    assert one.weft("wait", "c").stdout == "127\n"
    assert inspect(one)["restart_count"] == 2


def test_in_the_foreground_with_a_policy(one: Host) -> None:
    done = run(one, "--restart", "on-failure:1", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert settle(one, lambda: state(one) == ("exited", 3))


# -- health


def test_health(one: Host) -> None:
    check = (
        "--health-cmd",
        "echo looked; test -e /run/ok",
        "--health-interval",
        "60ms",
        "--health-retries",
        "2",
    )
    run(one, "-d", *check, "--", "sleep", "1000")
    assert settle(one, lambda: inspect(one)["health"]["status"] == "unhealthy")
    health = inspect(one)["health"]
    assert (health["failing_streak"], health["output"]) == (2, "looked\n")
    assert "running (unhealthy)" in one.weft("ps").stdout
    one.write("/run/ok", "")
    assert settle(one, lambda: inspect(one)["health"]["status"] == "healthy")
    assert one.weft("ps", "-q", "--filter", "health=healthy").stdout == "c\n"
    told = one.weft("events", "--since", "1m", "--until", "0s", "--filter", "event=health_status").stdout
    assert [line.rpartition("=")[2] for line in told.splitlines()][-2:] == ["unhealthy)", "healthy)"]


def test_no_check_counts_while_it_is_paused(one: Host) -> None:
    check = ("--health-cmd", "echo x >> /run/checks; test -e /run/ok", "--health-interval", "50ms")
    one.write("/run/ok", "")
    # The one that is under way when it is frozen times out, and counts.
    limits = ("--health-retries", "3", "--health-timeout", "300ms")
    run(one, "-d", *check, *limits, "--", "sleep", "1000")
    assert settle(one, lambda: inspect(one)["health"]["status"] == "healthy")
    one.weft("pause", "c")
    monitor = inspect(one)["monitor"]
    used = int(one.read(f"/proc/{monitor}/stat").split()[15])  # of its children, in clock ticks
    # Enough of them to be counted out, were they counted: each takes a tick at least.
    assert settle(one, lambda: int(one.read(f"/proc/{monitor}/stat").split()[15]) > used + 15)
    assert "paused (healthy)" in one.weft("ps").stdout
    one.weft("unpause", "c")
    assert inspect(one)["health"]["status"] == "healthy"
    one.sh("rm /run/ok")
    assert settle(one, lambda: inspect(one)["health"]["status"] == "unhealthy")


def test_a_check_that_hangs(one: Host) -> None:
    check = ("--health-cmd", "sleep 4711", "--health-interval", "50ms", "--health-timeout", "100ms")
    run(one, "-d", *check, "--health-retries", "1", "--", "sleep", "1000")
    assert settle(one, lambda: inspect(one)["health"]["status"] == "unhealthy")
    assert "took longer than 0.1 s" in inspect(one)["health"]["output"]
    one.weft("stop", "c")
    assert settle(one, lambda: not running(one, "sleep 4711"))


def test_a_start_period(one: Host) -> None:
    check = ("--health-cmd", "test -e /run/late", "--health-interval", "50ms", "--health-retries", "1")
    run(
        one,
        "-d",
        *check,
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "50ms",
        "--",
        "sleep",
        "9",
    )
    assert settle(one, lambda: inspect(one)["health"]["status"] == "starting")
    one.write("/run/late", "")
    assert settle(one, lambda: inspect(one)["health"]["status"] == "healthy")
    one.path("/run/late").unlink()
    assert settle(one, lambda: inspect(one)["health"]["status"] == "unhealthy")


# -- renamed


def test_rename(one: Host) -> None:
    shell(one, "echo said; hostname", "-d", *PLACE)
    one.weft("wait", "c")
    before = inspect(one)
    assert one.weft("rename", "c", "new").stdout == "new\n"
    assert one.weft("logs", "new").stdout == "said\nc\n"
    assert exits(one, "inspect", "c") == 3
    after = inspect(one, "new")
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"id", "name"}
    one.weft("start", "new")
    one.weft("wait", "new")
    assert one.weft("logs", "new").stdout == "said\nc\n" * 2, "its host name is what it was"
    run(one, "-d", "--", "sleep", "1000")
    for words, status, says in (
        (("c", "other"), 4, "is running"),
        (("new", "c"), 4, "exists already"),
        (("new", "a b"), 2, "name"),
        (("nobody", "x"), 3, "no container"),
    ):
        done = one.weft("rename", *words, check=False)
        assert (done.returncode, says in done.stderr) == (status, True), done.stderr


# -- told


def test_events(one: Host) -> None:
    """As they come, in order, each once; and those of before."""
    stream = one.popen([WEFT, "events", "--format", "json"])
    assert settle(one, lambda: _watches(one, stream.inner_pid()))
    one.weft("net", "create", "red", "--subnet", "192.168.11.0/24")
    one.weft("run", "-d", "--name", "c", "--network", "red", "--", "sleep", "1000")
    one.weft("net", "connect", "blue", "c")
    one.weft("net", "disconnect", "blue", "c")
    one.weft("kill", "-s", "USR1", "c", check=False)
    one.weft("wait", "c")
    one.weft("rename", "c", "d")
    one.weft("rm", "d")
    one.weft("net", "rm", "red")
    wanted = [
        *("network create red", "container create c", "network connect red", "container start c"),
        *("network connect blue", "network disconnect blue", "container kill c", "container die c"),
        *("network disconnect red", "container rename d", "container destroy d", "network destroy red"),
    ]
    assert stream.stdout
    rows = [json.loads(stream.stdout.readline()) for _ in wanted]
    assert [f"{r['type']} {r['action']} {r['name']}" for r in rows] == wanted
    assert rows[7]["attributes"] == {"exitCode": "138"} and rows[6]["attributes"] == {"signal": "10"}
    assert rows[9]["attributes"] == {"oldName": "c"}
    stream.terminate()
    stream.end()
    past = one.weft(
        "events", "--since", rows[0]["time"], "--until", rows[7]["time"], "--filter", "type=container"
    )
    assert [line.split(" ", 1)[1] for line in past.stdout.splitlines()] == [
        *("container create c", "container start c", "container kill c (signal=10)"),
        "container die c (exitCode=138)",
    ]
    assert exits(one, "events", "--filter", "colour=red") == 2


def _watches(host: Host, pid: int) -> bool:
    return "inotify" in host.run(["sh", "-c", f"readlink /proc/{pid}/fd/*"], check=False).stdout


def test_ps_filters(one: Host) -> None:
    run(one, "--", "sh", "-c", "exit 3", name="bad")
    run(one, "--", "true", name="good")
    run(one, name="here")
    for wish, names in (
        ("exited=3", "bad"),
        ("exited=0", "good"),
        ("status=running", "here"),
        ("status=exited", "bad good"),
        ("network=blue", "here"),
        ("name=*o*", "good"),
        ("health=none", "bad good here"),
    ):
        assert one.weft("ps", "-aq", "--filter", wish).stdout.split() == names.split(), wish


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_to_the_monitor(one: Host, number: int) -> None:
    """Its terminal's and the system's end are not the container's; SIGTERM it passes on."""
    shell(one, f"trap 'exit 5' TERM; echo ready; {IDLE}", "-d")
    assert settle(one, lambda: one.weft("logs", "c").stdout == "ready\n")
    one.sh(f"kill -{int(number)} {inspect(one)['monitor']}")
    if number == signal.SIGTERM:
        assert settle(one, lambda: state(one) == ("exited", 5))
    else:
        assert state(one) == ("running", None)


def test_killed_at_its_limit_of_memory(one: Host) -> None:
    done = run(one, "--memory", "20m", "--", "python3", "-c", "bytearray(100 << 20)")
    assert (done.returncode, done.stderr.count("had reached its limit of memory")) == (137, 1)
    shell(one, "kill -9 $$", "--memory", "20m", name="other")
    told = one.weft("events", "--since", "1m", "--until", "0s", "--filter", "event=oom").stdout
    assert [line.split()[1:] for line in told.splitlines()] == [["container", "oom", "c"]]
