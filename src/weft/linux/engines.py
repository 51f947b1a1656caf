"""What container engines call their containers: the names only, the kernel is the truth.

Which container a process is in, its cgroup says; where that says nothing (``--cgroups=disabled``), the
file in which the engine keeps the first process's pid. Its name is in a file too, each of which may
be missing, cut short or somebody's joke; then the id is the name.
"""

from __future__ import annotations

import os

from weft.core.model.cgroup import InCgroup, is_word, of_process
from weft.core.model.errors import BadInput, NotFound
from weft.core.model.namespace import EngineName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The largest that a state file of one container, and of all of an engine's, is read.
_ONE, _ALL = 1 << 20, 1 << 24
_TASKS = "/run/containerd/io.containerd.runtime.v2.task"
_STORAGE = "/var/lib/containers/storage"
_RUN_STORAGE = "/run/containers/storage"
#: Whose a namespace of containerd's is, when not containerd's own users'.
_SPACES = {"moby": "docker", "k8s.io": "cri"}
_STORED = ("overlay-containers", "vfs-containers", "btrfs-containers", "zfs-containers")
_SHORT = 12
_HEX = frozenset("0123456789abcdef")


def pid_of(engine: str, name: str) -> int:
    """The first process of an engine's container, by its name, its id, or the beginning of that. NotFound;
    BadInput when several begin so."""
    return Engines().pid_of(engine, name)


def docker_name(inode: int) -> tuple[str, str]:
    """What Docker calls the container that has a network namespace, and its id; "" where it says nothing."""
    from weft.linux import process

    engines = Engines()
    for pid in process.in_namespaces([inode], "net").get(inode, []):
        found = engines.docker_of(pid)
        if found is not None:
            return found.name, found.id
    return "", ""


