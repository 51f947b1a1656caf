"""Prints the kernel's state as JSON: run inside a Host by snapshot.py as ``python3 -IS picture.py SPEC``.

It reads with iproute2, nft and plain files, never with weft's own code: what weft thinks of the kernel
is what the tests doubt. Only what is still in motion is waited for, by the kernel's own notices: link
states, and addresses whose uniqueness is being checked.
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import json
import os
import re
import select
import socket
import stat
import struct
import subprocess
import sys
import time
from typing import Any

CLONE_NEWNET = 0x40000000
RTM_NEWNSID, RTM_GETNSID, NETNSA_NSID, NETNSA_FD = 88, 90, 1, 3
RTMGRP_LINK, RTMGRP_IPV6_IFADDR = 0x1, 0x100
PATIENCE = 3.0
NETNS = "/run/netns"
FILES = ("/run/weft", NETNS, "/etc/netns")
CGROUPS = "/sys/fs/cgroup"
GROUP_FILES = (
    *("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us"),
    *(
        "cpu.shares",
        "cpuset.cpus",
        "cpuset.mems",
        "pids.max",
        "devices.list",
        "freezer.state",
        "cgroup.freeze",
    ),
)
#: The group of a machine, above all that it sees (machine.py).
MACHINE = re.compile("^/weft-test-machine-[0-9]+")
#: Not compared: they change without anything being different.
NO_FILES = ("*.lock", "lock", "*.log", "*.db", "*.db-*", "*.sqlite*")
VOLATILE_SYSCTLS = ("netfilter/nf_conntrack_count", "ipv4/tcp_fastopen_key")
#: Of an interface, switched on for as long as its addresses are announced.
ANNOUNCING = ("arp_notify", "ndisc_notify")
WRITE_ONLY_SYSCTLS = ("flush", "stable_secret")
SYSCTL_TREES = ("ipv4", "ipv6", "bridge", "netfilter", "core")

libc = ctypes.CDLL(None, use_errno=True)


def documents(text: str) -> list[Any]:
    """The JSON documents of a text, one after the other: ``ip -batch`` writes one a command."""
    found, decoder, at = [], json.JSONDecoder(), 0
    text = text.strip()
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def output(argv: list[str], script: str = "") -> str:
    done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: status {done.returncode}: {done.stderr}")
    return done.stdout


def ip(*commands: str, family: str = "-0") -> list[list[dict[str, Any]]]:
    options = ["-j", "-d", "-batch", "-"] if family == "-0" else [family, "-j", "-d", "-batch", "-"]
    answers = documents(output(["ip", *options], "\n".join(commands) + "\n"))
    return [[row for row in rows if row] for rows in answers]


# -- waiting for what is in motion


def in_motion(links: list[dict[str, Any]]) -> bool:
    for link in links:
        flags, state = link["flags"], link["operstate"]
        carrier = "LOWER_UP" in flags
        if carrier and state in ("DOWN", "LOWERLAYERDOWN"):
            return True
        if "NO-CARRIER" in flags and state in ("UP", "UNKNOWN"):
            return True
        if not carrier and state == "UP":  # not even NO-CARRIER: the kernel says that a second later too
            return True
        if carrier and any(a.get("tentative") and not made_by_kernel(a["local"]) for a in link["addr_info"]):
            return True
    return False


def links_at_rest(deadline: float) -> list[dict[str, Any]]:
    notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    notices.bind((0, RTMGRP_LINK | RTMGRP_IPV6_IFADDR))
    with notices:
        while True:
            links = ip("address show")[0]
            left = deadline - time.monotonic()
            if left <= 0 or not in_motion(links):
                return links
            if select.select([notices], [], [], left)[0]:
                try:
                    notices.recv(65536)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:  # so much came that the kernel dropped some: look again
                        raise


# -- links and addresses


def made_by_kernel(address: str) -> bool:
    """Whether it is a link-local address made from a MAC, as comes with being up.

    It says no more than the link does, and later. The MAC may have changed since, so only the form is asked.
    """
    if not address.startswith("fe80::") or "/" in address:
        return False
    packed = socket.inet_pton(socket.AF_INET6, address)
    return packed[:8] == b"\xfe\x80" + bytes(6) and packed[11:13] == b"\xff\xfe"


def without_timers(data: Any) -> Any:
    if isinstance(data, dict):
        skip = ("no", "id", "designated_port")  # a port's number is whichever was free
        return {k: without_timers(v) for k, v in data.items() if not k.endswith("_timer") and k not in skip}
    return data


def link_picture(link: dict[str, Any], peer: str, wait: bool) -> dict[str, Any]:
    dropped = {"ifindex", "ifname", "link_index", "link_netnsid", "addr_info", "link", "linkinfo", "flags"}
    on_its_way = set() if wait else {"operstate", "NO-CARRIER"}
    picture = {key: value for key, value in link.items() if key not in dropped | on_its_way}
    picture["flags"] = sorted(set(link["flags"]) - on_its_way)
    picture["info"] = without_timers(link.get("linkinfo", {}))
    picture["altnames"] = sorted(link.get("altnames", []))
    if peer:
        picture["peer"] = peer
    return picture


def address_pictures(link: dict[str, Any]) -> dict[str, Any]:
    dropped = ("tentative", "family", "local", "prefixlen", "valid_life_time", "preferred_life_time")
    found = {}
    for address in link["addr_info"]:
        if made_by_kernel(address["local"]):
            continue
        picture = {key: value for key, value in address.items() if key not in dropped}
        picture["forever"] = address["valid_life_time"] == 0xFFFFFFFF
        found[f"{address['local']}/{address['prefixlen']}"] = picture
    return found


def nsid_of(target: int) -> int:
    """The number by which this namespace knows the one behind the descriptor, -1 for none."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.bind((0, 0))
        route.send(struct.pack("=IHHII4xHHI", 28, RTM_GETNSID, 1, 1, 0, 8, NETNSA_FD, target))
        answer = route.recv(4096)
    kind, at = struct.unpack_from("=H", answer, 4)[0], 20
    while kind == RTM_NEWNSID and at + 8 <= len(answer):
        size, attribute, value = struct.unpack_from("=HHi", answer, at)
        if attribute == NETNSA_NSID:
            return int(value)
        at += max(4, size + 3 & ~3)
    return -1


