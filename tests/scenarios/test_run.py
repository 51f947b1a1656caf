"""A container's command, in the foreground or with a monitor: its streams, signals, status, log and end."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from harness import Host, Process, differences, settle, snapshot
from scenarios.life import (
    IDLE,
    WEFT,
    command_of,
    commands,
    heard,
    inspect,
    monitor_of,
    run,
    running,
    shell,
    state,
)

# -- in the foreground


def test_statuses(one: Host) -> None:
    """The command's own, 128 and the number of the signal that killed it, or why it could not start."""
    one.write("/run/plain", "#!/bin/sh\n")
    one.write("/run/lost", "#!/no/such/interpreter\n", 0o755)
    cases = {
        ("true",): 0,
        ("sh", "-c", "exit 3"): 3,
        ("sh", "-c", "exit 126"): 126,
        ("sh", "-c", "exit 255"): 255,
        ("sh", "-c", "kill -9 $$"): 137,
        ("sh", "-c", "kill -TERM $$"): 143,
        ("sh", "-c", "kill -PIPE $$"): 141,
        ("/run/plain",): 126,
        ("/run",): 126,
        ("no-such-command",): 127,
        ("/run/lost",): 127,
    }
    for flags in ((), ("-d",)):
        for argv, code in cases.items():
            done = run(one, *flags, "--", *argv)
            own = argv[0] in ("true", "sh")
            assert done.returncode == (0 if flags and own else code), (flags, argv, done.stderr)
            assert bool(done.stderr) != own
            assert bool(done.stdout) == (own and bool(flags))
            if own:
                assert settle(one, lambda c=code: state(one) == ("exited", c))  # type: ignore[misc]
                one.weft("rm", "c")
            assert one.weft("ps", "-aq").stdout == ""


def test_streams_are_the_commands_own(one: Host) -> None:
    every = "".join(chr(byte) for byte in range(0x80)).replace("\r", "") + "".join(
        chr(0xDC00 + byte) for byte in range(0x80, 0x100)
    )
    assert run(one, "--rm", "--", "cat", input=every * 400).stdout == every * 400
    done = shell(one, "echo out; echo err >&2; read x || echo end", "--rm")
    assert (done.stdout, done.stderr) == ("out\nend\n", "err\n")
    # A command that reads nothing leaves its input to whoever reads next from it.
    script = f"{WEFT} run --rm --network blue -- true; {WEFT} run --rm --network blue -- head -c3; cat"
    assert one.run(["sh", "-c", script], input="onetwo").stdout == "onetwo"


@pytest.fixture
def started(one: Host) -> Iterator[Process]:
    """A command in the foreground which says what signals come to it; its first line has been read."""
    names = "INT HUP QUIT USR1 USR2"
    script = (
        f"for s in {names}; do trap \"echo $s\" $s; done; trap 'echo TERM; exit 9' TERM; echo ready; {IDLE}"
    )
    argv = [WEFT, "run", "--name", "c", "--network", "blue", "--", "sh", "-c", script]
    process = one.popen(argv)
    yield process
    process.end()


def test_signals_reach_the_command(one: Host, started: Process) -> None:
    assert heard(started) == "ready"
    for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "HUP"):
        started.send_signal(getattr(signal, f"SIG{name}"))
        assert heard(started) == name
    started.terminate()
    assert heard(started) == "TERM"
    assert started.wait() == 9
    assert state(one) == ("exited", 9)


def test_a_signal_right_after_the_start_reaches_the_command(one: Host) -> None:
    """It may run before weft has put it on record, which takes long here: each write of the database does."""
    slow = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,fdatasync,fsync"]
    slow += ["-e", "inject=pwrite64,fdatasync,fsync:delay_enter=30000"]
    script = f"trap 'exit 9' TERM; kill -TERM $PPID; {IDLE}"
    argv = [*slow, WEFT, "run", "--name", "c", "--network", "blue", "--", "sh", "-c", script]
    assert one.run(argv, check=False).returncode == 9
    assert state(one) == ("exited", 9)


