"""What a command in a container sees, started by run or exec: namespaces, names, mounts, environment."""

from __future__ import annotations

import signal

import pytest

from harness import Host, settle
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

SPACES = ("net", "mnt", "uts", "ipc", "pid")
SHARED = ("user", "cgroup", "time")
#: Without it nobody in a container mounts, or renames it.
ADMIN = ("--cap-add", "SYS_ADMIN")


def own_spaces(host: Host, pid: int | str) -> dict[str, int]:
    words = host.sh(
        f"cd /proc/{pid}/ns; for n in {' '.join((*SPACES, *SHARED))}; do readlink $n; done"
    ).split()
    return {word.partition(":")[0]: int(word.partition("[")[2][:-1]) for word in words}


def test_namespaces(one: Host) -> None:
    """net, mnt, uts, ipc and pid are its own, and no other container's; inspect says what /proc says."""
    spaces = {}
    for name in ("a", "b"):
        run(one, "-d", "--", "sleep", "1000", name=name)
        found = inspect(one, name)
        spaces[name] = own_spaces(one, found["pid"])
        assert found["namespaces"] == spaces[name] == own_spaces(one, command_of(one, name))
        assert one.sh(f"stat -Lc %i /run/netns/{name}").strip() == str(spaces[name]["net"])
    host = own_spaces(one, "self")
    for kind in SPACES:
        assert len({host[kind], spaces["a"][kind], spaces["b"][kind]}) == 3, kind
    for kind in SHARED:
        assert host[kind] == spaces["a"][kind] == spaces["b"][kind], kind
    table = one.run(["lsns", "-n", "-t", "net", "-o", "NS,COMMAND"]).stdout
    assert f"{spaces['a']['net']} weft-init" in table
    table = one.run(["lsns", "-n", "-t", "pid", "-o", "NS,NPROCS"]).stdout
    assert [f"{spaces['a']['pid']}", "2"] in [line.split() for line in table.splitlines()]


def test_its_own_pids(one: Host) -> None:
    """What runs in it is all that is seen there, an init of weft's first; a command by exec is among them."""
    run(one, "-d", "--", "sleep", "1000")
    seen = one.weft("exec", "c", "--", "ps", "-eo", "pid=,ppid=,args=").stdout.splitlines()
    assert [line.split(None, 2) for line in seen[:2]] == [["1", "0", "weft-init"], ["2", "1", "sleep 1000"]]
    assert len(seen) == 3 and seen[2].endswith(" 0 ps -eo pid=,ppid=,args=")
    pid = inspect(one)["pid"]
    ids = one.sh(f"grep ^NSpid: /proc/{pid}/status /proc/{command_of(one)}/status").split()
    assert (ids[1], ids[2], ids[-1]) == (str(pid), "1", "2")
    assert shell(one, "echo $$", "--rm", "--init=false", name="first").stdout == "1\n"


