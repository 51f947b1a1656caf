"""A container's life: its command in the foreground or with a monitor, what it sees, how it and others end.

The real program on a throw-away machine. After each test every container is removed, and nothing of them
may be left.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from harness import REPO, Host, Process, diff, differences, settle, snapshot
from harness.host import HERE, PYTHON

WEFT = str(REPO / "weft")
SPACES = ("net", "mnt", "uts", "ipc")
SHARED = ("pid", "user", "cgroup", "time")
#: Waits for signals without a process that takes part in it.
IDLE = "while :; do sleep 1000 > /dev/null 2>&1 & wait $!; done"


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, Host]]:
    """``shared``: mounts propagate, as where systemd is the first process."""
    with Host() as private, Host(shared=True) as shared:
        for made in (private, shared):
            made.weft("net", "create", "blue", "--subnet", "192.168.10.0/24")
            # Directories stay, and what the bridge takes over from its first port.
            made.weft("run", "--rm", "--network", "blue", "-p", "8080:80", "--", "true")
            assert settle(made, lambda host=made: not leftovers(host))  # type: ignore[misc]
        yield {"private": private, "shared": shared}


@pytest.fixture(params=["private", "shared"])
def machine(request: pytest.FixtureRequest, machines: dict[str, Host]) -> Iterator[Host]:
    yield machines[request.param]
    clear(machines[request.param])


@pytest.fixture
def one(machines: dict[str, Host]) -> Iterator[Host]:
    """Where it makes no difference how mounts propagate."""
    yield machines["private"]
    clear(machines["private"])


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


def clear(host: Host) -> None:
    """Removes all containers, and looks for what is left of them."""
    names = host.weft("ps", "-aq").stdout.split()
    if names:
        host.weft("rm", "-f", *names)
    assert settle(host, lambda: not leftovers(host)), leftovers(host)


def leftovers(host: Host) -> list[str]:
    found = [f"link {link['ifname']}" for link in json.loads(host.ip("-j", "link")) if "wv" in link["ifname"]]
    for directory in ("/run/netns", "/etc/netns", "/var/lib/weft/logs"):
        if host.path(directory).exists():
            found += [f"{directory}/{entry.name}" for entry in host.path(directory).iterdir()]
    found += [
        line for line in host.nft("list", "set", "bridge", "weft", "lease4").splitlines() if "weft:" in line
    ]
    found += [line for line in commands(host).splitlines() if "/weft " in line or "sleep" in line]
    hosts = host.read("/run/weft/hosts/blue").splitlines()
    return found + [line for line in hosts if not line.endswith(("localhost", "loopback"))]


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
        ("/run",): 127,
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


def heard(process: Process) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


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
    """It may run before weft has put it on record: here that takes long, as each write of the database does."""
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
    script = f"trap '' HUP; exec {WEFT} run --rm --network blue -- sh -c 'kill -HUP $$; kill -HUP $PPID; echo lives'"
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
    """A process that `weft exec` or `ip netns exec` put there would keep the namespace."""
    run(one, "-d", "--", "sleep", "1000")
    guests = [
        one.popen([*words, "sleep", "4711"])
        for words in ((WEFT, "exec", "c", "--"), ("ip", "netns", "exec", "c"))
    ]
    assert settle(one, lambda: len(running(one, "sleep 4711")) == 2)
    one.sh(f"kill {inspect(one)['pid']}")
    assert [guest.wait() for guest in guests] == [-9, -9]
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
    assert found["pids"] == [found["pid"]]
    assert run(one, "-dq", "--", "sleep", "1000", name="other").stdout == "other\n"


def test_one_monitor_each(one: Host) -> None:
    names = ["a", "b", "c"]
    for name in names:
        run(one, "-d", "--", "sleep", "1000", name=name)
    monitors = [monitor_of(one, inspect(one, name)["pid"]) for name in names]
    assert len(set(monitors)) == 3
    ours = [line.split() for line in commands(one).splitlines() if f"{WEFT} run" in line]
    assert sorted(int(words[0]) for words in ours) == sorted(monitors)
    assert {words[1] for words in ours} == {"1"}
    for pid in monitors:
        # nothing of the command line's is held: no lock, no database, no terminal, no directory
        look = f"readlink /proc/{pid}/fd/* /proc/{pid}/cwd; ps -o sid=,tty= -p {pid}"
        assert one.sh(look).split() == ["/dev/null"] * 3 + ["/", str(pid), "?"]


def test_the_log_is_byte_for_byte(one: Host) -> None:
    every = "".join(f"\\{byte:03o}" for byte in range(256))
    shell(one, f"printf '{every}'; printf 'to stderr\\r\\n' >&2; printf 'no newline'; exit 1", "-d")
    assert settle(one, lambda: state(one) == ("exited", 1))
    wanted = bytes(range(256)) + b"to stderr\r\nno newline"
    one.sh(f"{WEFT} logs c > /run/log 2> /run/err")
    assert one.path("/run/log").read_bytes() == wanted
    assert one.read("/run/err") == ""
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


# -- what it sees


def own_spaces(host: Host, pid: int | str) -> dict[str, int]:
    words = host.sh(
        f"cd /proc/{pid}/ns; for n in {' '.join((*SPACES, *SHARED))}; do readlink $n; done"
    ).split()
    return {word.partition(":")[0]: int(word.partition("[")[2][:-1]) for word in words}


def test_namespaces(one: Host) -> None:
    """net, mnt, uts and ipc are its own, and no other container's; inspect says what /proc says."""
    spaces = {}
    for name in ("a", "b"):
        run(one, "-d", "--", "sleep", "1000", name=name)
        found = inspect(one, name)
        spaces[name] = own_spaces(one, found["pid"])
        assert found["namespaces"] == spaces[name]
        assert one.sh(f"stat -Lc %i /run/netns/{name}").strip() == str(spaces[name]["net"])
    host = own_spaces(one, "self")
    for kind in SPACES:
        assert len({host[kind], spaces["a"][kind], spaces["b"][kind]}) == 3, kind
    for kind in SHARED:
        assert host[kind] == spaces["a"][kind] == spaces["b"][kind], kind
    table = one.run(["lsns", "-n", "-t", "net", "-o", "NS,COMMAND"]).stdout
    assert f"{spaces['a']['net']} sleep 1000" in table


