"""What a container is, as the flags of ``run`` say it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from weft.core.model.errors import BadInput
from weft.core.model.oci import Mount, Rlimit, Spec
from weft.frontends.cli import args as arguments
from weft.frontends.cli import isolation

ENV = (("PATH", "/bin"),)


def spec(*words: str) -> Spec:
    command, rest, args = arguments.find_command(["run", *words, "--", "true"])
    return isolation.spec(arguments.parse(command, rest, args), ENV)


def kinds(found: Spec) -> dict[str, str]:
    return {n.type: n.path for n in found.namespaces}


def test_the_default_is_dockers_less_net_raw() -> None:
    found = spec()
    assert kinds(found) == {"net": "", "mnt": "", "pid": "", "ipc": "", "uts": ""}
    assert (found.root, found.init, found.filter) == ("", True, "default")
    process = found.process
    assert process.no_new_privileges
    assert process.capabilities is not None
    assert "CAP_NET_RAW" not in process.capabilities.bounding
    assert "CAP_NET_BIND_SERVICE" in process.capabilities.bounding
    assert process.capabilities.inheritable == process.capabilities.ambient == ()
    assert "/proc/kcore" in found.masked_paths


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--pid", "host"], {"net", "mnt", "ipc", "uts"}),
        (["--ipc", "host"], {"net", "mnt", "pid", "uts"}),
        (["--uts", "host"], {"net", "mnt", "pid", "ipc"}),
        (["--cgroupns", "private"], {"net", "mnt", "pid", "ipc", "uts", "cgroup"}),
    ],
)
def test_modes(words: list[str], expected: set[str]) -> None:
    assert set(kinds(spec(*words))) == expected


def test_another_containers() -> None:
    found = kinds(spec("--pid", "container:web", "--ipc", "container:db"))
    assert (found["pid"], found["ipc"]) == ("container:web", "container:db")
    assert not spec("--pid", "container:web").init, "that pid namespace has its pid 1"


def test_shared_memory(tmp_path: Path) -> None:
    def shm(*words: str) -> list[Mount]:
        return [m for m in spec(*words).mounts if m.destination == "/dev/shm"]

    assert "size=67108864" in shm()[0].options
    assert "size=1048576" in shm("--shm-size", "1m")[0].options
    (none,) = shm("--ipc", "none")
    assert (none.type, "ro" in none.options) == ("tmpfs", True), "not the host's"
    assert shm("--ipc", "none", "--rootfs", str(tmp_path)) == []
    assert shm("--ipc", "host") == [], "the host's files have the host's"
    assert shm("--ipc", "host", "--rootfs", str(tmp_path))[0].source == "/dev/shm"


def test_a_root_of_its_own(tmp_path: Path) -> None:
    found = spec("--rootfs", str(tmp_path), "--read-only", "--tmpfs", "/run:size=1m", "-w", "/srv")
    assert (found.root, found.root_readonly, found.process.cwd) == (str(tmp_path), True, "/srv")
    places = {m.destination: m for m in found.mounts}
    assert set(places) >= {"/proc", "/dev", "/dev/pts", "/sys", "/dev/mqueue", "/dev/shm", "/run"}
    assert "ro" in places["/sys"].options
    assert places["/run"].options[-1] == "size=1m"


def test_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    found = spec("-v", f"{tmp_path}/data:/srv/data:ro", "-v", "./data:/x").mounts[-2:]
    assert found == (
        Mount("/x", f"{tmp_path}/data", "bind", ("rbind", "nodev")),
        Mount("/srv/data", f"{tmp_path}/data", "bind", ("rbind", "nodev", "ro")),
    )


def test_mounts_inside_of_others_come_after_them(tmp_path: Path) -> None:
    flags = ("-v", f"{tmp_path}:/run/a/b", "--tmpfs", "/run", "-v", f"{tmp_path}:/run/a", "--tmpfs", "/srv")
    order = [m.destination for m in spec(*flags).mounts[-4:]]
    assert order == ["/run", "/srv", "/run/a", "/run/a/b"]


def test_rights() -> None:
    more = spec("--cap-add", "net_raw", "--cap-drop", "CAP_CHOWN").process.capabilities
    assert more is not None
    assert ("CAP_NET_RAW" in more.bounding, "CAP_CHOWN" in more.bounding) == (True, False)
    none = spec("--cap-drop", "ALL", "--cap-add", "SYS_TIME").process.capabilities
    assert none is not None
    assert none.bounding == ("CAP_SYS_TIME",)
    free = spec("--privileged")
    assert free.process.capabilities is not None
    assert len(free.process.capabilities.bounding) == 41
    assert (free.filter, free.process.no_new_privileges, free.masked_paths) == ("unconfined", False, ())
    assert not spec("--security-opt", "no-new-privileges=false").process.no_new_privileges
    assert spec("--security-opt", "seccomp=unconfined").filter == "unconfined"
    assert spec("--ulimit", "nofile=10:20").process.rlimits == (Rlimit("RLIMIT_NOFILE", 10, 20),)


def test_subordinate_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open
    files = {"/etc/subuid": tmp_path / "subuid", "/etc/subgid": tmp_path / "subgid"}
    for path in files.values():
        path.write_text("joe:1000:10\nroot:200000:65536\nweft:300000:65536\n")
    monkeypatch.setattr("builtins.open", lambda path, *a, **k: real(str(files.get(str(path), path)), *a, **k))
    found = spec("--userns", "private")
    assert [(m.container_id, m.host_id, m.size) for m in found.uid_mappings] == [(0, 300000, 65536)]
    assert kinds(found)["user"] == ""
    assert [m.type for m in found.mounts if m.destination == "/dev/pts"] == ["devpts"], "none of the host's"


REFUSED: Sequence[tuple[str, str]] = (
    ("-v /etc:/mnt --tmpfs /mnt/", "'/mnt' is given twice"),
    ("--pid sideways", "--pid"),
    ("--pid container:", "container"),
    ("--pid container:a --name a", "its own pid namespace"),
    ("--ipc private:x", "--ipc"),
    ("--uts container:web", "--uts"),
    ("--uts host --hostname x", "--hostname conflicts with --uts host"),
    ("--userns private --pid host", "--userns private conflicts with --pid host"),
    ("--userns private --network host", "--userns private conflicts with --network host"),
    ("--userns private --privileged", "--userns private conflicts with --privileged"),
    ("--domainname -x", "domain name"),
    ("--rootfs /no/such", "not a directory"),
    ("--rootfs /", "host's own root"),
    ("--rootfs /tmp -w srv", "not absolute"),
    ("-w /no/such", "does not exist"),
    ("-v /no/such:/x", "does not exist"),
    ("-v data:/x", "names no path"),
    ("-v /tmp", "SRC:DST"),
    ("-v /tmp:x", "SRC:DST"),
    ("-v /tmp:/", "below the container's /"),
    ("-v /tmp:/x:sideways", "SRC:DST"),
    ("--tmpfs x", "below the container's /"),
    ("--shm-size 64x", "not a size"),
    ("--cap-add fly", "not a capability"),
    ("--cap-drop ''", "not a capability"),
    ("--security-opt apparmor=x", "not known"),
    ("--ulimit nofile", "NAME=SOFT"),
    ("--ulimit nofile=x", "NAME=SOFT"),
)


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_refused(words: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        spec(*[w.strip("'") for w in words.split()])
