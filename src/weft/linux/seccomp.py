"""Seccomp filters of this machine: made ready by whoever starts a container, installed by its process
(seccomp(2)).

The default filter is part of the package, compiled for the capabilities that are usual; whatever else
is compiled when it is wanted, which takes some 30 ms.
"""

from __future__ import annotations

import posix

from weft.core.model.errors import BadInput, KernelError
from weft.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from weft.core.model.oci import Seccomp, Spec

#: The capabilities by which the default filter differs. A test compares them with its data.
CONDITIONS = frozenset(
    [
        f"CAP_{name}"
        for name in (
            "BPF DAC_READ_SEARCH PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT"
            " SYS_PTRACE SYS_RAWIO SYS_TIME SYS_TTY_CONFIG"
        ).split()
    ]
)
#: Which of them one has, to the name of the filter that is compiled for those: Docker's default list, none.
VARIANTS = {frozenset(["CAP_SYS_CHROOT"]): "default", frozenset[str](): "none"}
#: The default filter's conditions on the kernel's version hold from here on.
_KERNEL = (4, 8)
_DATA = __file__.rpartition("/linux/")[0] + "/data"
_LARGEST = 1 << 20
#: What a filter's bytes end with, where there are any: SECCOMP_FILTER_FLAG_*. TSYNC is for threads.
_FLAGS = {
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_STEP = 8
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER = 1
_kept: dict[tuple[Seccomp, str], bytes] = {}


def prepare(spec: Spec) -> bytes:
    """The filter of a container, for ``install``: empty where it has none.

    Unsupported on a machine whose system calls weft does not know; BadInput for one that is too long.
    """
    machine = posix.uname().machine
    if spec.filter != "default":
        given = rules(spec)
        return b"" if given is None else _compiled(given, machine)
    capabilities = _held(spec)
    name = None if capabilities is None else VARIANTS.get(capabilities & CONDITIONS)
    if name and kernel() >= _KERNEL:
        found = _read(f"{_DATA}/seccomp-{machine}-{name}.bpf")
        if found:
            return found
    return _compiled(default(capabilities, machine, kernel()), machine)


def rules(spec: Spec) -> Seccomp | None:
    """What a container's filter says, whatever it is called by; None for none. BadInput, Unsupported."""
    kind, _, path = spec.filter.partition(":")
    if kind == "file":
        return read_file(path, _held(spec))
    if kind == "default":
        return default(_held(spec), posix.uname().machine, kernel())
    return spec.seccomp if kind == "given" else None


def checked(spec: Spec) -> Spec:
    """A container with its filter's rules in place of what they are called by; the filter fits in the kernel.

    BadInput, Unsupported.
    """
    found = rules(spec)
    spec = spec._replace(seccomp=found, filter="given" if found else "unconfined")
    prepare(spec)
    return spec


def _held(spec: Spec) -> frozenset[str] | None:
    """The capabilities by which profiles differ; None: all."""
    held = spec.process.capabilities
    return None if held is None else frozenset(held.bounding)


def install(filter: bytes) -> None:
    """Confines the calling thread and all that it starts, for good. Needs no_new_privs, or CAP_SYS_ADMIN.

    Nothing for an empty one. KernelError.
    """
    if not filter:
        return
    size = len(filter) - len(filter) % _STEP
    steps, address = _in_memory(filter[:size])
    program = (size // _STEP).to_bytes(8, "little") + address.to_bytes(8, "little")  # struct sock_fprog
    flags = int.from_bytes(filter[size:], "little")
    try:
        libc.syscall(_SYS_SECCOMP[posix.uname().machine], _SET_MODE_FILTER, flags, program)
    except OSError as error:
        raise KernelError(
            f"cannot install the seccomp filter: {posix.strerror(error.errno or 0)}", error.errno or 0
        ) from None
    del steps


def _in_memory(data: bytes) -> tuple[object, int]:
    """Bytes as the kernel can be pointed to them: what keeps them there, and their address."""
    try:
        import _ctypes  # a tenth of what ctypes takes to import

        byte: Any = type("byte", (_ctypes._SimpleCData,), {"_type_": "c"})
        held = (byte * len(data)).from_buffer_copy(data)
        return held, _ctypes.addressof(held)
    except (ImportError, AttributeError, TypeError):  # that private module is not what we know
        import ctypes

        buffer = ctypes.create_string_buffer(data, len(data))
        return buffer, ctypes.addressof(buffer)


def read_file(path: str, capabilities: frozenset[str] | None) -> Seccomp | None:
    """A profile of ``--security-opt seccomp=FILE`` for a container with these capabilities (None: all).

    None where it says nothing: unconfined. BadInput.
    """
    from weft.core.oci.profile import read_profile

    try:
        data = _read(path)
    except OSError as error:
        raise BadInput(f"seccomp profile {path!a}: {error.strerror}") from None
    return read_profile(data, capabilities, posix.uname().machine, kernel())


def default(capabilities: frozenset[str] | None, machine: str, version: tuple[int, int]) -> Seccomp:
    """Weft's default filter for these capabilities (None: all), as rules."""
    from weft.core.oci import profile

    docker, weft = _read(f"{_DATA}/seccomp.json"), _read(f"{_DATA}/seccomp-amendments.json")
    return profile.default(docker, weft, capabilities, machine, version)


def kernel() -> tuple[int, int]:
    """The kernel's version: (6, 1)."""
    major, _, rest = posix.uname().release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return int(major), int(minor) if minor.isdigit() else 0


def _compiled(seccomp: Seccomp, machine: str) -> bytes:
    """A filter's bytes; those made last are kept, as one is checked before it is wanted."""
    key = seccomp, machine
    if key not in _kept:
        from weft.core.oci.seccomp import compile

        flags = sum([_FLAGS.get(name, 0) for name in set(seccomp.flags)])
        found = compile(seccomp, machine) + (flags.to_bytes(4, "little") if flags else b"")
        _kept.clear()
        _kept[key] = found
    return _kept[key]


def _read(path: str) -> bytes:
    """A file that is not too large. OSError, BadInput."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        data = posix.read(fd, _LARGEST + 1)
    finally:
        posix.close(fd)
    if len(data) > _LARGEST:
        raise BadInput(f"{path!a} is larger than {_LARGEST} bytes")
    return data


def _write_variants() -> None:
    """Compiles the filters that are part of the package."""
    for machine in _SYS_SECCOMP:
        for capabilities, name in VARIANTS.items():
            with open(f"{_DATA}/seccomp-{machine}-{name}.bpf", "wb") as file:
                file.write(_compiled(default(capabilities, machine, _KERNEL), machine))


if __name__ == "__main__":
    _write_variants()
