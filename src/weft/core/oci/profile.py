"""Seccomp profiles as Docker and the OCI write them (profiles/seccomp of moby, config-linux.md).

A profile of Docker's says of each rule for which capabilities, architectures and kernels it is meant; what
is left of it for a certain container is what a bundle's ``linux.seccomp`` says.
"""

from __future__ import annotations

from weft.core.model.errors import BadInput, Unsupported
from weft.core.model.oci import Seccomp, SyscallArg, SyscallRule
from weft.core.oci.fields import Field, parse
from weft.core.oci.seccomp import ACTIONS, NATIVE, OPERATORS

#: uname -m to what conditions call it (Go's names, but for a few).
_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)
_ARCH = "SCMP_ARCH_"
_ERRNO_MAX = 4095
_UINT64 = (1 << 64) - 1


def read_profile(
    data: bytes, capabilities: frozenset[str] | None, machine: str, kernel: tuple[int, int]
) -> Seccomp | None:
    """What a profile's JSON means for a container that has these capabilities (None: all) on this machine.

    None where it says nothing, which is Docker's way to say unconfined. BadInput, Unsupported.
    """
    return _resolve(parse(data, "the seccomp profile"), capabilities, machine, kernel)


def default(
    profile: bytes,
    amendments: bytes,
    capabilities: frozenset[str] | None,
    machine: str,
    kernel: tuple[int, int],
) -> Seccomp:
    """Weft's default filter: Docker's profile with what is changed about it."""
    base, changes = parse(profile, "seccomp.json"), parse(amendments, "seccomp-amendments.json")
    found = _resolve(base, capabilities, machine, kernel)
    if found is None:
        raise BadInput("seccomp.json says nothing")
    gone = frozenset(changes.get("drop").texts())
    kept = [r._replace(names=tuple([n for n in r.names if n not in gone])) for r in found.syscalls]
    more = _conditional(changes.get("syscalls"), capabilities, machine, kernel)
    return found._replace(syscalls=(*[r for r in kept if r.names], *more))


def _resolve(
    root: Field, capabilities: frozenset[str] | None, machine: str, kernel: tuple[int, int]
) -> Seccomp | None:
    if not root.get("defaultAction") and not list(root.get("syscalls").items()):
        return None
    plain = read_seccomp(root, with_rules=False)
    mapped = root.get("archMap")
    if mapped and plain.architectures:
        raise mapped.wrong("stands beside architectures", "a profile has one of them")
    architectures = plain.architectures
    for one in mapped.items():
        names = (one.need("architecture").text(), *one.get("subArchitectures").texts())
        if names[0] == NATIVE.get(machine):
            architectures = names
    rules = _conditional(root.get("syscalls"), capabilities, machine, kernel)
    return plain._replace(architectures=architectures, syscalls=rules)


def _conditional(
    rules: Field, capabilities: frozenset[str] | None, machine: str, kernel: tuple[int, int]
) -> tuple[SyscallRule, ...]:
    found = []
    for one in rules.items():
        # Whether it is meant or not, it must be a rule.
        rule = _rule(one)
        includes, excludes = one.get("includes"), one.get("excludes")
        if _arch(excludes, machine) or _any_capability(excludes, capabilities) or _kernel(excludes, kernel):
            continue
        if not _is_for(includes, capabilities, machine, kernel):
            continue
        found.append(rule)
    return tuple(found)


def _is_for(
    condition: Field, capabilities: frozenset[str] | None, machine: str, kernel: tuple[int, int]
) -> bool:
    wanted = condition.get("caps").texts()
    if capabilities is not None and not capabilities.issuperset(wanted):
        return False
    if condition.get("arches").texts() and not _arch(condition, machine):
        return False
    return not condition.get("minKernel").text() or _kernel(condition, kernel)


def _arch(condition: Field, machine: str) -> bool:
    return _ARCHES.get(machine) in condition.get("arches").texts()


def _any_capability(condition: Field, capabilities: frozenset[str] | None) -> bool:
    named = condition.get("caps").texts()
    return bool(named) if capabilities is None else not capabilities.isdisjoint(named)


def _kernel(condition: Field, kernel: tuple[int, int]) -> bool:
    """Whether the kernel is at least the one that the condition names."""
    least = condition.get("minKernel")
    text = least.text()
    if not text:
        return False
    words = text.split(".")
    if len(words) != 2 or not all(w.isascii() and w.isdigit() and len(w) < 4 for w in words):
        raise least.wrong(f"{text[:64]!a} is not a version like 4.8")
    return kernel >= (int(words[0]), int(words[1]))


def read_seccomp(found: Field, with_rules: bool = True) -> Seccomp:
    """``linux.seccomp``. BadInput; Unsupported for what needs a listener (SCMP_ACT_NOTIFY)."""
    for key in ("listenerPath", "listenerMetadata"):
        if found.get(key).text():
            raise Unsupported(
                f"{found.get(key).path}: SCMP_ACT_NOTIFY needs a listener, which weft does not serve"
            )
    return Seccomp(
        default_action=_action(found.need("defaultAction")),
        default_errno=found.get("defaultErrnoRet").number(0, _ERRNO_MAX, -1),
        architectures=tuple([_architecture(one) for one in found.get("architectures").items()]),
        flags=tuple([one.one_of(_FLAGS) for one in found.get("flags").items()]),
        syscalls=tuple([_rule(one) for one in found.get("syscalls").items()]) if with_rules else (),
    )


def _architecture(found: Field) -> str:
    name = found.text()
    if not name.startswith(_ARCH) or not name.isascii() or not name.isprintable():
        raise found.wrong(f"{name[:64]!a} is no architecture", "write it as SCMP_ARCH_X86_64")
    return name


def _action(found: Field) -> str:
    if found.text() == "SCMP_ACT_NOTIFY":
        raise Unsupported(f"{found.path}: SCMP_ACT_NOTIFY needs a listener, which weft does not serve")
    return found.one_of(tuple(ACTIONS))


def _rule(found: Field) -> SyscallRule:
    one, many = found.get("name"), found.get("names")
    if one and many:
        raise one.wrong("stands beside names", "a rule has one of them")
    names = (one.text(),) if one else many.texts()
    if not names:
        raise found.wrong("names no system call")
    return SyscallRule(
        names=names,
        action=_action(found.need("action")),
        errno=_errno(found),
        args=tuple([_argument(arg) for arg in found.get("args").items()]),
    )


def _errno(found: Field) -> int:
    """A number; containers-common's profiles have its name beside it."""
    number, name = found.get("errnoRet").number(0, _ERRNO_MAX, -1), found.get("errno")
    if number >= 0 or not name:
        return number
    import errno

    known = {word: code for code, word in errno.errorcode.items()}
    if name.text() not in known:
        raise name.wrong(f"{name.text()[:64]!a} is no error's name")
    return known[name.text()]


def _argument(found: Field) -> SyscallArg:
    return SyscallArg(
        index=found.need("index").number(0, 5),
        value=found.need("value").number(0, _UINT64),
        op=found.need("op").one_of(OPERATORS),
        value_two=found.get("valueTwo").number(0, _UINT64),
    )