def test_where_there_is_version_2_alone_the_cgroup_namespace_is_its_own(host: Host) -> None:
    """As Docker has it: its cgroup is the root that it sees; unless something else is asked for."""
    host.sh("umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    outer = host.sh("readlink /proc/self/ns/cgroup").strip()

    def look(*flags: str) -> list[str]:
        asked = ("--", "sh", "-c", "readlink /proc/self/ns/cgroup; grep ^0:: /proc/self/cgroup")
        return host.weft(
            "run", "--rm", "--name", "c", "--network", "none", *flags, *asked
        ).stdout.splitlines()

    own, place = look()
    assert own != outer and place == "0::/"
    for flag in ("--cgroupns=host", "--privileged"):
        own, place = look(flag)
        assert own == outer and place.endswith("/weft/c"), flag


def test_its_own_hostname(one: Host) -> None:
    assert run(one, "--rm", "--", "hostname").stdout == "c\n"
    assert run(one, "--rm", "--hostname", "web.example", "--", "hostname").stdout == "web.example\n"
    assert shell(one, "hostname changed; hostname", "--rm").stdout == "c\n", "it takes a capability"
    assert shell(one, "hostname changed; hostname", "--rm", *ADMIN).stdout == "changed\n"
    assert one.sh("hostname") == "machine\n"


def test_its_own_system_v_ipc(one: Host) -> None:
    one.sh("ipcmk -Q")
    assert shell(one, "ipcs -q | grep -c 0x; ipcmk -Q >&2; exit 0", "--rm").stdout == "0\n"
    assert one.sh("ipcs -q | grep -c 0x") == "1\n"


def test_sys_is_its_networks_and_cgroups_stay(machine: Host) -> None:
    assert shell(machine, "ls /sys/class/net", "--rm").stdout.split() == ["eth0", "lo"]
    assert run(machine, "--rm", "--", "cat", "/sys/class/net/eth0/operstate").stdout.strip() == "up"
    # The containers' own groups come and go.
    look = "cd /sys/fs/cgroup; find . -maxdepth 2 -not -path '*/weft*' | sort"
    groups = machine.sh(look)
    if groups == ".\n":
        print("no cgroup file system on this machine: that it stays visible is not tested")
    assert shell(machine, look, "--rm").stdout == groups
    run(machine, "-d", "--", "sleep", "1000")
    assert machine.weft("exec", "c", "--", "sh", "-c", look).stdout == groups
    for top in ["/sys/fs/cgroup", *machine.sh("ls -d /sys/fs/cgroup/*/").split()]:
        done = machine.weft("exec", "c", "--", "mkdir", f"{top}/own", check=False)
        assert done.returncode == 1 and "Read-only file system" in done.stderr, top
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
    """Nor keep the host's from being undone; where mounts propagate, later ones are seen inside."""
    machine.sh(
        "mkdir -p /run/inside /run/outside /run/early; mount -t tmpfs early /run/early; touch /run/early/x"
    )
    before = machine.sh("cat /proc/self/mountinfo")
    mine = "mount -t tmpfs mine /run/inside && touch /run/inside/file && exec sleep 1000"
    assert shell(machine, mine, "--rm").returncode != 0, "it takes a capability"
    shell(machine, mine, "-d", *ADMIN)
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
    assert "ONLY=there" in one.sh(f"tr '\\0' '\\n' < /proc/{command_of(one)}/environ")
    assert set(one.read(f"/proc/{inspect(one)['pid']}/environ")) <= {"\0"}, "its init has none to show"
    assert shell(one, "echo $0", "--rm", "-e", "PATH=/nowhere", name="x").returncode == 127


def test_working_directory(one: Host) -> None:
    """The caller's, or -w; the command's path is relative to it."""
    one.sh("mkdir -p /run/a/b; ln -s /bin/pwd /run/a/where")
    assert run(one, "--rm", "--", "pwd", cwd="/run/a").stdout == "/run/a\n"
    assert run(one, "--rm", "-w", "b", "--", "pwd", cwd="/run/a").stdout == "/run/a/b\n"
    assert run(one, "--rm", "-w", "/run/a", "--", "./where").stdout == "/run/a\n"
    assert run(one, "--rm", "-w", "/nowhere", "--", "pwd").returncode == 2
    run(one, "-d", "-w", "/run/a", "--", "sleep", "1000")
    assert one.sh(f"readlink /proc/{command_of(one)}/cwd /proc/{inspect(one)['pid']}/cwd") == "/run/a\n/\n"
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
    for process in (pid, command_of(one)):
        assert one.sh(f"ls /proc/{process}/fd").split() == ["0", "1", "2"]
    monitor = monitor_of(one, pid)
    links = one.sh(f"cd /proc/{monitor}/fd; for fd in *; do readlink $fd; done").split()
    assert links[:3] == ["/dev/null"] * 3
    assert {link.partition(":")[0] for link in links[3:]} == {"pipe", "socket"}
    assert seen("exec c") == ["0", "1", "2"]


# -- exec


def test_exec_beside_a_process(one: Host) -> None:
    run(one, "-d", "--hostname", "alpha", *ADMIN, "--", "sleep", "1000")
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
    mount = ("c", "--", "mount", "-t", "tmpfs", "x", "/mnt")
    assert one.weft("exec", *mount, check=False).returncode == 32, "it takes a capability"
    one.weft("exec", "--privileged", *mount)
    assert one.sh("cat /proc/self/mountinfo") == before
    assert one.weft("exec", "c", "--", "ls", "/mnt").stdout == one.sh("ls /mnt")


@pytest.mark.parametrize(
    "flags",
    [(), ("-d", "--", "sleep", "1000"), ("-d", "--pid", "host", "--", "sleep", "1000")],
    ids=["network-only", "with-a-process", "in-the-hosts-pids"],
)
def test_exec_is_the_command(one: Host, flags: tuple[str, ...]) -> None:
    """Status, streams and signals are the command's own. It takes weft's place, but for a pid namespace:
    only a child can be in there."""
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
    assert ("weft exec" in commands(one)) == ("host" not in flags)
    process.terminate()
    assert process.wait() == 9
    process.end()
    process = one.popen([WEFT, "exec", "c", "--", "sh", "-c", "echo; exec sleep 4711"])
    assert heard(process) == ""
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert settle(one, lambda: not running(one, "sleep 4711")), "it does not outlive who waits for it"
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
