"""What the paths of cgroups say of containers, and what a container cannot make them say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.model.cgroup import InCgroup, in_cgroup, of_process

ID, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4


@pytest.mark.parametrize(
    ("path", "engine", "id"),
    [
        (f"/docker/{ID}", "docker", ID),
        (f"/system.slice/docker-{ID}.scope", "docker", ID),
        (f"/machine.slice/libpod-{ID}.scope", "podman", ID),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman", ID),
        (f"/libpod_parent/libpod-{ID}", "podman", ID),
        (f"/system.slice/web.service/libpod-payload-{ID}", "podman", ID),
        (f"/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope", "cri", ID),
        (f"/kubepods.slice/kubepods-pod1_2.slice/crio-{ID}.scope", "cri", ID),
        (f"/kubepods/besteffort/pod0a1b-2c/{ID}", "cri", ID),
        (f"/system.slice/nerdctl-{ID}.scope", "containerd", ID),
        ("/lxc.payload.web", "lxc", "web"),
        ("/lxc/web/init.scope", "lxc", "web"),
        ("/lxc.payload/web", "lxc", "web"),
        ("/machine.slice/machine-fedora\\x2d40.scope/payload", "systemd", "fedora-40"),
        ("/machine.slice/systemd-nspawn@deb.service/payload", "systemd", "deb"),
        ("/system.slice/nginx.service", "systemd", "nginx.service"),
        ("/system.slice/nginx.service/worker", "systemd", "nginx.service"),
    ],
)  # fmt: skip
def test_the_forms(path: str, engine: str, id: str) -> None:
    found = in_cgroup(path)
    assert found is not None
    assert (found.engine, found.id, found.user) == (engine, id, False)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/init.scope",
        "/user.slice/user-0.slice/session-3.scope",
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/kubepods.slice/crio-conmon-{ID}.scope",
        "/lxc.monitor.web",
        "/lxc.payload...",
        f"/docker/{ID[:-1]}",
        f"/docker/{ID.upper()}",
        f"/some/where/{ID}",
    ],
)
def test_what_is_no_container(path: str) -> None:
    assert in_cgroup(path) is None


def test_containerds_namespace() -> None:
    assert in_cgroup(f"/default/{ID}") == InCgroup("containerd", ID, "default")


@pytest.mark.parametrize(
    "below", [f"docker-{OTHER}.scope", f"docker/{OTHER}", "lxc.payload.web", f"libpod-{OTHER}"]
)
def test_a_container_cannot_call_itself_another(below: str) -> None:
    found = in_cgroup(f"/docker/{ID}/{below}")
    assert found is not None and found.id == ID


def test_below_a_user_nothing_is_the_systems() -> None:
    base = "/user.slice/user-1000.slice/user@1000.service"
    assert in_cgroup(f"{base}/docker-{ID}.scope") == InCgroup("docker", ID, user=True)
    assert in_cgroup(f"{base}/user.slice/libpod-{ID}.scope/container") == InCgroup("podman", ID, user=True)
    assert in_cgroup(f"{base}/app.slice/nginx.service") is None
    assert in_cgroup(f"{base}/machine-deb.scope") is None


def test_a_container_in_any_hierarchy_comes_before_a_unit() -> None:
    text = f"12:pids:/system.slice/docker.service\n4:memory:/docker/{ID}\n1:name=systemd:/\n0::/\n"
    assert of_process(text) == InCgroup("docker", ID)
    assert of_process("1:name=systemd:/system.slice/a.service\n0::/\n") == InCgroup("systemd", "a.service")
    assert of_process("") is None


@given(st.text())
def test_anything(text: str) -> None:
    for found in (of_process(text), in_cgroup(text)):
        assert found is None or found.id


@given(
    st.lists(
        st.sampled_from(["docker", ID, "..", "lxc.payload.", "lxc.payload...", "", "pod1", "\x1b", "a/b"])
    )
)
def test_an_id_can_be_a_part_of_a_path(parts: list[str]) -> None:
    found = in_cgroup("/" + "/".join(parts))
    assert found is None or (not set(found.id) & {"/", "\0"} and found.id.strip("."))
