"""Containers' names as engines keep them on disk, for processes that are really in cgroups of such paths."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.core.model.errors import BadInput, NotFound
from weft.core.model.namespace import EngineName
from weft.linux.engines import Engines, ask_docker

ID, OTHER = "0123456789abcdef" * 4, "0123456789ab0000" * 4
TASKS = "run/containerd/io.containerd.runtime.v2.task"
STORAGE = "var/lib/containers/storage"


def cgroups() -> Path:
    """A hierarchy in which this test may make its own cgroups."""
    for place in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        if os.path.exists(f"{place}/cgroup.procs"):
            return Path(place)
    pytest.skip("no cgroup hierarchy is mounted")


@contextlib.contextmanager
def contained(path: str, user: int = 0) -> Iterator[int]:
    """The pid of a process in a cgroup of that path, below one of the test's own."""
    own = cgroups() / f"weft-test-{os.getpid()}"
    place = own / path.strip("/")
    place.mkdir(parents=True)
    made = [p for p in (place, *place.parents) if p.is_relative_to(own)]
    process = subprocess.Popen(["sleep", "1000"], user=user, stdout=subprocess.DEVNULL)
    try:
        (place / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
    finally:
        process.kill()
        process.wait()
        for directory in made:
            directory.rmdir()


def put(root: Path, path: str, said: object) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(said if isinstance(said, str) else json.dumps(said))


def test_docker(tmp_path: Path) -> None:
    put(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", {"ID": ID, "Name": "/web"})
    engines = Engines(str(tmp_path))
    with contained(f"docker/{ID}") as pid:
        assert engines.name_of(pid) == EngineName("docker", "web", ID)
        for name in ("web", ID, ID[:12]):
            assert engines.pid_of("docker", name) == pid
        for engine, name in (("docker", "we"), ("podman", "web"), ("docker", "nope")):
            with pytest.raises(NotFound):
                engines.pid_of(engine, name)
    with pytest.raises(NotFound):
        engines.pid_of("docker", "web")


def test_docker_with_its_files_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, "etc/docker/daemon.json", {"data-root": "/data/docker"})
    put(tmp_path, f"data/docker/containers/{ID}/config.v2.json", {"Name": "/web"})
    with contained(f"docker-{ID}.scope") as pid:
        assert Engines(str(tmp_path)).name_of(pid) == EngineName("docker", "web", ID)


@pytest.mark.parametrize("kind", ["overlay-containers", "vfs-containers"])
@pytest.mark.parametrize("file", ["containers.json", "volatile-containers.json"])
def test_podman(tmp_path: Path, kind: str, file: str) -> None:
    listed = [{"id": OTHER, "names": ["other"]}, {"id": ID, "names": ["web"]}, {"id": "x"}, 7]
    put(tmp_path, f"{STORAGE}/{kind}/{file}", listed)
    with contained(f"machine.slice/libpod-{ID}.scope/container") as pid:
        assert Engines(str(tmp_path)).name_of(pid) == EngineName("podman", "web", ID)
        assert Engines(str(tmp_path)).pid_of("podman", "web") == pid


def test_podman_of_a_user(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    home = tmp_path / nobody.pw_dir.strip("/")
    listed = [{"id": ID, "names": ["mine"]}]
    put(home, ".local/share/containers/storage/overlay-containers/containers.json", listed)
    put(tmp_path, f"{STORAGE}/overlay-containers/containers.json", [{"id": ID, "names": ["theirs"]}])
    path = f"user.slice/user@{nobody.pw_uid}.service/libpod-{ID}.scope"
    with contained(path, nobody.pw_uid) as pid:
        assert Engines(str(tmp_path)).name_of(pid) == EngineName("podman", "mine", ID)


def test_the_systems_container_comes_before_a_users(tmp_path: Path) -> None:
    """A user may call his container as he likes, and his cgroups too."""
    nobody = pwd.getpwnam("nobody").pw_uid
    put(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", {"Name": "/web"})
    engines = Engines(str(tmp_path))
    with contained(f"user@{nobody}.service/docker-{ID}.scope", nobody) as pid:
        assert engines.name_of(pid) == EngineName("docker", ID[:12], ID)
        with pytest.raises(NotFound):
            engines.pid_of("docker", "web")


def test_containerd(tmp_path: Path) -> None:
    put(tmp_path, f"{TASKS}/default/{ID}/config.json", {"annotations": {"nerdctl/name": "web"}})
    with contained(f"nerdctl-{ID}.scope") as pid:
        assert Engines(str(tmp_path)).name_of(pid) == EngineName("containerd", "web", ID)


_CRIO = f"run/containers/storage/overlay-containers/{ID}/userdata"


@pytest.mark.parametrize(
    ("place", "keys"),
    [
        (f"{TASKS}/k8s.io/{ID}", "cri.sandbox-namespace cri.sandbox-name cri.container-name"),
        (_CRIO, "pod.namespace pod.name container.name"),
    ],
)
def test_kubernetes(tmp_path: Path, place: str, keys: str) -> None:
    words = zip(keys.split(), ("shop", "web-1", "nginx"), strict=True)
    notes = {f"io.kubernetes.{key}": word for key, word in words}
    put(tmp_path, f"{place}/config.json", {"annotations": notes})
    engines = Engines(str(tmp_path))
    with contained(f"kubepods/burstable/pod12/{ID}") as pid:
        assert engines.name_of(pid) == EngineName("cri", "shop_web-1_nginx", ID)
        assert engines.pid_of("cri", "nginx") == engines.pid_of("cri", "web-1") == pid


def test_lxc_and_incus(tmp_path: Path) -> None:
    with contained("lxc.payload.web") as pid:
        assert Engines(str(tmp_path)).name_of(pid) == EngineName("lxc", "web", "web")
        assert Engines(str(tmp_path)).pid_of("lxc", "web") == pid
        (tmp_path / "run/incus/web").mkdir(parents=True)
        assert Engines(str(tmp_path)).name_of(pid) == EngineName("incus", "web", "web")
        assert Engines(str(tmp_path)).pid_of("incus", "web") == pid
        with pytest.raises(NotFound):
            Engines(str(tmp_path)).pid_of("lxc", "web")


def test_units_of_systemd(tmp_path: Path) -> None:
    with contained("system.slice/weft-test.service") as pid:
        assert Engines(str(tmp_path)).name_of(pid) == EngineName(
            "systemd", "weft-test.service", "weft-test.service"
        )
        assert (
            Engines().pid_of("systemd", "weft-test")
            == Engines().pid_of("systemd", "weft-test.service")
            == pid
        )


@pytest.mark.parametrize(
    ("file", "engine"),
    [
        (f"run/containers/storage/overlay-containers/{ID}/userdata/pidfile", "podman"),
        (f"{TASKS}/moby/{ID}/init.pid", "docker"),
        (f"{TASKS}/k8s.io/{ID}/init.pid", "cri"),
        (f"{TASKS}/default/{ID}/init.pid", "containerd"),
    ],
)
def test_whose_cgroup_says_nothing(tmp_path: Path, file: str, engine: str) -> None:
    """As under ``podman run --cgroups=disabled``."""
    with contained("plain") as pid:
        put(tmp_path, file, f"{pid}\n")
        assert Engines(str(tmp_path)).name_of(pid) == EngineName(engine, ID[:12], ID)
        assert Engines(str(tmp_path)).pid_of(engine, ID) == pid
        os.utime(tmp_path / file, (1_000_000_000, 1_000_000_000))
        assert Engines(str(tmp_path)).name_of(pid) is None, "the file is older than the process"
        for junk in ("", "x", "-1", "0", "99999999", "1" * 100, str(pid + 1)):
            put(tmp_path, file, junk)
            assert Engines(str(tmp_path)).name_of(pid) is None


def test_who_is_in_none() -> None:
    with contained("plain") as pid:
        assert Engines().name_of(pid) is None
    assert Engines().name_of(pid) is None, "it has ended"


def test_an_id_that_begins_like_another(tmp_path: Path) -> None:
    put(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", {"Name": "/web"})
    put(tmp_path, f"var/lib/docker/containers/{OTHER}/config.v2.json", {"Name": f"/{ID[:12]}"})
    engines = Engines(str(tmp_path))
    with contained(f"docker/{ID}"), contained_beside(f"docker/{OTHER}") as other:
        with pytest.raises(BadInput, match="can be any of 0123456789ab, 0123456789ab"):
            engines.pid_of("docker", ID[:8])
        assert engines.pid_of("docker", OTHER) == other
        assert engines.pid_of("docker", ID[:12]) == other, "a name comes before the beginning of an id"


@contextlib.contextmanager
def contained_beside(path: str) -> Iterator[int]:
    """Another in the tree that ``contained`` has made."""
    place = cgroups() / f"weft-test-{os.getpid()}" / path
    place.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as process:
        (place / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
        process.kill()
    place.rmdir()


def test_the_first_of_a_pid_namespace_stands_for_its_container() -> None:
    place = cgroups() / f"weft-test-{os.getpid()}"
    with contained(f"docker/{ID}") as helper:
        script = (
            f"echo $$ >{place}/docker/{ID}/cgroup.procs; exec unshare --pid --fork sh -c 'echo; exec cat'"
        )
        pipe = subprocess.PIPE
        with subprocess.Popen(["sh", "-c", script], stdin=pipe, stdout=pipe) as outer:
            assert outer.stdin and outer.stdout and outer.stdout.readline() == b"\n"
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            assert Engines().pid_of("docker", ID) == int(children[0]) != helper
            outer.stdin.close()


HOSTILE = [
    "",
    "{",
    "[]",
    "null",
    '{"Name": 7}',
    '{"Name": ["/web"]}',
    '{"Name": ""}',
    '{"Name": "/"}',
    "[" * 100_000,
    '"' + "a" * (2 << 20) + '"',
    '{"Name": "' + "a" * 1000 + '"}',
    "\ud800".encode("utf-8", "surrogatepass").decode("latin1"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_state_file_may_hold(tmp_path: Path, text: str) -> None:
    for path in (
        f"var/lib/docker/containers/{ID}/config.v2.json",
        "etc/docker/daemon.json",
        f"{STORAGE}/overlay-containers/containers.json",
        f"{TASKS}/k8s.io/{ID}/config.json",
        f"{TASKS}/default/{ID}/config.json",
    ):
        put(tmp_path, path, text)
    for path, engine in (
        (f"docker/{ID}", "docker"),
        (f"libpod-{ID}.scope", "podman"),
        (f"cri-containerd-{ID}.scope", "cri"),
        (f"nerdctl-{ID}.scope", "containerd"),
    ):
        with contained(path) as pid:
            assert Engines(str(tmp_path)).name_of(pid) == EngineName(engine, ID[:12], ID)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_state_file_that_is_none(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"var/lib/docker/containers/{ID}/config.v2.json"
    file.parent.mkdir(parents=True)
    put(tmp_path, "secret", {"Name": "/web"})
    make = {
        "link": lambda: file.symlink_to(tmp_path / "secret"),
        "fifo": lambda: os.mkfifo(file),
        "directory": file.mkdir,
    }
    make[kind]()
    with contained(f"docker/{ID}") as pid:
        assert Engines(str(tmp_path)).name_of(pid) == EngineName("docker", ID[:12], ID)


@contextlib.contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Something at Docker's socket that says this to whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    heard: list[bytes] = []

    def serve() -> None:
        with listener.accept()[0] as client:
            heard.append(client.recv(1 << 16))
            client.sendall(answer)

    server = threading.Thread(target=serve)
    server.start()
    yield heard
    server.join()
    listener.close()


def test_dockers_own_word_where_its_files_say_nothing(tmp_path: Path) -> None:
    said = json.dumps([{"Id": ID, "Names": ["/web"]}, {"Id": 7}, 7]).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said)
    with answering(tmp_path / "run/docker.sock", head + said) as heard, contained(f"docker/{ID}") as pid:
        assert Engines(str(tmp_path)).name_of(pid) == EngineName("docker", "web", ID)
    assert heard[0].startswith(b"GET /containers/json HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer", [b"", b"junk", b"HTTP/1.1 200 OK\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[[]]"]
)
def test_something_else_at_dockers_socket(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "docker.sock", answer):
        assert ask_docker(str(tmp_path / "docker.sock")) == {}


def test_nobody_at_dockers_socket(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert ask_docker(str(path)) == {}, "nobody listens"
        listener.listen()
        assert ask_docker(str(path), 0.05) == {}, "nobody answers"
    assert ask_docker(str(path)) == {}
    path.unlink()
    assert ask_docker(str(path)) == {}