def test_its_own_hostname(one: Host) -> None:
    assert run(one, "--rm", "--", "hostname").stdout == "c\n"
    assert run(one, "--rm", "--hostname", "web.example", "--", "hostname").stdout == "web.example\n"
    assert shell(one, "hostname changed; hostname", "--rm").stdout == "changed\n"
    assert one.sh("hostname") == "machine\n"


def test_its_own_system_v_ipc(one: Host) -> None:
    one.sh("ipcmk -Q")
    assert shell(one, "ipcs -q | grep -c 0x; ipcmk -Q >&2; exit 0", "--rm").stdout == "0\n"
    assert one.sh("ipcs -q | grep -c 0x") == "1\n"


def test_sys_is_its_networks_and_cgroups_stay(machine: Host) -> None:
    assert shell(machine, "ls /sys/class/net", "--rm").stdout.split() == ["eth0", "lo"]
    assert run(machine, "--rm", "--", "cat", "/sys/class/net/eth0/operstate").stdout.strip() == "up"
    groups = machine.sh("cd /sys/fs/cgroup; find . -maxdepth 2 | sort")
    if groups == ".\n":
        print("no cgroup file system on this machine: that it stays visible is not tested")
    look = "cd /sys/fs/cgroup; find . -maxdepth 2 | sort"
    assert shell(machine, look, "--rm").stdout == groups
    run(machine, "-d", "--", "sleep", "1000")
    assert machine.weft("exec", "c", "--", "sh", "-c", look).stdout == groups
    assert "wv" in machine.sh("ls /sys/class/net"), "the host's own is the host's"


