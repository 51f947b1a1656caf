"""``weft.Namespace``: entered, run in, called in, by many threads at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness import REPO, Host

HEAD = f"""
import json, os, socket, subprocess, sys, threading
sys.path.insert(0, {str(REPO / "src")!r})
import weft
from weft.core.model.errors import *
said = {{}}
def net():
    return os.readlink("/proc/thread-self/ns/net")
home = net()
def raised(action):
    try:
        action()
    except Exception as error:
        return f"{{type(error).__name__}}: {{error}}"
"""
STORIES = {
    "entered": """
with weft.Namespace("red") as red, weft.Namespace("blue") as blue:
    said["inodes"] = red.inode != blue.inode and home != f"net:[{red.inode}]"
    with red.entered():
        first = net()
        with blue.entered():
            second = net()
        third = net()
        with socket.socket() as s:
            said["links"] = [name for _, name in socket.if_nameindex()]
    said["nested"] = [first == third == f"net:[{red.inode}]", second == f"net:[{blue.inode}]", net() == home]
    def fails():
        with red.entered():
            raise ValueError("inside")
    said["error"] = [raised(fails), net() == home]
said["removed"] = raised(lambda: weft.Namespace.get("red"))
""",
    "run": """
with weft.Namespace("red") as red:
    os.makedirs("/etc/netns/red")
    open("/etc/netns/red/hostname", "w").write("from-red\\n")
    where = ["readlink", "/proc/self/ns/net"]
    got = red.run(where, capture_output=True, text=True, check=True)
    said["run"] = [got.stdout.strip() == f"net:[{red.inode}]", got.args == where]
    said["input"] = red.run("[ $(cat) = x ] && exit 3", shell=True, input="x", text=True).returncode
    said["check"] = raised(lambda: red.run(["false"], check=True))
    said["timeout"] = raised(lambda: red.run(["sleep", "1000"], timeout=0.1))
    said["missing"] = raised(lambda: red.run(["/no/such"]))
    said["preexec"] = raised(lambda: red.spawn(["true"], preexec_fn=print))
    look = "cat /etc/hostname; ls /sys/class/net"
    said["view"] = red.run(look, shell=True, view=True, capture_output=True, text=True).stdout
    said["outside"] = open("/etc/hostname").read() != "from-red\\n"
    child = red.spawn(["sleep", "1000"])
    said["pids"] = red.pids == [child.pid]
    same = weft.Namespace.get(child.pid)
    said["by pid"] = same.inode == red.inode and same.call(net) == f"net:[{red.inode}]"
    said["kept"] = raised(red.forget)
    child.kill(), child.wait()
    said["home"] = net() == home
""",
    "call": """
with weft.Namespace("red") as red:
    said["call"] = [red.call(net) == f"net:[{red.inode}]", red.call(max, [1, 5], key=int)]
    said["error"] = raised(lambda: red.call(lambda: 1 / 0))
flags = ["--pid", "--fork", "--mount-proc", "--net", "--user", "--map-root-user", "--kill-child"]
holder = subprocess.Popen(["unshare", *flags, "sh", "-c", "echo up; exec sleep 1000"], stdout=subprocess.PIPE)
holder.stdout.readline()
pid = int(open(f"/proc/{holder.pid}/task/{holder.pid}/children").read())
ns = weft.Namespace.get(pid)
inode = ns.inode
said["apart"] = ns.call(lambda: (os.getuid(), open("/proc/1/comm").read(), net() == f"net:[{inode}]"))
said["apart error"] = raised(lambda: ns.call(lambda: 1 / 0))
said["unpicklable"] = raised(lambda: ns.call(lambda: net.__code__))
said["no word"] = raised(lambda: ns.call(lambda: os._exit(9)))
said["program"] = ns.run(["cat", "/proc/1/comm"], capture_output=True, text=True).stdout
some = weft.Namespace.get(pid, "mnt,pid,user")
said["some"] = some.call(net) == home
said["children"] = len(open("/proc/self/task/%d/children" % os.getpid()).read().split())
holder.kill()
""",
    "recycled": """
