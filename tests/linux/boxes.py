"""Containers for tests of the starter: a busybox root, Docker's defaults as a Spec, what a command said."""

from __future__ import annotations

import os
import shutil
from typing import Any, NamedTuple

from weft.core.model.launch import Launch
from weft.core.model.oci import Capabilities, IDMapping, Mount, Namespace, Process, Spec
from weft.linux import launch, process

ROOT = "/run/root"
BUSYBOX = "/bin/busybox"
ENV = (("PATH", "/usr/bin:/bin"), ("HOME", "/"))
KEPT = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
).split()
CAPABILITIES = tuple([f"CAP_{name}" for name in KEPT])
MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount(
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("/dev/shm", "shm", "tmpfs", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
)
MASKED = (
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/scsi",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
FRESH = ("net", "mnt", "pid", "uts", "ipc")
USER: dict[str, Any] = {
    "uid_mappings": (IDMapping(0, 100_000, 65_536),),
    "gid_mappings": (IDMapping(0, 200_000, 65_536),),
}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def busybox(path: str = ROOT) -> str:
    """A root directory with nothing in it but busybox and who its users are."""
    os.makedirs(f"{path}/bin")
    os.makedirs(f"{path}/etc")
    shutil.copy(BUSYBOX, f"{path}/bin/busybox")
    for name in (
        "sh cat ls id ps env mount umount readlink sleep kill stat test true hostname mkdir touch tty nproc "
        "grep tr head wc mknod chroot dd sort unshare ln find stty"
    ).split():
        os.symlink("busybox", f"{path}/bin/{name}")
    for name, text in (
        ("passwd", "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1001::/home/joe:/bin/sh\n"),
        ("group", "root:x:0:\njoes:x:1001:\nextra:x:77:ann,joe\nmore:x:78:joe\n"),
    ):
        with open(f"{path}/etc/{name}", "w") as file:
            file.write(text)
    return path


def spec(*args: str, root: str = ROOT, fresh: tuple[str, ...] = FRESH, **changes: Any) -> Spec:
    """Docker's defaults; fields of the process by their names too."""
    held = Capabilities(CAPABILITIES, CAPABILITIES, CAPABILITIES)
    made = Process(args, ENV, capabilities=held, no_new_privileges=True)
    of_process = {name: changes.pop(name) for name in list(changes) if name in made._fields}
    found = Spec(
        made._replace(**of_process),
        root=root,
        namespaces=tuple([Namespace(kind) for kind in fresh]),
        mounts=MOUNTS if root else (),
        masked_paths=MASKED,
        readonly_paths=READ_ONLY,
        init=True,
    )
    return found._replace(**{**(USER if "user" in fresh else {}), **changes})


def sh(script: str, **changes: Any) -> Spec:
    """A script of busybox's sh."""
    return spec("sh", "-c", script, **changes)


def started(wanted: Spec) -> process.Child:
    """A container whose command runs."""
    child = launch.start(Launch(wanted, "box"))
    child.go(wanted.process.args[0])
    return child


class Running:
    """A container whose command runs, with pipes at its ends."""

    def __init__(self, wanted: Spec | Launch, inside: process.Child | None = None) -> None:
        stdin, self.stdin = os.pipe2(os.O_CLOEXEC)
        self._out, out = os.pipe2(os.O_CLOEXEC)
        self._err, err = os.pipe2(os.O_CLOEXEC)
        made = wanted if isinstance(wanted, Launch) else Launch(wanted, "box")
        try:
            stdio = (stdin, out, err)
            if inside is None:
                self.child = launch.start(made, stdio=stdio)
            else:
                self.child = launch.start_inside(made, inside.pid, inside.started, stdio=stdio)
            self.child.go(made.argv[0])
        finally:
            for fd in (stdin, out, err):
                os.close(fd)

    def line(self) -> str:
        """The next line that it says."""
        said = b""
        while not said.endswith(b"\n"):
            said += (byte := os.read(self._out, 1))
            assert byte, f"it has ended: {self.end()}"
        return said.decode().rstrip("\n")

    def end(self) -> Done:
        """Its end, when it has come."""
        os.close(self.stdin)
        out, err = b"", b""
        while chunk := os.read(self._out, 65536):
            out += chunk
        while chunk := os.read(self._err, 65536):
            err += chunk
        os.close(self._out)
        os.close(self._err)
        _, status = os.waitpid(self.child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return Done(code, out.decode(errors="surrogateescape"), err.decode(errors="replace"))


def run(wanted: Spec) -> Done:
    """A container's whole life."""
    return Running(wanted).end()


def said(wanted: Spec) -> str:
    """What a command said that ended well."""
    done = run(wanted)
    assert (done.code, done.err) == (0, ""), done
    return done.out