def test_name_files_are_read_only(one: Host) -> None:
    words = ("--dns", "192.0.2.53", "--dns-search", "example.org")
    run(one, "-d", *words, "--", "sleep", "1000")
    for file, text in (("hosts", "\tc\n"), ("resolv.conf", "search example.org\nnameserver 192.0.2.53\n")):
        before = one.read(f"/etc/{file}")
        inside = one.weft("exec", "c", "--", "cat", f"/etc/{file}").stdout
        assert inside.endswith(text)
        assert inside != before
        for change in (f"echo x >> /etc/{file}", f"rm -f /etc/{file}", f"touch /etc/{file}"):
            done = one.weft("exec", "c", "--", "sh", "-c", change, check=False)
            assert done.returncode != 0, change
        mounts = one.weft("exec", "c", "--", "grep", f" /etc/{file} ", "/proc/self/mountinfo").stdout
        assert mounts.split()[5].split(",")[0] == "ro"
        assert one.weft("exec", "c", "--", "cat", f"/etc/{file}").stdout == inside
        assert one.read(f"/etc/{file}") == before


def test_mounts_do_not_leak_out(machine: Host) -> None:
    """Nor keep the host's from being undone; what is mounted there later is seen inside where mounts propagate."""
    machine.sh(
        "mkdir -p /run/inside /run/outside /run/early; mount -t tmpfs early /run/early; touch /run/early/x"
    )
    before = machine.sh("cat /proc/self/mountinfo")
    shell(machine, "mount -t tmpfs mine /run/inside; touch /run/inside/file; exec sleep 1000", "-d")
    inside = ("exec", "c", "--", "test", "-e")
    assert settle(machine, lambda: machine.weft(*inside, "/run/inside/file", check=False).returncode == 0)
    now = machine.sh("cat /proc/self/mountinfo")
    assert [line for line in now.splitlines() if " nsfs " not in line] == before.splitlines()
    assert machine.sh("ls /run/inside") == ""
    machine.sh("mount -t tmpfs later /run/outside; touch /run/outside/file")
    shared = " shared:" in next(line for line in before.splitlines() if line.split()[4] == "/")
    assert machine.weft(*inside, "/run/outside/file", check=False).returncode == (0 if shared else 1)
    machine.sh("umount /run/outside; umount /run/early")
    assert (machine.weft(*inside, "/run/early/x", check=False).returncode == 1) == shared


def test_environment(one: Host) -> None:
    """PATH, HOME, TERM and what -e gives; nothing else of the caller's."""
    caller = {
        "SECRET": "hunter2",
        "PASSED": "as it is\n'",
        "WEFT_ROOT": "",
        "PYTHONPATH": "/x",
        "TERM": "vt100",
    }
    flags = (
        "-e",
        "A=1",
        "-e",
        "B=two words=",
        "-e",
        "EMPTY=",
        "-e",
        "PASSED",
        "-e",
        "UNSET",
        "-e",
        "HOME=/h",
    )
    wanted = sorted(
        [
            *("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/h", "TERM=vt100"),
            *("A=1", "B=two words=", "EMPTY=", f"PASSED={caller['PASSED']}"),
        ]
    )
    assert sorted(run(one, "--rm", *flags, "--", "env", "-0", env=caller).stdout.split("\0")[:-1]) == wanted
    run(one, "-d", "-e", "ONLY=there", "--", "sleep", "1000", env=caller)
    inside = one.weft("exec", *flags, "c", "--", "env", "-0", env=caller).stdout
    assert sorted(inside.split("\0")[:-1]) == wanted
    assert "ONLY=there" in one.sh(f"tr '\\0' '\\n' < /proc/{inspect(one)['pid']}/environ")
    assert shell(one, "echo $0", "--rm", "-e", "PATH=/nowhere", name="x").returncode == 127