# -- the rest of a namespace


def kernel_fe80(route: dict[str, Any]) -> bool:
    common = route["dst"] in ("fe80::/64", "fe80::", "ff00::/8") or made_by_kernel(route["dst"])
    return common and route.get("protocol") == "kernel"


def line(row: dict[str, Any], dropped: tuple[str, ...] = ()) -> str:
    return json.dumps({key: value for key, value in row.items() if key not in dropped}, sort_keys=True)


def route_picture(row: dict[str, Any], wait: bool) -> str:
    if not wait:  # follows the link's state, which is still on its way
        row = {**row, "flags": [flag for flag in row.get("flags", []) if flag not in ("linkdown", "dead")]}
    return line(row, ("expires",))


def routing(spec: dict[str, Any]) -> dict[str, Any]:
    neighbours, wait = spec["neighbours"], spec["wait"]
    nud = "neighbour show" if neighbours else "neighbour show nud permanent"
    rules, routes, known = [], [], []
    for family in ("-4", "-6"):
        answers = ip("rule show", "route show table all", nud, family=family)
        rules += [f"{family} {line(row)}" for row in answers[0]]
        routes += [f"{family} {route_picture(row, wait)}" for row in answers[1] if not kernel_fe80(row)]
        known += [line(row, ("state",) if neighbours else ()) for row in answers[2]]
    return {"rules": rules, "routes": sorted(routes), "neighbours": sorted(known)}


def forwarding_entries(macs: set[str]) -> list[str]:
    found = []
    for row in json.loads(output(["bridge", "-j", "fdb", "show"]) or "[]"):
        own = row["mac"] in macs or row["mac"].startswith(("33:33:", "01:00:5e:"))
        if row.get("state") in ("permanent", "static") and not own:
            found.append(line(row))
    return sorted(found)


def queues() -> list[str]:
    rows = json.loads(output(["tc", "-j", "qdisc", "show"]) or "[]")
    return sorted(line(row, ("refcnt",)) for row in rows if row["kind"] != "noqueue")