class Engines:
    """The engines of a machine whose files are under ``root`` and processes under ``proc``."""

    __slots__ = ("_claims", "_found", "_proc", "_root", "_stored")

    def __init__(self, root: str = "", proc: str = "/proc") -> None:
        self._root = root
        self._proc = proc
        self._found: dict[InCgroup, EngineName] = {}
        self._claims: dict[int, InCgroup] | None = None
        self._stored: dict[str, Any] = {}

    def name_of(self, pid: int) -> EngineName | None:
        """What an engine calls the container of a process; None when it is in none."""
        found = self._container(pid)
        return None if found is None else self._named(found, pid)

    def docker_of(self, pid: int) -> EngineName | None:
        """What Docker calls the container of a process, wherever below its cgroups that is: by the ids in its
        path of which Docker has a file."""
        text = _read(f"{self._proc}/{pid}/cgroup", 1 << 16).decode(errors="replace")
        for part in dict.fromkeys(text.replace("\n", "/").replace(".scope", "").split("/")):
            id = part.rpartition("-")[2]
            if len(id) == 64 and frozenset(id) <= _HEX:
                said = self._json(f"{self._docker_root()}/containers/{id}/config.v2.json", _ONE)
                name = said.get("Name") if isinstance(said, dict) else None
                if isinstance(name, str) and 1 < len(name) < 256:
                    return EngineName("docker", name.lstrip("/"), id)
        found = self.name_of(pid)
        return found if found is not None and found.engine == "docker" else None

    def _container(self, pid: int) -> InCgroup | None:
        try:
            with open(f"{self._proc}/{pid}/cgroup", "rb") as file:
                found = of_process(file.read(1 << 16).decode(errors="replace"))
        except OSError:
            return None
        if found is not None and found.engine != "systemd":
            return found
        if self._claims is None:
            self._claims = self._claimed()
        return self._claims.get(pid, found)

    def _claimed(self) -> dict[int, InCgroup]:
        """What the engines' files say of first processes."""
        found = self._bare()
        for space in self._list(_TASKS):
            engine = _SPACES.get(space, "containerd")
            for id in self._list(f"{_TASKS}/{space}"):
                pid = self._pid(f"{_TASKS}/{space}/{id}/init.pid")
                found[pid] = InCgroup(engine, id, space if engine == "containerd" else "")
        for kind in _STORED:
            for id in self._list(f"{_RUN_STORAGE}/{kind}"):
                found[self._pid(f"{_RUN_STORAGE}/{kind}/{id}/userdata/pidfile")] = InCgroup("podman", id)
        root = self._docker_root()
        for id in self._list(f"{root}/containers"):
            path = f"{root}/containers/{id}/config.v2.json"
            said = self._json(path, _ONE)
            state = said.get("State") if isinstance(said, dict) else None
            first = state.get("Pid") if isinstance(state, dict) else None
            found[self._older(first, path) if isinstance(first, int) else 0] = InCgroup("docker", id)
        found.pop(0, None)
        return found

    def _bare(self) -> dict[int, InCgroup]:
        """What OCI runtimes' own files say: of those that nobody else has started through them."""
        found = {}
        for runtime, file, key in (("runc", "state.json", "init_process_pid"), ("crun", "status", "pid")):
            for id in self._list(f"/run/{runtime}"):
                path = f"/run/{runtime}/{id}/{file}"
                said = self._json(path, _ONE)
                pid = said.get(key) if isinstance(said, dict) else None
                found[self._older(pid, path) if isinstance(pid, int) else 0] = InCgroup(runtime, id)
        return found

    def _list(self, path: str) -> list[str]:
        try:
            return [name for name in os.listdir(self._root + path) if is_word(name)]
        except OSError:
            return []

    def _pid(self, path: str) -> int:
        """The pid in a file, if its process is older than the file: else it is somebody else's by now."""
        word = _read(self._root + path, 32).strip()
        return self._older(int(word), path) if word.isdigit() and len(word) <= 7 else 0

    def _older(self, pid: int, path: str) -> int:
        """A pid whose process is older than the file that names it; else 0."""
        try:
            written = os.stat(self._root + path).st_mtime
            with open(f"{self._proc}/{pid}/stat", "rb") as file:
                ticks = int(file.read().rpartition(b")")[2].split()[19])
            with open(f"{self._proc}/stat", "rb") as file:
                booted = int(file.read().partition(b"\nbtime ")[2].split()[0])
        except (OSError, IndexError, ValueError):
            return 0
        # Both are told in whole seconds, or nearly.
        return pid if booted + ticks / os.sysconf("SC_CLK_TCK") <= written + 2 else 0

    def _named(self, found: InCgroup, pid: int) -> EngineName:
        if found not in self._found:
            engine, name = _NAMES[found.engine](self, found, self._home(pid) if found.user else "")
            if not (isinstance(name, str) and 0 < len(name) < 256):
                name = found.id[:_SHORT]
            self._found[found] = EngineName(engine, name, found.id)
        return self._found[found]

    def _home(self, pid: int) -> str:
        """The home of a process's user, whose engine keeps its files there."""
        import pwd

        try:
            return pwd.getpwuid(os.stat(f"{self._proc}/{pid}").st_uid).pw_dir.rstrip("/") or "/nonexistent"
        except (OSError, KeyError):
            return "/nonexistent"

    # -- one engine each: the engine, and what its files say

    def _docker(self, found: InCgroup, home: str) -> tuple[str, object]:
        data = f"{home}/.local/share/docker" if home else self._docker_root()
        said = self._json(f"{data}/containers/{found.id}/config.v2.json", _ONE)
        name = said.get("Name") if isinstance(said, dict) else None
        if not isinstance(name, str) and not home:
            name = self._asked().get(found.id)
        return "docker", name.lstrip("/") if isinstance(name, str) else None

    def _docker_root(self) -> str:
        said = self._json("/etc/docker/daemon.json", _ONE)
        root = said.get("data-root") if isinstance(said, dict) else None
        return root if isinstance(root, str) and root.startswith("/") else "/var/lib/docker"

    def _asked(self) -> dict[str, str]:
        """Ids and names as Docker itself says them, once."""
        path = f"{self._root}/run/docker.sock"
        if path not in self._stored:
            self._stored[path] = ask_docker(path)
        found: dict[str, str] = self._stored[path]
        return found

    def _podman(self, found: InCgroup, home: str) -> tuple[str, object]:
        return "podman", self._storage(found.id, home)

    def _storage(self, id: str, home: str) -> object:
        """The name in the list that containers/storage keeps, one for each way to store layers."""
        base = f"{home}/.local/share/containers/storage" if home else _STORAGE
        for kind in _STORED:
            for file in ("containers.json", "volatile-containers.json"):
                listed = self._json(f"{base}/{kind}/{file}", _ALL)
                for one in listed if isinstance(listed, list) else ():
                    if isinstance(one, dict) and one.get("id") == id:
                        names = one.get("names")
                        return names[0] if isinstance(names, list) and names else None
        return None

    def _containerd(self, found: InCgroup, home: str) -> tuple[str, object]:
        notes = self._annotations(f"{_TASKS}/{found.space or 'default'}/{found.id}/config.json")
        return "containerd", notes.get("nerdctl/name")

    def _cri(self, found: InCgroup, home: str) -> tuple[str, object]:
        notes = self._annotations(f"{_TASKS}/k8s.io/{found.id}/config.json")
        start = "io.kubernetes.cri."
        parts = [
            notes.get(f"{start}{key}") for key in ("sandbox-namespace", "sandbox-name", "container-name")
        ]
        if not any(parts):
            notes = self._annotations(f"{_RUN_STORAGE}/overlay-containers/{found.id}/userdata/config.json")
            start = "io.kubernetes."
            parts = [notes.get(f"{start}{key}") for key in ("pod.namespace", "pod.name", "container.name")]
        words = [part for part in parts if isinstance(part, str) and part not in ("", "POD")]
        return "cri", "_".join(words) or self._storage(found.id, "")

    def _lxc(self, found: InCgroup, home: str) -> tuple[str, object]:
        places = (f"{self._root}/run/incus", f"{self._root}/var/lib/incus/containers")
        incus = any(os.path.isdir(f"{place}/{found.id}") for place in places)
        return "incus" if incus else "lxc", found.id

    def _same(self, found: InCgroup, home: str) -> tuple[str, object]:
        return found.engine, found.id

    def _annotations(self, path: str) -> dict[str, object]:
        said = self._json(path, _ONE)
        notes = said.get("annotations") if isinstance(said, dict) else None
        return notes if isinstance(notes, dict) else {}

    def _json(self, path: str, limit: int) -> Any:
        """What a state file says, read once; None when it says nothing of use."""
        if path not in self._stored:
            self._stored[path] = _parsed(_read(self._root + path, limit))
        return self._stored[path]

    # -- the way back

    def pid_of(self, engine: str, name: str) -> int:
        """The first process of a container: the lowest of those that are the first in a pid namespace of
        their own, else the lowest."""
        pids: dict[EngineName, list[int]] = {}
        users: set[EngineName] = set()
        for pid in sorted([int(p) for p in os.listdir(self._proc) if p.isdigit()]):
            found = self._container(pid)
            if found is not None and (found.engine == engine or (found.engine, engine) == ("lxc", "incus")):
                called = self._named(found, pid)
                pids.setdefault(called, []).append(pid)
                if found.user:
                    users.add(called)
        called = _chosen(engine, name, pids, users)
        first = [pid for pid in pids[called] if self._is_first(pid)]
        return (first or pids[called])[0]

    def _is_first(self, pid: int) -> bool:
        try:
            with open(f"{self._proc}/{pid}/status", "rb") as file:
                words = file.read(1 << 14).partition(b"\nNSpid:")[2].partition(b"\n")[0].split()
        except OSError:
            return False
        return len(words) > 1 and words[-1] == b"1"


