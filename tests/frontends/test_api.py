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