def sysctls() -> dict[str, dict[str, str]]:
    """By directory, so that a new interface is one difference."""
    found = {}
    for tree in SYSCTL_TREES:
        for directory, _, names in os.walk(f"/proc/sys/net/{tree}"):
            key = directory.removeprefix("/proc/sys/net/")
            found[key] = {
                n: content(f"{directory}/{n}")
                for n in names
                if f"{key}/{n}" not in VOLATILE_SYSCTLS and n not in ANNOUNCING
            }
            for name in WRITE_ONLY_SYSCTLS:
                found[key].pop(name, None)
    return found


def content(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError as error:
        return f"({error.strerror})"


# -- nft


def stateless(value: Any) -> Any:
    """Without what changes by itself or by chance: counters, handles, times left, the order of a set."""
    if isinstance(value, list):
        return [stateless(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "counter" in value and isinstance(value["counter"], dict):
        value = {**value, "counter": None}
    kept = {key: stateless(item) for key, item in value.items() if key not in ("handle", "expires", "used")}
    if isinstance(kept.get("elem"), list):
        kept["elem"] = sorted(kept["elem"], key=lambda item: json.dumps(item, sort_keys=True))
    return kept


def nft_statements(text: str) -> dict[str, list[str]]:
    """Comments and flags of tables and chains: nft 1.0.6 leaves some of them out of its JSON."""
    found: dict[str, list[str]] = {}
    table = block = ""
    for raw in text.splitlines():
        words = raw.split()
        depth = len(raw) - len(raw.lstrip("\t"))
        if not words or words == ["}"]:
            continue
        if depth == 0:
            table = block = " ".join(words[:3])
        elif depth == 1 and words[-1] == "{":
            block = f"{table} {' '.join(words[:2])}"
        elif words[0] in ("comment", "flags"):
            found.setdefault(table if depth == 1 else block, []).append(" ".join(words))
    return found


def firewall() -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for item in json.loads(output(["nft", "-j", "list", "ruleset"]))["nftables"]:
        ((kind, body),) = item.items()
        if kind == "metainfo":
            continue
        body = stateless(body)
        own = f"{body['family']} {body['name'] if kind == 'table' else body['table']}"
        table = tables.setdefault(own, {"table": {}})
        if kind == "table":
            body.pop("flags", None)  # nft 1.0.6 writes the family there; "statements" has them right
            table["table"] = body
        elif kind == "rule":
            place = table.setdefault(f"chain {body['chain']}", {})
            place.setdefault("rules", []).append(line(body, ("family", "table", "chain")))
        else:
            table.setdefault(f"{kind} {body.get('name', '')}", {}).update(body)
    if tables:
        tables["statements"] = nft_statements(output(["nft", "-s", "list", "ruleset"]))
    return tables


# -- what is not of one namespace


def mounts() -> list[str]:
    found = []
    with open("/proc/self/mountinfo") as file:
        for row in file:
            left, right = row.rstrip("\n").split(" - ", 1)
            fields, (fstype, source, options) = left.split(), right.split(" ", 2)
            root = fields[3].split(":[", 1)[0] if fstype == "nsfs" else fields[3]
            if fstype.startswith("cgroup"):
                root = MACHINE.sub("", root) or "/"
            propagation = " ".join(tag.split(":")[0] for tag in fields[6:]) or "private"
            found.append(f"{fields[4]} {fstype} {source} {root} {fields[5]} {options} {propagation}")
    return sorted(found)


def cgroups() -> dict[str, dict[str, str]]:
    """Every group of the machine's, with its limits, whether it is frozen, and how many processes it has."""
    found: dict[str, dict[str, str]] = {}
    for top, _, names in os.walk(CGROUPS):
        if os.path.exists(f"{top}/cgroup.procs") and not os.path.ismount(top):
            try:
                known = {name: content_of(f"{top}/{name}") for name in GROUP_FILES if name in names}
                known["processes"] = str(len(content_of(f"{top}/cgroup.procs").split()))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
                continue  # removed while it was looked at
            found[top] = known
    return found


def content_of(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def file_picture(path: str) -> str | None:
    status = os.lstat(path)
    kind, mode = stat.S_IFMT(status.st_mode), f"{stat.S_IMODE(status.st_mode):04o}"
    who = f"{mode} {status.st_uid}:{status.st_gid}"
    if kind == stat.S_IFLNK:
        return f"-> {os.readlink(path)}"
    if kind == stat.S_IFDIR:
        return f"directory {who}"
    if kind != stat.S_IFREG or any(fnmatch.fnmatchcase(os.path.basename(path), p) for p in NO_FILES):
        return None
    if path.startswith(NETNS + "/") and os.stat(path).st_dev != os.stat(NETNS).st_dev:
        return "namespace"
    return f"file {who} {content(path)}"


def files() -> dict[str, str]:
    found = {}
    for top in FILES:
        paths = [top] if os.path.lexists(top) else []
        for directory, directories, names in os.walk(top):
            paths += [f"{directory}/{name}" for name in directories + names]
        for path in paths:
            picture = file_picture(path)
            if picture is not None:
                found[path] = picture
    return found


def processes(ignored: set[int]) -> list[str]:
    """Command lines of what runs here, except pid 1, this program, and the tests' own with their children."""
    parents, commands = {}, {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            with open(f"/proc/{pid}/stat") as file:
                parents[pid] = int(file.read().rpartition(")")[2].split()[1])
            command = content(f"/proc/{pid}/cmdline").rstrip("\0").replace("\0", " ")
            commands[pid] = command or f"({content(f'/proc/{pid}/comm')})"
        except (FileNotFoundError, ProcessLookupError):
            continue
    ignored |= {1, os.getpid()}
    return sorted(
        c for pid, c in commands.items() if not ancestors(pid, parents) & (ignored - {1}) and pid != 1
    )


def ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found = set()
    while pid and pid not in found:
        found.add(pid)
        pid = parents.get(pid, 0)
    return found


# -- all of it


class Namespaces:
    """The machine's own namespace, "", and those with a name."""

    def __init__(self) -> None:
        self.open = {"": os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)}
        for name in sorted(os.listdir(NETNS) if os.path.isdir(NETNS) else []):
            try:
                self.open[name] = os.open(f"{NETNS}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                self.enter(name)
            except OSError:  # gone meanwhile, or a file that is no namespace: files() shows it
                self.open.pop(name, None)
        self.links: dict[str, list[dict[str, Any]]] = {}

    def enter(self, name: str) -> None:
        if libc.setns(self.open[name], CLONE_NEWNET) < 0:
            raise OSError(ctypes.get_errno(), f"setns {name}")

    def peer(self, name: str, link: dict[str, Any], nsids: dict[int, str]) -> str:
        """NAMESPACE:IFNAME of what a link hangs on: a veth's other end, a macvlan's parent."""
        if "link" in link or "link_index" not in link:
            return str(link.get("link") or "")
        where = nsids.get(link.get("link_netnsid", -1), name if "link_netnsid" not in link else None)
        if where is None:
            return "outside"
        names = (o["ifname"] for o in self.links[where] if o["ifindex"] == link["link_index"])
        return f"{where or 'host'}:{next(names, '?')}"

    def picture(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        self.enter(name)
        links, wait = self.links[name], spec["wait"]
        far = any("link_netnsid" in link for link in links)
        nsids = {nsid_of(fd): other for other, fd in self.open.items()} if far else {}
        nsids.pop(-1, None)
        return {
            "links": {
                link["ifname"]: link_picture(link, self.peer(name, link, nsids), wait) for link in links
            },
            "addresses": {link["ifname"]: address_pictures(link) for link in links},
            **routing(spec),
            "fdb": forwarding_entries({link.get("address", "") for link in links}),
            "qdiscs": queues(),
            "sysctls": sysctls(),
            "nft": firewall(),
        }


def main(spec: dict[str, Any]) -> None:
    deadline = time.monotonic() + (PATIENCE if spec["wait"] else 0)
    seen = {
        "mounts": mounts(),
        "cgroups": cgroups(),
        "files": files(),
        "processes": processes(set(spec["ignore"])),
    }
    namespaces = Namespaces()
    for name in namespaces.open:
        namespaces.enter(name)
        namespaces.links[name] = links_at_rest(deadline)
    # The machine's own is shown as "host", which no namespace of weft may be called.
    seen["netns"] = {name or "host": namespaces.picture(name, spec) for name in namespaces.open}
    print(json.dumps(seen))


main(json.loads(sys.argv[1]))