def test_an_untrapped_signal_ends_both(one: Host) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process = one.popen(
            [WEFT, "run", "--name", "c", "--network", "blue", "--", "sh", "-c", "echo; exec sleep 1000"]
        )
        assert heard(process) == ""
        process.send_signal(number)
        assert process.wait() == 128 + number
        assert state(one) == ("exited", 128 + number)
        process.end()
        one.weft("rm", "c")


def test_nohup_is_the_commands_too(one: Host) -> None:
    hang_up = "kill -HUP $$; kill -HUP $PPID; echo lives"
    script = f"trap '' HUP; exec {WEFT} run --rm --network blue -- sh -c '{hang_up}'"
    assert one.sh(script) == "lives\n"


@pytest.mark.parametrize("flags", [(), ("-d",)], ids=["foreground", "detached"])
def test_what_a_command_leaves_behind_ends_with_it(one: Host, flags: tuple[str, ...]) -> None:
    """In sessions of their own, deaf to signals, forked twice: the container ends with its command."""
    script = "trap '' TERM HUP INT; setsid sleep 4711 & (setsid sh -c 'sleep 4712 & sleep 4713' &); exit 5"
    done = shell(one, script, *flags)
    if flags:
        assert settle(one, lambda: state(one) == ("exited", 5))
    else:
        assert done.returncode == 5
    assert not [n for n in (1, 2, 3) if running(one, f"sleep 471{n}")]


def test_a_stranger_inside_ends_with_it_too(one: Host) -> None:
    """A process that `weft exec` or `ip netns exec` put there would keep the namespace. The one is a child of
    weft's, the other is in none of its namespaces but the network's."""
    run(one, "-d", "--", "sleep", "1000")
    guests = [
        one.popen([*words, "sleep", "4711"])
        for words in ((WEFT, "exec", "c", "--"), ("ip", "netns", "exec", "c"))
    ]
    assert settle(one, lambda: len(running(one, "sleep 4711")) == 2)
    one.sh(f"kill {inspect(one)['pid']}")
    assert [guest.wait() for guest in guests] == [137, -9]
    assert settle(one, lambda: state(one) == ("exited", 143))


def test_rm_leaves_nothing(machine: Host) -> None:
    before = snapshot(machine)
    for flags in ((), ("-d",)):
        words = ("--rm", *flags, "--ip", "192.168.10.77", "-p", "0.0.0.0:8080:80", "-p", "5300:53/udp")
        for code in (0, 4):
            assert shell(machine, f"exit {code}", *words).returncode == (0 if flags else code)
            assert settle(machine, lambda: machine.weft("ps", "-aq").stdout == "")
            assert differences(machine, before) == []


# -- detached


def test_detached_prints_its_id_and_returns_at_once(one: Host) -> None:
    """``run`` waits until nobody has its output open any more: the monitor and the command do not."""
    made = run(one, "-d", "-p", "8080:80", "--", "sleep", "1000")
    found = inspect(one)
    assert made.stdout == f"{found['id']}\n"
    assert "published on loopback only: 127.0.0.1:8080 -> 80/tcp" in made.stderr
    assert (found["state"], found["command"], found["exit_code"]) == ("running", ["sleep", "1000"], None)
    assert found["pids"] == [found["pid"], command_of(one)]
    assert run(one, "-dq", "--", "sleep", "1000", name="other").stdout == "other\n"