def _chosen(engine: str, name: str, pids: dict[EngineName, list[int]], users: set[EngineName]) -> EngineName:
    """By name, by id, by its beginning; the system's containers before those of users, who call theirs
    what they like."""
    there = [c for c in pids if c.engine == engine]
    for group in ([c for c in there if c not in users], [c for c in there if c in users]):
        for same in (
            [c for c in group if name in (c.name, c.id)],
            [c for c in group if _close(engine, name, c)],
        ):
            if len(same) > 1:
                raise BadInput(
                    f"{engine}:{name} can be any of {', '.join([c.id[:_SHORT] for c in same])}",
                    f"write more of the id: {engine}:{same[0].id}",
                )
            if same:
                return same[0]
    raise NotFound(
        f"{engine} has no running container {name!a} here", "`weft ns ls --type all` lists what runs"
    )


def _close(engine: str, name: str, called: EngineName) -> bool:
    if engine == "systemd":
        return called.name == f"{name}.service"
    if engine == "cri":
        return name in called.name.split("_") or called.id.startswith(name)
    return called.id.startswith(name) and called.id != called.name


def _read(path: str, limit: int) -> bytes:
    """A regular file that is not too large; nothing otherwise. In a home it must be its owner's: a link there
    leads nowhere that he could not go himself."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):
        return b""
    try:
        found = os.fstat(fd)
        home, _, inside = path.partition("/.local/share/")
        if found.st_mode & 0o170000 != 0o100000 or found.st_size > limit:
            return b""
        if inside and found.st_uid != os.stat(home).st_uid:
            return b""
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read(limit)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _parsed(data: bytes) -> Any:
    if not data:
        return None
    import json

    try:
        return json.loads(data)
    except (ValueError, RecursionError, MemoryError):
        return None


def ask_docker(path: str, seconds: float = 0.5) -> dict[str, str]:
    """Ids and names of running containers from Docker's socket; nothing when it does not answer in time."""
    if not os.path.exists(path):
        return {}
    from http.client import HTTPConnection, HTTPException
    from socket import AF_UNIX, SOCK_STREAM, socket

    connection = HTTPConnection("docker", timeout=seconds)
    try:
        connection.sock = socket(AF_UNIX, SOCK_STREAM)
        connection.sock.settimeout(seconds)
        connection.sock.connect(path)
        connection.request("GET", "/containers/json")
        listed = _parsed(connection.getresponse().read(_ALL))
    except (OSError, HTTPException):
        return {}
    finally:
        connection.close()
    found = {}
    for one in listed if isinstance(listed, list) else ():
        id, names = (one.get("Id"), one.get("Names")) if isinstance(one, dict) else (None, None)
        if isinstance(id, str) and isinstance(names, list) and names and isinstance(names[0], str):
            found[id] = names[0].lstrip("/")
    return found


_NAMES = {
    "docker": Engines._docker,
    "podman": Engines._podman,
    "containerd": Engines._containerd,
    "cri": Engines._cri,
    "lxc": Engines._lxc,
    "systemd": Engines._same,
    "runc": Engines._same,
    "crun": Engines._same,
}
