"""A container's terminal: passed through, left, attached to again, and never left in disorder."""

from __future__ import annotations

import signal

import pytest

from harness import Host, settle
from scenarios.console import Console
from scenarios.life import WEFT, heard, inspect, run, running, state

IT = ("run", "-it", "--network", "none", "--name", "c")


def test_a_shell(one: Host) -> None:
    """Size, echo, a typed Ctrl-C, a changed window, and the status."""
    with Console(one, *IT, "--", "sh", rows=31, columns=97) as console:
        console.type("stty size; tty; echo $((6*7))\n")
        console.expect("31 97\r\n")
        console.expect("/dev/pts/")
        console.expect("42\r\n")
        assert console.raw
        console.type("trap 'echo caught' INT; sleep 1000\n")
        assert settle(one, lambda: bool(running(one, "sleep 1000")))
        console.type(b"\x03")
        console.expect("caught\r\n")
        console.type('sh -c \'trap "stty size; exit" WINCH; echo wai""ting; while :; do sleep 0.1; done\'\n')
        console.expect("waiting\r\n")
        console.resize(40, 120)
        console.expect("40 120\r\n")
        console.type("exit 5\n")
        assert console.ends() == 5
    assert state(one) == ("exited", 5)
    assert "\n42\n" in one.weft("logs", "c").stdout


def test_left_and_attached_again(one: Host) -> None:
    with Console(one, *IT, "--", "sh") as console:
        console.type("echo fir''st\n")
        console.expect("first\r\n")
        console.type(b"\x10")  # kept back: it may be the first of the keys
        console.type(b"\x11")
        assert console.ends() == 0
        assert b"detached: container c goes on" in console.seen
    assert state(one) == ("running", None)
    with Console(one, "attach", "c", "--detach-keys", "ctrl-x") as console:
        console.type("echo sec''ond\n")
        console.expect("second\r\n")
        with Console(one, "attach", "c") as other:
            other.type("echo thi''rd\n")
            other.expect("third\r\n")
            console.expect("third\r\n")
            console.type(b"\x10\x11x\x18")
            assert console.ends() == 0
            other.type("\x15exit 7\n")
            assert other.ends() == 7
    assert state(one) == ("exited", 7)
    assert one.weft("attach", "c", check=False).returncode == 4


def test_start_with_a_terminal(one: Host) -> None:
    with Console(one, *IT, "--", "sh", "-c", "stty size; exit 3") as console:
        assert console.ends() == 3
    with Console(one, "start", "-ai", "c", rows=11, columns=22) as console:
        console.expect("11 22\r\n")
        assert console.ends() == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_client_that_is_ended(one: Host, number: int) -> None:
    """Its terminal is in order, and the container goes on."""
    with Console(one, *IT, "--", "sh") as console:
        console.type("echo rea''dy\n")
        console.expect("ready\r\n")
        assert console.raw
        console.process.send_signal(number)
        assert console.ends() in (-number, 128 + number)
    assert state(one) == ("running", None)
    one.weft("kill", "c")
    assert state(one) == ("exited", 137)


def test_a_client_that_is_killed(one: Host) -> None:
    with Console(one, *IT, "--", "sh") as console:
        console.type("echo rea''dy\n")
        console.expect("ready\r\n")
        console.process.kill()
        console.process.wait()
    assert state(one) == ("running", None)
    with Console(one, "attach", "c") as console:
        console.type("exit 4\n")
        assert console.ends() == 4


def test_a_monitor_that_is_killed(one: Host) -> None:
    with Console(one, *IT, "--", "sh") as console:
        console.type("echo rea''dy\n")
        console.expect("ready\r\n")
        one.sh(f"kill -9 {inspect(one)['monitor']}")
        assert console.ends() == 125
        assert b"the monitor of container c was killed" in console.seen
    assert state(one) == ("exited", 137)


def test_detached_with_a_terminal(one: Host) -> None:
    run(one, "-dt", "--", "sh", "-c", "tty; trap 'exit 9' INT; while echo tick; do sleep 0.05; done")
    assert settle(one, lambda: "/dev/pts/" in one.weft("logs", "c").stdout)
    with Console(one, "attach", "c") as console:
        console.expect("tick\r")
        assert not console.raw
        console.type(b"\x03")  # not as a byte, its stdin is not open: as a signal
        assert console.ends() == 9
    assert state(one) == ("exited", 9)


def test_without_a_terminal(one: Host) -> None:
    """-it needs one; -t alone does not."""
    done = one.weft(*IT, "--", "true", check=False)
    assert (done.returncode, "the input device is not a terminal" in done.stderr) == (2, True)
    assert one.weft("ps", "-aq").stdout == ""
    done = run(one, "-t", "--", "sh", "-c", "tty; exit 2")
    assert done.returncode == 2
    assert done.stdout.startswith("/dev/pts/")


def test_stdin_without_a_terminal(one: Host) -> None:
    """In the foreground it is the caller's; a detached one gets it from whoever attaches, with its end."""
    done = one.weft(
        "run", "--rm", "-i", "--network", "none", "--", "wc", "-c", input="x" * 100_000, check=False
    )
    assert done.stdout.strip() == "100000"
    run(one, "-di", "--", "sh", "-c", "cat; echo end; echo err >&2; exit 6")
    done = one.weft("attach", "c", input="hello\n" * 50_000, check=False)
    assert (done.returncode, done.stderr) == (6, "err\n")
    assert done.stdout == "hello\n" * 50_000 + "end\n"
    assert state(one) == ("exited", 6)