def test_working_directory(one: Host) -> None:
    """The caller's, or -w; the command's path is relative to it."""
    one.sh("mkdir -p /run/a/b; ln -s /bin/pwd /run/a/where")
    assert run(one, "--rm", "--", "pwd", cwd="/run/a").stdout == "/run/a\n"
    assert run(one, "--rm", "-w", "b", "--", "pwd", cwd="/run/a").stdout == "/run/a/b\n"
    assert run(one, "--rm", "-w", "/run/a", "--", "./where").stdout == "/run/a\n"
    assert run(one, "--rm", "-w", "/nowhere", "--", "pwd").returncode == 2
    run(one, "-d", "-w", "/run/a", "--", "sleep", "1000")
    assert one.sh(f"readlink /proc/{inspect(one)['pid']}/cwd") == "/run/a\n"
    assert one.weft("exec", "-w", "/run/a/b", "c", "--", "pwd").stdout == "/run/a/b\n"
    assert one.weft("exec", "c", "--", "pwd", cwd="/run/a").stdout == "/run/a\n"


def test_descriptors_of_the_caller_are_not_passed_on(one: Host) -> None:
    """CVE-2024-21626's class: a directory of the host, left open, is a way out."""
    opened = "exec 7</etc 8</etc/passwd 9</run; cd /tmp;"

    def seen(words: str) -> list[str]:
        rows = one.sh(f"{opened} {WEFT} {words} -- sh -c 'pwd; exec ls -l /proc/self/fd'").splitlines()
        assert rows[0] == "/tmp"
        links = [row.split()[-3::2] for row in rows if " -> " in row]
        return [fd for fd, target in links if not target.startswith("/proc/")]  # ls has that one open

    assert seen("run --rm --network blue") == ["0", "1", "2"]
    one.sh(f"{opened} {WEFT} run -d --name c --network blue -- sleep 1000")
    pid = inspect(one)["pid"]
    for process in (pid, monitor_of(one, pid)):
        assert one.sh(f"ls /proc/{process}/fd").split() == ["0", "1", "2"]
    assert seen("exec c") == ["0", "1", "2"]


# -- exec


def test_exec_beside_a_process(one: Host) -> None:
    run(one, "-d", "--hostname", "alpha", "--", "sleep", "1000")
    theirs = own_spaces(one, inspect(one)["pid"])
    look = f"for n in {' '.join((*SPACES, *SHARED))}; do readlink /proc/self/ns/$n; done; hostname"
    said = one.weft("exec", "c", "--", "sh", "-c", look).stdout.split()
    assert said[:-1] == [f"{kind}:[{inode}]" for kind, inode in theirs.items()]
    assert said[-1] == "alpha"
    one.weft("exec", "c", "--", "sh", "-c", "mount -t tmpfs x /mnt; touch /mnt/seen; hostname beta")
    assert one.weft("exec", "c", "--", "sh", "-c", "ls /mnt; hostname").stdout == "seen\nbeta\n"


def test_exec_where_there_is_no_process(one: Host) -> None:
    """A container that only has a network: the same view of names and host name, made for each command."""
    run(one, "--ip", "192.168.10.7", "--hostname", "alpha", "--dns", "192.0.2.53")
    assert inspect(one)["pid"] is None
    net = one.sh("stat -Lc %i /run/netns/c").strip()
    look = "readlink /proc/self/ns/net; hostname; cat /etc/resolv.conf; ls /sys/class/net; getent hosts alpha"
    said = one.weft("exec", "c", "--", "sh", "-c", look).stdout.split()
    assert said == [
        f"net:[{net}]",
        "alpha",
        "nameserver",
        "192.0.2.53",
        "eth0",
        "lo",
        "192.168.10.7",
        "c",
        "alpha",
    ]
    before = one.sh("cat /proc/self/mountinfo")
    one.weft("exec", "c", "--", "mount", "-t", "tmpfs", "x", "/mnt")
    assert one.sh("cat /proc/self/mountinfo") == before
    assert one.weft("exec", "c", "--", "ls", "/mnt").stdout == one.sh("ls /mnt")