one = subprocess.Popen(["sleep", "1000"])
ns = weft.Namespace.get(one.pid)
one.kill(), one.wait()
def again():
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(one.pid - 1))
    return subprocess.Popen(["sleep", "1000"])
said["gone"] = raised(lambda: ns.run(["true"]))
# A start is told in hundredths of a second: the next must not begin in the same.
while (other := again()).pid != one.pid or weft.Namespace.get(other.pid)._way.started == ns._way.started:
    other.kill(), other.wait()
said["recycled"] = [raised(lambda: ns.run(["true"])), raised(lambda: ns.entered().__enter__()), net() == home]
other.kill(), other.wait()
""",
    "threads": """
spaces = [weft.Namespace(f"n{i}") for i in range(8)]
wrong, stop = [], threading.Event()
def enters(ns):
    mine = f"net:[{ns.inode}]"
    for i in range(200):
        with ns.entered():
            if net() != mine:
                wrong.append("not inside")
        if net() != home:
            wrong.append("not home")
        where = ["readlink", "/proc/self/ns/net"]
        if i % 50 == 0 and ns.run(where, capture_output=True, text=True).stdout.strip() != mine:
            wrong.append("command elsewhere")
        if i % 50 == 0 and ns.call(net) != mine:
            wrong.append("call elsewhere")
def creates():
    import fcntl
    while not stop.is_set():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fd = fcntl.ioctl(s.fileno(), 0x894C)  # SIOCGSKNS
            if f"net:[{os.fstat(fd).st_ino}]" != home:
                wrong.append("socket elsewhere")
            os.close(fd)
threads = [threading.Thread(target=enters, args=(ns,)) for ns in spaces]
others = [threading.Thread(target=creates) for _ in range(2)]
for t in (*others, *threads):
    t.start()
while any(t.is_alive() for t in threads):
    if os.readlink("/proc/self/ns/net") != home:
        wrong.append("main thread elsewhere")
stop.set()
for t in (*others, *threads):
    t.join()
said["wrong"] = wrong
for ns in spaces:
    ns.remove()
""",
}


def told(host: Host, story: str) -> dict[str, Any]:
    script = HEAD + STORIES[story] + "\nprint(json.dumps(said))\n"
    found: dict[str, Any] = json.loads(host.run(["/usr/bin/python3", "-I", "-c", script]).stdout)
    return found


def test_entered(host: Host) -> None:
    assert told(host, "entered") == {
        "inodes": True,
        "links": ["lo"],
        "nested": [True, True, True],
        "error": ["ValueError: inside", True],
        "removed": "NotFound: no network namespace 'red' under /run/netns",
    }


def test_run_and_spawn(host: Host) -> None:
    said = told(host, "run")
    assert said["run"] == [True, True] and said["input"] == 3 and said["view"] == "from-red\nlo\n"
    assert said["check"].startswith("CalledProcessError") and said["timeout"].startswith("TimeoutExpired")
    assert said["missing"].startswith("FileNotFoundError") and said["preexec"].startswith("BadInput")
    assert all(said[word] for word in ("outside", "pids", "by pid", "home")) and said["kept"] is None


def test_call(host: Host) -> None:
    said = told(host, "call")
    assert (
        said["call"] == [True, 5]
        and said["error"] == said["apart error"] == "ZeroDivisionError: division by zero"
    )
    assert said["apart"] == [0, "sleep\n", True] and said["program"] == "sleep\n" and said["some"]
    assert said["unpicklable"].startswith("WeftError") and "status 9" in said["no word"]
    assert said["children"] == 1  # the holder: nothing else is left


def test_a_recycled_pid_is_refused(host: Host) -> None:
    said = told(host, "recycled")
    assert said["gone"].startswith("NotFound")
    first, second, home = said["recycled"]
    assert first == second and "another has its pid now" in first and home


@pytest.mark.parametrize("_", range(2))
def test_threads_do_not_meet(host: Host, _: int) -> None:
    assert told(host, "threads") == {"wrong": []}
