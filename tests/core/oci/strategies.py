"""Containers of every kind that a config.json can say."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from weft.core.model import oci
from weft.core.oci.names import CAPABILITIES, HOOKS, NAMESPACES, PROPAGATIONS, RLIMITS
from weft.core.oci.seccomp import ACTIONS, ARCHITECTURES, OPERATORS

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
word = text.filter(bool)
paths = text.map(lambda t: f"/{t}")
ids = st.integers(0, (1 << 32) - 2)


def tuples(strategy: st.SearchStrategy[Any], size: int = 3, unique: Any = None) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=size, unique_by=unique).map(tuple)


def made(record: Any, /, **fields: Any) -> st.SearchStrategy[Any]:
    """A record; what is not given has its default."""
    return st.fixed_dictionaries(fields).map(lambda found: record(**found))


def of(*words: str) -> st.SearchStrategy[Any]:
    return tuples(st.sampled_from(words), unique=lambda w: w)


variables = st.tuples(word.filter(lambda n: "=" not in n), text)
capabilities = made(oci.Capabilities, **dict.fromkeys(oci.Capabilities._fields, of(*CAPABILITIES)))
rlimits = st.builds(
    lambda kind, low, more: oci.Rlimit(kind, low, low + more),
    st.sampled_from(RLIMITS),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 63),
)
users = made(
    oci.User, uid=ids, gid=ids, additional_gids=tuples(ids), umask=st.integers(-1, 0o777), name=st.just("")
)
processes = made(
    oci.Process,
    args=st.lists(text, min_size=1, max_size=3).map(tuple),
    env=tuples(variables),
    cwd=paths,
    user=users,
    terminal=st.booleans(),
    capabilities=capabilities,
    no_new_privileges=st.booleans(),
    rlimits=tuples(rlimits, unique=lambda r: r.type),
    oom_score_adj=st.none() | st.integers(-1000, 1000),
)
mounts = made(
    oci.Mount,
    destination=paths,
    source=text,
    type=text,
    options=tuples(text.filter(lambda o: o != "optional")),
)
devices = made(
    oci.Device,
    path=paths,
    type=st.sampled_from("cbu"),
    major=st.integers(0, 4095),
    minor=st.integers(0, (1 << 20) - 1),
    mode=st.integers(0, 0o7777),
    uid=ids,
    gid=ids,
) | made(oci.Device, path=paths, type=st.just("p"), mode=st.just(0o600))
mappings = made(oci.IDMapping, container_id=ids, host_id=ids, size=st.integers(1, 1 << 31))
rules = st.tuples(
    st.booleans(),
    st.sampled_from("acb"),
    st.integers(-1, 300),
    st.integers(-1, 300),
    st.sampled_from(["r", "rw", "rwm", "m"]),
)
resources = st.builds(
    lambda memory, swap, **rest: oci.Resources(memory, memory + swap if memory and swap else 0, **rest),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 50),
    cpu_quota=st.integers(0, 1 << 40),
    cpu_period=st.integers(1, 1_000_000),
    cpu_shares=st.integers(0, 1 << 18),
    cpuset_cpus=st.sampled_from(["", "0", "0-2,4"]),
    pids=st.integers(0, 1 << 22),
    devices=tuples(rules),
)
arguments = made(
    oci.SyscallArg,
    index=st.integers(0, 5),
    value=st.integers(0, (1 << 64) - 1),
    op=st.sampled_from(OPERATORS),
    value_two=st.integers(0, (1 << 64) - 1),
)
syscalls = made(
    oci.SyscallRule,
    names=st.lists(word, min_size=1, max_size=3).map(tuple),
    action=st.sampled_from(list(ACTIONS)),
    errno=st.integers(-1, 4095),
    args=tuples(arguments),
)
seccomps = made(
    oci.Seccomp,
    default_action=st.sampled_from(list(ACTIONS)),
    default_errno=st.integers(-1, 4095),
    architectures=of(*ARCHITECTURES),
    flags=of("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    syscalls=tuples(syscalls),
)
hooks = made(
    oci.Hook,
    kind=st.sampled_from(HOOKS),
    path=paths,
    args=tuples(text),
    env=tuples(text),
    timeout=st.integers(0, 100),
)
namespaces = made(oci.Namespace, type=st.sampled_from(list(NAMESPACES.values())), path=st.just("") | paths)


def _agree(spec: oci.Spec, uid: tuple[oci.IDMapping, ...], gid: tuple[oci.IDMapping, ...]) -> oci.Spec:
    """Without what the specification does not let stand together."""
    types = [n.type for n in spec.namespaces]
    if "uts" not in types:
        spec = spec._replace(hostname="", domainname="")
    if "user" in types:
        spec = spec._replace(uid_mappings=uid, gid_mappings=gid)
    sysctl = tuple([(k, v) for k, v in spec.sysctl if k.partition(".")[0] in types])
    order = {kind: place for place, kind in enumerate(HOOKS)}
    ordered = tuple(sorted(spec.hooks, key=lambda h: order[h.kind]))
    if "time" not in spec.fresh():
        spec = spec._replace(clocks=())
    filter = "unconfined" if spec.seccomp is None else "given"
    return spec._replace(sysctl=sysctl, hooks=ordered, filter=filter)


specs = st.builds(
    _agree,
    made(
        oci.Spec,
        process=processes,
        root=paths.filter(lambda p: p.strip("/") != "") | st.just(""),
        root_readonly=st.booleans(),
        rootfs_propagation=st.sampled_from(PROPAGATIONS),
        hostname=text,
        domainname=text,
        namespaces=tuples(namespaces, 8, unique=lambda n: n.type),
        mounts=tuples(mounts),
        masked_paths=tuples(paths),
        readonly_paths=tuples(paths),
        devices=tuples(devices),
        sysctl=tuples(
            st.tuples(st.sampled_from(["net.ipv4.ip_forward", "net.core.somaxconn"]), text), 2, lambda s: s[0]
        ),
        resources=resources,
        cgroups_path=text.filter(lambda t: ".." not in t),
        seccomp=st.none() | seccomps,
        annotations=tuples(st.tuples(word, text), unique=lambda a: a[0]),
        hooks=tuples(hooks),
        clocks=tuples(
            st.tuples(
                st.sampled_from(["monotonic", "boottime"]),
                st.integers(-(1 << 62), 1 << 62).filter(lambda shift: shift != 0),
            ),
            2,
            lambda one: one[0],
        ),
    ),
    st.lists(mappings, min_size=1, max_size=2).map(tuple),
    st.lists(mappings, min_size=1, max_size=2).map(tuple),
)
