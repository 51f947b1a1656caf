"""Which modules of weft each hot command imports, in the order in which their imports end.

``python tests/harness/imports.py`` (as root) writes src/weft/hot.py anew; a test compares it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import wrap
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "src")]

from harness.host import PYTHON, REPO, Host  # noqa: E402  (its place is known only now)

OUT = "/run/imports"
#: The program as the launcher starts it, but that it writes down each module when its import has ended.
TRACER = f"""
import _frozen_importlib_external as machinery, posix, sys
out = posix.open({OUT!r}, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC, 0o600)
execute = machinery._LoaderBasics.exec_module
def exec_module(self, module):
    execute(self, module)
    if module.__name__.split(".")[0] == "weft":
        posix.write(out, module.__name__.encode() + b"\\n")
machinery._LoaderBasics.exec_module = exec_module
sys.path.insert(0, {str(REPO / "src")!r})
posix.environ[b"WEFT_PROGRAM"] = {str(REPO / "weft").encode()!r}
door = sys.argv[1] if sys.argv[1] in ("netavark", "aardvark", "cni") else ""
if door:
    sys.argv[:2] = ["weft-" + door]
__import__(f"weft.frontends.{{door or 'cli'}}.main", fromlist=["entry"]).entry()
"""
_RUN = "run -d --network blue --name"
_PODMAN = "netavark --config /run/podman -f /run/podman{1}.json {0} /run/netns/podman{1}"
#: Each hot command, and the calls of which the last one counts.
CALLS = {
    # Before ports are published on 127.x: then every command asks whether their proxy lives.
    "ns exec": ("ns add plain", "ns exec plain -- true"),
    "run": (f"{_RUN} first -p 127.0.0.1:8001:80", f"{_RUN} second -p 127.0.0.1:8002:80"),
    "run command": ("run --rm --network blue -- true",),
    "exec": (f"{_RUN} third -- sleep 60", "exec third -- true"),
    "rm": ("rm -f third",),
    "finished": (f"{_RUN} fourth -- sleep 60", "finished fourth 1 0"),
    "ps": ("ps",),
    "netavark setup": (_PODMAN.format("setup", 1), _PODMAN.format("setup", 2)),
    "netavark teardown": (_PODMAN.format("teardown", 2),),
    "cni add": ("cni ADD 1", "cni ADD 2"),
    "cni check": ("cni CHECK 1",),
    "cni del": ("cni DEL 2",),
}
#: What Podman says of a container with a published port.
_WISH = """{{
"container_id": "id{0}", "container_name": "c{0}",
"networks": {{"podman": {{"interface_name": "eth0", "static_ips": ["10.88.0.1{0}"]}}}},
"network_info": {{"podman": {{"name": "podman", "id": "1", "driver": "bridge", "network_interface": "podman0",
"dns_enabled": false, "internal": false, "ipv6_enabled": false,
"subnets": [{{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}}]}}}},
"port_mappings": [{{"host_ip": "", "container_port": 80, "host_port": 810{0}, "protocol": "tcp", "range": 1}}]
}}"""
#: A container with a published port, all in one, that has addresses of weft's own.
_CONF = (
    '{{"cniVersion": "1.1.0", "name": "pods", "type": "weft",'
    ' "ipam": {{"type": "weft", "subnet": "10.89.0.0/24"}},'
    ' "runtimeConfig": {{"portMappings": [{{"hostPort": 820{0}, "containerPort": 80, "protocol": "tcp"}}]}}}}'
)
_HEAD = '''"""What each hot command imports of weft, in the order in which the imports end.

The launcher reads these from one file a command (boot.py). Written by tests/harness/imports.py: an import
that a hot command gains or loses shows here, and is to be put up with on purpose.
"""

from __future__ import annotations

HOT: dict[str, tuple[str, ...]] = {
'''


def measured() -> dict[str, tuple[str, ...]]:
    """The modules of weft by command, read off real calls."""
    found = {}
    with Host() as host:
        host.weft("net", "create", "blue")
        for number in (1, 2):
            host.ip("netns", "add", f"podman{number}")
            host.ip("netns", "add", f"pod{number}")
            host.write(f"/run/podman{number}.json", _WISH.format(number))
        for command, (*before, last) in CALLS.items():
            for line in before:
                host.weft(*line.split(), **_given(line))
            host.run(["rm", "-f", OUT])
            host.run([*PYTHON, "-c", TRACER, *last.split()], check="CHECK" not in last, **_given(last))
            found[command] = tuple(host.read(OUT).split())
    return found


def _given(line: str) -> dict[str, Any]:
    """What a plug-in of CNI's gets beside its arguments."""
    if not line.startswith("cni "):
        return {}
    _, command, number = line.split()
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": f"pod{number}",
        "CNI_NETNS": f"/run/netns/pod{number}",
        "CNI_IFNAME": "eth0",
    }
    return {"env": env, "input": _CONF.format(number)}


def text(found: dict[str, tuple[str, ...]]) -> str:
    """The source of hot.py."""
    parts = [_HEAD]
    for command, names in found.items():
        lines = wrap(" ".join(names), 94)
        parts += [f'    "{command}": tuple(\n', "        (\n"]
        parts += [f'            "{line} "\n' for line in lines[:-1]]
        parts += [f'            "{lines[-1]}"\n', "        ).split()\n", "    ),\n"]
    return "".join([*parts, "}\n"])


if __name__ == "__main__":
    (REPO / "src/weft/hot.py").write_text(text(measured()))