def test_one_monitor_each(one: Host) -> None:
    names = ["a", "b", "c"]
    for name in names:
        run(one, "-d", "--", "sleep", "1000", name=name)
    monitors = [monitor_of(one, inspect(one, name)["pid"]) for name in names]
    assert len(set(monitors)) == 3
    ours = [line.split() for line in commands(one).splitlines() if f"{WEFT} monitor" in line]
    assert sorted(int(words[0]) for words in ours) == sorted(monitors)
    assert {words[1] for words in ours} == {"1"}
    for pid in monitors:
        # nothing of the command line's is held: no lock, no database, no terminal, no directory
        look = f"readlink /proc/{pid}/fd/[012] /proc/{pid}/cwd; ps -o sid=,tty= -p {pid}"
        assert one.sh(look).split() == ["/dev/null"] * 3 + ["/", str(pid), "?"]
        others = one.sh(f"ls -1 /proc/{pid}/fd | grep -v '^[012]$' | xargs -I N readlink /proc/{pid}/fd/N")
        kinds = sorted(line.partition(":")[0] for line in others.split())
        assert kinds == ["pipe"] * 4 + ["socket"], "its door, two outputs, and its own alarm"


def test_the_log_is_byte_for_byte(one: Host) -> None:
    every = "".join(f"\\{byte:03o}" for byte in range(256))
    shell(one, f"printf '{every}'; printf 'to stderr\\r\\n' >&2; printf 'no newline'; exit 1", "-d")
    assert settle(one, lambda: state(one) == ("exited", 1))
    one.sh(f"{WEFT} logs c > /run/log 2> /run/err")
    assert one.path("/run/log").read_bytes() == bytes(range(256)) + b"no newline"
    assert one.path("/run/err").read_bytes() == b"to stderr\r\n"
    one.weft("rm", "c")
    assert one.weft("logs", "c", check=False).returncode == 3
    shell(one, "echo again", "-d")
    assert settle(one, lambda: state(one) == ("exited", 0))
    assert one.weft("logs", "c").stdout == "again\n", "of another life of that name"
    run(one, "--", "echo", "foreground", name="f")
    assert one.weft("logs", "f", check=False).returncode == 3


def test_what_an_ended_container_keeps_and_gives_back(one: Host) -> None:
    words = ("--ip", "192.168.10.50", "-p", "0.0.0.0:8080:80", "-p", "8081:81/udp")
    assert shell(one, "exit 6", "-d", *words).returncode == 0
    assert settle(one, lambda: state(one) == ("exited", 6))
    (row,) = one.weft_json("ps", "-a")
    assert (row["name"], row["state"], row["exit_code"], row["pid"], row["pids"]) == (
        "c",
        "exited",
        6,
        None,
        [],
    )
    assert (row["networks"], row["publish"], row["namespaces"]) == ({}, [], {})
    assert one.weft("ps", "-q").stdout == ""
    assert "exited (6)" in one.weft("ps", "-a").stdout
    assert run(one, "--", "true").returncode == 4, "the name is taken until rm"
    # another program may have the ports, another container the address
    one.serve(8080).end()
    one.serve(8081, kind="udp", address="127.0.0.1").end()
    assert run(one, *words, name="next").returncode == 0
    assert one.weft("exec", "c", "--", "true", check=False).returncode == 4
    one.weft("rm", "c")
    assert run(one, "--ip", "192.168.10.51", "--", "true").returncode == 0


def test_a_name_may_be_used_again_at_once(one: Host) -> None:
    """Its predecessor's namespace is still dying, and with it the cable of the same name."""
    for _ in range(5):
        assert run(one, "-d", "--ip", "192.168.10.60", "-p", "8080:80", "--", "sleep", "1000").returncode == 0
        assert one.pings("192.168.10.60")
        one.weft("rm", "-f", "c")


def test_without_a_network_it_is_in_default(one: Host) -> None:
    """Which comes when it is first needed, and stays."""
    assert [net["name"] for net in one.weft_json("net", "ls")] == ["blue"]
    one.weft("run", "--rm", "--", "true")
    one.weft("run", "-d", "--name", "d", "--", "sleep", "1000")
    assert list(inspect(one, "d")["networks"]) == ["default"]
    assert one.pings(inspect(one, "d")["networks"]["default"]["gateway"], netns="d")
    assert sorted(net["name"] for net in one.weft_json("net", "ls")) == ["blue", "default"]
    one.weft("net", "rm", "-f", "default")
