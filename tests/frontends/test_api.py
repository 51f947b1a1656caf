"""The library: the same verbs, and everything usable in a ``with``."""

from __future__ import annotations

import json

from harness import Host
from harness.host import REPO

STORY = """
import json, sys
sys.path.insert(0, sys.argv[1])
import weft
from weft.core.model.errors import Conflict, NotFound
said = {}
with weft.Network("blue", subnet="192.168.10.0/24", bridge="lxcbr0") as blue:
    with blue.container("web", address="192.168.10.11", publish=["0.0.0.0:8080:80"], aliases=["www"]) as web:
        said["address"] = web.address
        said["networks"] = list(web.info["networks"])
        said["endpoints"] = [e["container"] for e in blue.info["endpoints"]]
        try:
            blue.remove(force=False)
        except Conflict as error:
            said["conflict"] = error.message
        said["many"] = [c.address for c in blue.containers(["a", "b", "c"])]
        said["found"] = repr(weft.Container.get("a")), repr(weft.Network.get("blue"))
    try:
        weft.Container.get("web")
    except NotFound as error:
        said["gone"] = error.message
print(json.dumps(said))
"""


def test_the_objects_do_what_the_commands_do(host: Host) -> None:
    source = str(REPO / "src")
    said = json.loads(host.run(["/usr/bin/python3", "-I", "-c", STORY, source]).stdout)
    assert said["address"] == "192.168.10.11"
    assert said["networks"] == ["blue"]
    assert said["endpoints"] == ["web"]
    assert "in use by web" in said["conflict"]
    assert said["many"] == ["192.168.10.2", "192.168.10.3", "192.168.10.4"]
    assert said["found"] == ["<weft.Container a>", "<weft.Network blue>"]
    assert said["gone"] == "no container 'web'"
    assert host.weft_json("net", "ls") == []
    assert host.ip("link", "show", "type", "bridge") == ""


PUBLISHES = """
import json, sys
sys.path.insert(0, sys.argv[1])
import weft
from weft.core.model.errors import BadInput, Conflict, NotFound
said = {}
with weft.Network("blue", subnet="192.168.10.0/24") as blue, blue.container("web") as web:
    said["published"] = web.publish("blue", "0.0.0.0:8080:80", "127.0.0.1:9000-9001:80")
    said["info"] = sorted([p["host_port"] for p in web.info["publish"]])
    for spec in ("8080:81", "80:80/sctp"):
        try:
            web.publish("blue", spec)
        except (BadInput, Conflict) as error:
            said[spec] = type(error).__name__
    web.unpublish("blue", "0.0.0.0:8080:80")
    said["left"] = [p["host_port"] for p in web.info["publish"]]
    try:
        web.unpublish("blue", "0.0.0.0:8080:80")
    except NotFound as error:
        said["gone"] = error.message
print(json.dumps(said))
"""


def test_ports_of_a_running_container(host: Host) -> None:
    argv = ["/usr/bin/python3", "-I", "-c", PUBLISHES, str(REPO / "src")]
    said = json.loads(host.run(argv).stdout)
    assert said["published"] == ["0.0.0.0:8080:80/tcp", "127.0.0.1:9000:80/tcp"]
    assert said["info"] == [8080, 9000]
    assert (said["8080:81"], said["80:80/sctp"]) == ("Conflict", "BadInput")
    assert said["left"] == [9000]
    assert "does not publish 0.0.0.0:8080:80" in said["gone"]