@pytest.mark.parametrize("flags", [(), ("-d", "--", "sleep", "1000")], ids=["network-only", "with-a-process"])
def test_exec_is_the_command(one: Host, flags: tuple[str, ...]) -> None:
    """In place of weft: status, streams and signals are its own."""
    run(one, *flags)
    for argv, code in ((("sh", "-c", "exit 3"), 3), (("nobody",), 127), (("/etc/passwd",), 126)):
        done = one.weft("exec", "c", "--", *argv, check=False)
        assert done.returncode == code
        assert ("weft: error: " in done.stderr) == (code > 3)
    assert one.weft("exec", "c", "--", "cat", input="through").stdout == "through"
    assert one.weft("exec", "nobody", "--", "true", check=False).returncode == 3
    assert one.weft("exec", "c", check=False).returncode == 2
    process = one.popen([WEFT, "exec", "c", "--", "sh", "-c", f"trap 'exit 9' TERM; echo ready; {IDLE}"])
    assert heard(process) == "ready"
    assert "weft exec" not in commands(one)
    process.terminate()
    assert process.wait() == 9
    process.end()


def test_exec_into_one_that_is_ending(one: Host) -> None:
    """The command has ended, its monitor has not said so yet (it is stopped): a plain refusal."""
    run(one, "-d", "--", "sleep", "1000")
    pid = inspect(one)["pid"]
    monitor = monitor_of(one, pid)
    one.sh(f"kill -STOP {monitor}; kill -9 {pid}")
    done = one.weft("exec", "c", "--", "true", check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (4, "weft: error: container c has exited")
    one.sh(f"kill -CONT {monitor}")
    assert settle(one, lambda: state(one) == ("exited", 137))


# -- deaths


def freed(host: Host) -> None:
    """The exited container's address and port are free, and it is only a name."""
    words = ("--ip", "192.168.10.50", "-p", "0.0.0.0:8080:80")
    assert run(host, *words, name="next").returncode == 0
    assert host.weft("rm", "next").returncode == 0
    before = host.weft("rm", "c").stderr
    assert before == ""


PLACE = ("--ip", "192.168.10.50", "-p", "0.0.0.0:8080:80")
#: The command, and a child of it that outlives both.
PAIR = "setsid sleep 4712 > /dev/null 2>&1 & exec sleep 4711"


@pytest.mark.parametrize("who", ["monitor", "both"])
def test_a_monitor_is_killed(one: Host, who: str) -> None:
    """Its command goes with it at once; the next command says so, ends what is left and frees the place."""
    shell(one, PAIR, "-d", *PLACE)
    assert settle(one, lambda: running(one, "sleep 4712"))
    pid = inspect(one)["pid"]
    victims = [monitor_of(one, pid)] + ([pid] if who == "both" else [])
    one.sh(f"kill -9 {' '.join(map(str, victims))}")
    assert settle(one, lambda: not running(one, "sleep 4711"))
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
    one.sh(f"kill -9 {' '.join(map(str, victims))}")
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


def test_a_command_that_outlives_its_monitor(one: Host) -> None:
    """It has asked not to die with its parent: it goes on, is seen, and cleaned up after when it has ended."""
    run(one, "-d", *PLACE, "--", "setpriv", "--pdeathsig", "clear", "sleep", "4711")
    assert settle(one, lambda: running(one, "sleep 4711"))
    pid = inspect(one)["pid"]
    one.sh(f"kill -9 {monitor_of(one, pid)}")
    said = one.weft("ps", "--format", "json")
    assert (said.stderr, [row["pid"] for row in json.loads(said.stdout)]) == ("", [pid])
    assert one.weft("exec", "c", "--", "hostname").stdout == "c\n"
    one.sh(f"kill {pid}")
    assert settle(one, lambda: not running(one, "sleep 4711"))
    assert "cleaning up" in one.weft("ps", "-a").stderr
    assert state(one) == ("exited", 137)
    freed(one)


def test_a_number_that_another_process_has_got(one: Host) -> None:
    """Monitor and command are killed, and an innocent gets the command's pid: it is none of weft's business."""
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
    """By 127.0.0.1, by a container's own gateway, by a sibling: while others start, end, are killed, removed."""
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