def test_attached_signals_go_to_the_command(one: Host) -> None:
    script = "trap 'echo usr1' USR1; trap 'exit 9' INT; while echo tick; do sleep 0.05; done"
    run(one, "-d", "--", "sh", "-c", script)
    client = one.popen([WEFT, "attach", "c"])
    assert heard(client) == "tick"
    client.send_signal(signal.SIGUSR1)
    while heard(client) == "tick":
        pass
    assert "usr1\n" in one.weft("logs", "c").stdout
    client.send_signal(signal.SIGINT)
    assert client.wait(10) == 9
    client.end()


def test_attach_is_refused(one: Host) -> None:
    assert one.weft("attach", "nobody", check=False).returncode == 3
    run(one, name="bare")
    assert "has no process" in one.weft("attach", "bare", check=False).stderr
    foreground = one.popen(
        [WEFT, "run", "--name", "f", "--network", "none", "--", "sh", "-c", "echo; sleep 1000"]
    )
    assert heard(foreground) == ""
    done = one.weft("attach", "f", check=False)
    assert (done.returncode, "has no monitor to attach to" in done.stderr) == (4, True)
    foreground.terminate()
    foreground.end()


# -- further commands


def test_a_further_shell(one: Host) -> None:
    """``exec -it``: size, echo, Ctrl-C, a changed window, the status; nothing of it outlives a hangup."""
    run(one, "-d", "--", "sleep", "1000")
    with Console(one, "exec", "-it", "c", "--", "sh", rows=31, columns=97) as console:
        console.type("stty size; tty; echo $((6*7)) $TERM\n")
        console.expect("31 97\r\n")
        console.expect("/dev/pts/")
        console.expect("42 ")
        assert console.raw
        console.type("trap 'echo caught' INT; sleep 1001\n")
        assert settle(one, lambda: bool(running(one, "sleep 1001")))
        console.type(b"\x03")
        console.expect("caught\r\n")
        console.resize(40, 120)
        console.type("while [ \"$(stty size)\" != '40 120' ]; do :; done; echo wi''der; exit 5\n")
        console.expect("wider\r\n")
        assert console.ends() == 5
    with Console(one, "exec", "-t", "c", "--", "sh", "-c", "tty; exec sleep 1002") as console:
        console.expect("/dev/pts/")
        assert not console.raw
        console.type(b"\x03")
        assert console.ends() in (-signal.SIGINT, 128 + signal.SIGINT)
    assert settle(one, lambda: not running(one, "sleep 1002"))
    assert state(one) == ("running", None)


def test_a_further_shell_that_is_left(one: Host) -> None:
    """It goes on, its terminal is read, and who reads it goes with it."""
    run(one, "-d", "--", "sleep", "1000")
    with Console(one, "exec", "-it", "--detach-keys", "ctrl-x", "c", "--", "sh") as console:
        console.type("echo rea''dy\n")
        console.expect("ready\r\n")
        console.type("seq 1 50000; sleep 1001\n")  # more than a terminal keeps
        console.expect("2\r\n")
        console.type(b"\x18")
        assert console.ends() == 0
        assert b"detached: the command goes on" in console.seen
    assert settle(one, lambda: bool(running(one, "sleep 1001")))
    one.weft("rm", "-f", "c")
    assert settle(one, lambda: "exec" not in one.run(["ps", "-eo", "args="]).stdout)


def test_who_reads_a_left_terminal_is_slow(one: Host) -> None:
    """The hangup of the terminal that was left from, when its session's first process ends, is not for it."""
    run(one, "-d", "--", "sleep", "1000")
    strace = ("strace", "-DDD", "-f", "-qq", "-o/dev/null", "-etrace=setsid")
    slow = (*strace, "-einject=setsid:delay_enter=300000", WEFT)
    words = ("exec", "-it", "--detach-keys", "ctrl-x", "c", "--", "sh")
    with Console(one, *words, program=slow) as console:
        console.type("echo rea''dy\n")
        console.expect("ready\r\n")
        console.type("seq 1 50000; sleep 1001\n")
        console.expect("2\r\n")
        console.type(b"\x18")
        assert console.ends() == 0
    assert settle(one, lambda: bool(running(one, "sleep 1001")))


@pytest.mark.parametrize("container", ["process", "bare"])
def test_a_further_command_in_the_background(one: Host, container: str) -> None:
    """It is inside, outlives its weft, and ends with the container."""
    run(one, *(("-d", "--", "sleep", "1000") if container == "process" else ()))
    assert one.weft("exec", "-d", "c", "--", "sleep", "1001").stdout == ""
    one.weft("exec", "-dit", "c", "--", "sh", "-c", "tty > /run/tty; exec sleep 1002")
    assert settle(one, lambda: bool(running(one, "sleep 1002")))
    assert one.read("/run/tty").startswith("/dev/pts/")
    (pid,) = running(one, "sleep 1001")
    assert one.sh(f"readlink /proc/{pid}/fd/[012]") == "/dev/null\n" * 3
    assert [row["args"] for row in one.weft_json("top", "c")].count("sleep 1001") == 1
    done = one.weft("exec", "-d", "c", "--", "/nonexistent", check=False)
    assert (done.returncode, "is not found" in done.stderr) == (127, True)
    one.weft("rm", "-f", "c")
    assert settle(one, lambda: not [n for n in (1001, 1002) if running(one, f"sleep {n}")])
    assert settle(one, lambda: "exec" not in one.run(["ps", "-eo", "args="]).stdout)
