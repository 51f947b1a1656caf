"""config.json, read and written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.oci import strategies
from weft.core.model.errors import BadInput, Unsupported, WeftError
from weft.core.model.oci import Capabilities, IDMapping, Mount, Namespace, Process, Resources, Rlimit, Spec
from weft.core.oci.read import read
from weft.core.oci.write import document, write

SMALLEST: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/"},
}


def config(**changes: Any) -> bytes:
    """The smallest config.json, with members put in: ``linux__namespaces=[..]``; None takes one out."""
    made = json.loads(json.dumps(SMALLEST))
    for key, value in changes.items():
        *way, last = key.split("__")
        place = made
        for step in way:
            place = place.setdefault(step, {})
        place[last] = value
        if value is None:
            del place[last]
    return json.dumps(made).encode()


def refused(data: bytes, kind: type[WeftError] = BadInput) -> str:
    with pytest.raises(kind) as caught:
        read(data, "/bundle")
    assert type(caught.value) is kind
    return caught.value.message


@given(strategies.specs)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_reads_the_same(spec: Spec) -> None:
    assert read(write(spec), "/bundle").spec == spec


@pytest.mark.campaign
@given(strategies.specs)
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_reads_the_same_thousands_of_times(spec: Spec) -> None:
    assert read(write(spec), "/bundle").spec == spec


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_all_that_a_runtimes_spec_writes_is_understood(runtime: str, tmp_path: Path) -> None:
    subprocess.run([runtime, "spec"], cwd=tmp_path, check=True, timeout=20)
    found = read((tmp_path / "config.json").read_bytes(), "/bundle")
    spec = found.spec
    assert found.remarks == ()
    assert spec.root == "/bundle/rootfs"
    assert spec.process.terminal
    assert spec.process.rlimits == (Rlimit("RLIMIT_NOFILE", 1024, 1024),)
    assert [n.type for n in spec.namespaces][:5] == ["pid", "net", "ipc", "uts", "mnt"]
    assert spec.mounts[0] == Mount("/proc", "proc", "proc")
    assert spec.resources.devices == ((False, "a", -1, -1, "rwm"),)
    assert "/proc/kcore" in spec.masked_paths
    # and weft's own says the same, but for what is said by leaving it out
    ours, theirs = document(spec), json.loads((tmp_path / "config.json").read_text())
    assert ours["mounts"] == [{k: v for k, v in m.items() if v} for m in theirs["mounts"]]
    assert ours["linux"]["namespaces"] == theirs["linux"]["namespaces"]


def test_what_is_left_out() -> None:
    spec = read(config(), "/bundle").spec
    held = Capabilities()  # none at all, as runc has it
    assert spec == Spec(Process(("sh",), capabilities=held), root="/bundle/rootfs")


def test_all_of_it() -> None:
    """The long example of config.md, as far as it is Linux's."""
    text = """{"ociVersion": "1.0.1", "process": {"terminal": true,
      "user": {"uid": 1, "gid": 1, "additionalGids": [5, 6]},
      "args": ["sh"], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"], "cwd": "/",
      "capabilities": {"bounding": ["CAP_AUDIT_WRITE", "CAP_WHAT"], "ambient": ["CAP_NET_BIND_SERVICE"]},
      "rlimits": [{"type": "RLIMIT_CORE", "hard": 1024, "soft": 1024}], "apparmorProfile": "",
      "oomScoreAdj": 100, "selinuxLabel": "", "noNewPrivileges": true},
     "root": {"path": "/data/rootfs", "readonly": true}, "hostname": "slartibartfast", "unknown": {"a": [1]},
     "mounts": [{"destination": "/data", "type": "none", "source": "/volumes/testing",
       "options": ["rbind", "rw"]}],
     "hooks": {"poststop": [{"path": "/usr/sbin/cleanup.sh", "args": ["cleanup.sh", "-f"], "timeout": 5}]},
     "linux": {"devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438}],
       "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 32000}],
       "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 32000}],
       "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "5"}, "cgroupsPath": "/myRuntime/myContainer",
       "resources": {"pids": {"limit": 32771}, "memory": {"limit": 536870912, "swap": 536870912},
         "cpu": {"shares": 1024, "quota": 1000000, "period": 500000, "cpus": "2-3"},
         "blockIO": {}, "unified": null,
         "devices": [{"allow": false, "access": "rwm"},
           {"allow": true, "type": "c", "major": 10, "access": "rw"}]},
       "rootfsPropagation": "slave", "seccomp": {"defaultAction": "SCMP_ACT_ALLOW",
         "architectures": ["SCMP_ARCH_X86"], "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]},
       "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}, {"type": "ipc"},
         {"type": "uts"},
         {"type": "mount"}, {"type": "user"}, {"type": "cgroup"}], "maskedPaths": ["/proc/kcore"],
       "readonlyPaths": ["/proc/sys"], "personality": {"domain": "LINUX"}, "intelRdt": {}, "mountLabel": ""},
     "annotations": {"com.example.key1": "value1"}}"""
    found = read(text.encode(), "/bundle")
    spec = found.spec
    assert found.remarks == ("process.capabilities.bounding[1]: no capability is called 'CAP_WHAT'",)
    assert spec.root == "/data/rootfs" and spec.root_readonly
    assert spec.namespace("net") == Namespace("net", "/run/netns/x")
    assert spec.fresh() == ("pid", "ipc", "uts", "mnt", "user", "cgroup")
    assert spec.uid_mappings == (IDMapping(0, 1000, 32000),)
    assert spec.resources == Resources(
        memory=1 << 29,
        swap=1 << 29,
        cpu_quota=1_000_000,
        cpu_period=500_000,
        cpu_shares=1024,
        cpuset_cpus="2-3",
        pids=32771,
        devices=((False, "a", -1, -1, "rwm"), (True, "c", 10, -1, "rw")),
    )
    assert spec.process.capabilities == Capabilities(
        bounding=("CAP_AUDIT_WRITE",), ambient=("CAP_NET_BIND_SERVICE",)
    )
    assert spec.filter == "given" and spec.seccomp is not None
    assert spec.hooks[0].timeout == 5
    assert spec.annotations == (("com.example.key1", "value1"),)
    assert read(write(spec), "/elsewhere").spec == spec


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ociVersion": None}, "ociVersion: is missing"),
        ({"ociVersion": "2.0.0"}, "ociVersion: '2.0.0' is not a version that weft knows"),
        ({"ociVersion": 1}, "ociVersion: is a number, not a string"),
        ({"process": None}, "process: is missing"),
        ({"process": []}, "process: is an array, not an object"),
        ({"process__args": []}, "process.args: is empty"),
        ({"process__args": None}, "process.args: is missing"),
        ({"process__args": ["a\0b"]}, "process.args[0]: has a NUL character in it"),
        ({"process__args": ["a", None]}, "process.args[1]: is null, not a string"),
        ({"process__args": ["\ud800"]}, "process.args[0]: has half of a surrogate pair in it"),
        ({"process__cwd": "tmp"}, "process.cwd: 'tmp' is not an absolute path"),
        ({"process__env": ["A"]}, "process.env[0]: 'A' is not NAME=VALUE"),
        ({"process__env": ["=A"]}, "process.env[0]: '=A' is not NAME=VALUE"),
        ({"process__terminal": "true"}, "process.terminal: is a string, not true or false"),
        ({"process__user__uid": -1}, "process.user.uid: -1 is not in 0 to 4294967294"),
        ({"process__user__uid": 0xFFFFFFFF}, "process.user.uid: 4294967295 is not in 0 to 4294967294"),
        ({"process__user__gid": True}, "process.user.gid: is true or false, not a whole number"),
        ({"process__user__umask": 0o1000}, "process.user.umask: 512 is not in 0 to 511"),
        ({"process__oomScoreAdj": 1001}, "process.oomScoreAdj: 1001 is not in -1000 to 1000"),
        ({"process__oomScoreAdj": 1e3}, "process.oomScoreAdj: is a number, not a whole number"),
        (
            {"process__rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]},
            "process.rlimits[0].type: 'RLIMIT_X'",
        ),
        (
            {"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]},
            "process.rlimits[0]: soft limit 2 is above the hard one, 1",
        ),
        (
            {"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2},
            "process.rlimits[1]: RLIMIT_CPU is there twice",
        ),
        ({"root": None}, "root: is missing"),
        ({"root__path": ""}, "root.path: is empty"),
        ({"hostname": "web"}, "hostname: needs a uts namespace of its own"),
        ({"mounts": {}}, "mounts: is an object, not an array"),
        ({"mounts": [{}]}, "mounts[0].destination: is missing"),
        ({"mounts": [{"destination": "a"}]}, "mounts[0].destination: 'a' is not an absolute path"),
        (
            {"mounts": [{"destination": "/a", "options": "ro"}]},
            "mounts[0].options: is a string, not an array",
        ),
        (
            {"linux__namespaces": [{"type": "net"}]},
            "linux.namespaces[0].type: 'net' is not one of pid, network",
        ),
        ({"linux__namespaces": [{"type": ""}]}, "linux.namespaces[0].type: '' is not one of pid, network"),
        (
            {"linux__namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "pid"}]},
            "linux.namespaces[2].type: pid is there twice",
        ),
        (
            {"linux__namespaces": [{"type": "pid", "path": "ns/pid"}]},
            "linux.namespaces[0].path: 'ns/pid' is not an absolute path",
        ),
        ({"linux__namespaces": [{"type": "user"}]}, "linux.uidMappings: is missing: nobody would be anybody"),
        (
            {"linux__uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]},
            "linux.uidMappings: needs a user namespace of its own",
        ),
        (
            {"linux__uidMappings": [{"containerID": 0, "hostID": 0, "size": 0}]},
            "linux.uidMappings[0].size: 0 is not in 1 to 4294967295",
        ),
        ({"linux__maskedPaths": ["proc"]}, "linux.maskedPaths[0]: 'proc' is not an absolute path"),
        (
            {"linux__sysctl": {"kernel.core_pattern": "|/x"}},
            "linux.sysctl.kernel.core_pattern: is of the whole host",
        ),
        (
            {"linux__sysctl": {"kernel.shm_rmid_forced.x": "1"}},
            "linux.sysctl.kernel.shm_rmid_forced.x: is of",
        ),
        (
            {"linux__sysctl": {"net.ipv4.ip_forward": "1"}},
            "linux.sysctl.net.ipv4.ip_forward: needs a net namespace",
        ),
        (
            {"linux__sysctl": {"net/../kernel/x": "1"}},
            "linux.sysctl.net/../kernel/x: is not the name of a sysctl",
        ),
        ({"linux__sysctl": {"net..x": "1"}}, "linux.sysctl.net..x: is not the name of a sysctl"),
        ({"linux__sysctl": {"a": 1}}, "linux.sysctl.a: is a number, not a string"),
        ({"linux__rootfsPropagation": "x"}, "linux.rootfsPropagation: 'x' is not one of"),
        ({"linux__cgroupsPath": "/a/../../b"}, "linux.cgroupsPath: '/a/../../b' leads upwards"),
        (
            {"linux__devices": [{"path": "/dev/x", "type": "q"}]},
            "linux.devices[0].type: 'q' is not one of c, b, u, p",
        ),
        ({"linux__devices": [{"path": "/dev/x", "type": "c"}]}, "linux.devices[0].major: is missing"),
        (
            {"linux__resources__pids__limit": 1 << 63},
            "linux.resources.pids.limit: 9223372036854775808 is not in",
        ),
        ({"linux__resources__memory__swap": 5}, "linux.resources.memory.swap: needs a memory limit"),
        (
            {"linux__resources__memory": {"limit": 9, "swap": 5}},
            "linux.resources.memory.swap: 5 is below the memory",
        ),
        ({"linux__resources__cpu__cpus": "0;x"}, "linux.resources.cpu.cpus: '0;x' is not a list of CPUs"),
        (
            {"linux__resources__devices": [{"allow": True, "access": "rx"}]},
            "linux.resources.devices[0].access: 'rx' is not of r, w and m",
        ),
        ({"linux__seccomp": {}}, "linux.seccomp.defaultAction: is missing"),
        (
            {"linux__seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [5]}]}},
            "linux.seccomp.syscalls[0].names[0]: is a number, not a string",
        ),
        ({"annotations": {"": "x"}}, "annotations: has an empty key"),
        ({"annotations": {"a": 5}}, "annotations.a: is a number, not a string"),
        ({"annotations": {"a\0": "5"}}, r"annotations.'a\x00': has a NUL character in it"),
        ({"hooks__poststop": [{"path": "x"}]}, "hooks.poststop[0].path: 'x' is not an absolute path"),
        ({"hooks__poststop": [{"path": "/x", "timeout": 0}]}, "hooks.poststop[0].timeout: 0 is not in 1 to"),
        ({"hooks": []}, "hooks: is an array, not an object"),
        ({"linux": "x"}, "linux: is a string, not an object"),
    ],
)
def test_what_cannot_be(changes: dict[str, Any], said: str) -> None:
    assert refused(config(**changes)).startswith(said)


@pytest.mark.parametrize(
    "changes",
    [
        {"process__apparmorProfile": "docker-default"},
        {"process__selinuxLabel": "system_u:object_r:x"},
        {"process__scheduler": {"policy": "SCHED_FIFO"}},
        {"linux__intelRdt": {"closID": "x"}},
        {"linux__mountLabel": "x"},
        {"linux__personality": {"domain": "LINUX32"}},
        {"linux__resources__blockIO": {"weight": 10}},
        {"linux__resources__hugepageLimits": [{"pageSize": "2MB", "limit": 1}]},
        {"linux__resources__unified": {"memory.high": "1"}},
        {"linux__resources__memory": {"reservation": 5}},
        {"linux__resources__cpu": {"realtimeRuntime": 5}},
        {"mounts": [{"destination": "/a", "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}]},
        {"linux__seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}},
    ],
)
def test_what_weft_does_not_do_is_refused(changes: dict[str, Any]) -> None:
    assert ": " in refused(config(**changes), Unsupported)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "config.json is not JSON"),
        (b"{" * 10_000, "config.json is "),
        (b"[" * 100_000 + b"]" * 100_000, "config.json is nested too deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "config.json is nested too deep"),
        (b"[]", "config.json is not a JSON object"),
        (b"null", "config.json is not a JSON object"),
        (b"\xff\xfe{\x00}\x00", "config.json is not UTF-8 at byte 0"),
        (b'{"a": "\xc3"}', "config.json is not UTF-8 at byte 7"),
        (b"\xef\xbb\xbf{}", "config.json is not JSON"),
        (b'{"a": NaN}', "config.json is not JSON: NaN"),
        (b'{"a": Infinity}', "config.json is not JSON: Infinity"),
        (b'{"a": ' + b"9" * 5000 + b"}", "config.json is not JSON"),
        (b'{"ociVersion": 1e999}', "ociVersion: is a number, not a string"),
        (b'{"a": "\0"}', "config.json is not JSON"),
        (b'{"a": 1} x', "config.json is not JSON"),
    ],
)
def test_hostile_bytes(data: bytes, said: str) -> None:
    assert refused(data).startswith(said)


_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "type", "args", "limit", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [way] + [p for key, inner in members for p in _places(inner, (*way, key))]


@given(spec=strategies.specs, junk=_junk, data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_junk_anywhere_is_refused_or_means_something(spec: Spec, junk: Any, data: st.DataObject) -> None:
    """Whatever stands wherever: a typed error, or a container that can be written again."""
    made = json.loads(write(spec))
    *way, last = data.draw(st.sampled_from([p for p in _places(made) if p]))
    place = made
    for step in way:
        place = place[step]
    place[last] = junk
    try:
        found = read(json.dumps(made).encode(), "/bundle")
    except (BadInput, Unsupported) as error:
        assert len(error.message) < 600 and "Traceback" not in error.message
    else:
        assert read(write(found.spec), "/bundle").spec == found.spec


def test_what_cannot_be_text_cannot_be_written() -> None:
    with pytest.raises(BadInput, match="is not UTF-8"):
        write(Spec(Process(("caf\udce9",))))


def test_what_only_weft_knows_of_is_left_out() -> None:
    spec = Spec(Process(("x",)), mounts=(Mount("/a", "/b", "bind", ("bind", "optional")),), init=True)
    assert document(spec)["mounts"] == [
        {"destination": "/a", "type": "bind", "source": "/b", "options": ["bind"]}
    ]
    assert document(spec)["root"]["path"] == "/"
    assert read(write(spec), "/bundle").spec.root == ""
    assert "CAP_CHECKPOINT_RESTORE" in document(spec)["process"]["capabilities"]["permitted"]