LIVES = """
import json, os, signal, subprocess, sys
sys.path.insert(0, sys.argv[1])
import weft
from weft.core.model.errors import WeftError
said, refused = {}, []

def refusal(action):
    try:
        action()
    except WeftError as error:
        refused.append((type(error).__name__, error.message))

root = "/run/busybox"
script = "echo out; echo err >&2; env; cat /srv/file; sleep 1000"
with weft.run(
    ["sh", "-c", script], "job", network="none", rootfs=root, env={"A": "b c"}, volume="/run/shared:/srv:ro",
    read_only=True, tmpfs=["/tmp", "/run"], memory="64m", cpus=0.5, pids_limit=20, user="65534", restart="no",
    stop_timeout=3, log_opt={"max-size": "1m"},
) as job:
    pieces = []
    for piece in job.logs(follow=True):
        pieces.append(piece)
        if {b"err\\n", b"shared\\n"} <= {p.data for p in pieces}:
            break
    said["out"] = sorted(p.data.decode() for p in pieces if p.stream == b"stdout")
    said["err"] = [p.data.decode() for p in pieces if p.stream == b"stderr"]
    said["limits"] = [job.info["limits"][key] for key in ("memory", "cpus", "pids")]
    inside = job.run(["sh", "-c", "id -u; echo $X; pwd; exit 3"], user="7", workdir="/srv", env={"X": "y"},
                     capture_output=True, text=True)
    said["inside"] = inside.returncode, inside.stdout.split()
    said["input"] = job.run(["cat"], input=b"through", capture_output=True).stdout.decode()
    spawned = job.spawn(["sleep", "1001"])
    said["stats"] = job.stats(0)["memory_limit"], job.stats(0)["pids"] > 1
    while not {"sleep 1000", "sleep 1001"} <= {row["args"] for row in job.top()}:
        pass
    job.pause()
    said["paused"] = job.state
    refusal(job.pause)
    job.unpause()
    refusal(lambda: job.rename("other"))
    refusal(lambda: weft.run(["true"], "job"))
    job.kill("USR1")  # which ends a shell
    said["killed"] = job.wait(), job.state, job.exit_code, job.pid
    said["ended"] = spawned.wait()
    job.rename("other")
    job.start()
    said["again"] = weft.Container.get("other").state, [c.name for c in weft.Container.all()]
    os.kill(job.info["monitor"], signal.SIGKILL)
    said["mended"] = job.wait(), job.state
    job.restart(0)
    job.stop(0)
    said["tail"] = len(list(job.logs(tail=1)))
    refusal(lambda: next(job.logs(since="yesterday")))
with weft.Network("blue", subnet="192.168.10.0/24") as blue:
    web = blue.container("web", ["sleep", "1000"], address="192.168.10.9", aliases=["www"], hostname="w")
    said["web"] = web.address, web.run(["hostname"], capture_output=True, text=True).stdout
    unnamed = weft.run(["true"], network="blue", rm=True)
    said["bare"] = weft.run(name="bare", network=["blue"]).pid
refusal(lambda: weft.run(["/nonexistent"], network="none"))
refusal(lambda: weft.run("true"))
refusal(lambda: weft.run(["true"], network="none", memory="1k"))
refusal(lambda: weft.run(["true"], network="none", colour="red"))
said["left"] = [c.name for c in weft.Container.all()]
print(json.dumps({**said, "refused": refused}))
"""


def test_a_containers_life(host: Host) -> None:
    """What run, exec and the life of containers offer on the command line, as objects."""
    box = "/run/busybox"
    host.sh(f"mkdir -p {box}/bin {box}/srv {box}/tmp {box}/run /run/shared; echo shared >/run/shared/file")
    host.sh(f"cp $(readlink -f $(which busybox)) {box}/bin")
    host.sh(f"for f in sh env cat sleep id pwd; do ln -s busybox {box}/bin/$f; done")
    done = host.run(["/usr/bin/python3", "-I", "-c", LIVES, str(REPO / "src")], check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {"A=b c\n", "out\n"} <= set(said["out"])
    assert said["err"] == ["err\n"]
    assert said["limits"] == [64 << 20, 0.5, 20]
    assert said["inside"] == [3, ["7", "y", "/srv"]]
    assert (said["input"], said["stats"]) == ("through", [64 << 20, True])
    assert (said["paused"], said["killed"]) == ("paused", [138, "exited", 138, None])
    assert said["ended"] == 137
    assert said["again"] == ["running", ["other"]]
    assert (said["mended"], said["tail"]) == ([137, "exited"], 1)
    assert said["web"] == ["192.168.10.9", "w\n"]
    assert (said["bare"], said["left"]) == (None, [])
    assert said["refused"] == [
        ["Conflict", "container job is paused already"],
        ["Conflict", "container job is running: its namespace, cables and files carry its name"],
        ["Conflict", "container job exists already"],
        ["BadInput", "since 'yesterday' is no time"],
        ["CommandNotFound", "command '/nonexistent' is not found"],
        ["BadInput", "the command 'true' is one text, not a list of words"],
        ["BadInput", "--memory 1k is below the minimum of 6m"],
        ["BadInput", "unknown flag '--colour=red'"],
    ]
