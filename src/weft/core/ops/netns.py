"""Named network namespaces, their sysctls, and the name files that go with them (ip-netns(8))."""

from __future__ import annotations

from weft.core.ops.base import VANISHES, Final, Op, quote

ETC_NETNS = "/etc/netns"
_IPV6_OFF = "net/ipv6/conf/all/disable_ipv6=1"


class NetnsAdd(Op):
    """A new network namespace under /run/netns, for a container or, ``plain``, as ``ip netns add`` makes it.

    A container's has IPv6 off before the first link comes: a container of an IPv4 network must not take a
    router advertisement (CVE-2020-13401), and DAD and MLD of 1000 containers flood each other.
    """

    name: str
    plain: bool = False
    kind = "netns"

    def describe(self) -> str:
        return f"make the network namespace {self.name}"

    def shell(self) -> tuple[str, ...]:
        name = quote(self.name)
        add = f"ip netns add {name}"
        return (add,) if self.plain else (add, f"ip netns exec {name} sysctl -qw {_IPV6_OFF}")

    def undo(self) -> Op:
        return NetnsDel(self.name)


class NetnsAttach(Op):
    """Gives a network namespace that exists a name under /run/netns (``ip netns attach``)."""

    name: str
    source: str
    kind = "netns"

    def describe(self) -> str:
        return f"name the network namespace {self.source} {self.name}"

    def shell(self) -> tuple[str, ...]:
        # It takes a pid: the shell's own, once that is inside, serves for every path.
        inner = quote('exec ip netns attach "$0" $$')
        return (f"nsenter --net={quote(self.source)} sh -c {inner} {quote(self.name)}",)

    def undo(self) -> Op:
        return NetnsDel(self.name)


class NetnsDel(Op):
    """Takes the name off; the kernel ends the namespace and its links once nothing else holds it."""

    name: str
    kind = "netns"

    def describe(self) -> str:
        return f"delete the network namespace {self.name}"

    def shell(self) -> tuple[str, ...]:
        return (f"ip netns del {quote(self.name)}",)

    def undo(self) -> Final:
        return Final("a namespace that nothing holds is gone")


class NsBind(Op):
    """Keeps a namespace of any type: its file is bound at a path, ``.../NAME/TYPE``, on a private mount, as a
    mount namespace's must be (mount(2), EINVAL)."""

    path: str
    source: str
    kind = "netns"

    def describe(self) -> str:
        return f"keep the namespace {self.source} at {self.path}"

    def shell(self) -> tuple[str, ...]:
        path, folder = quote(self.path), self.path.rpartition("/")[0]
        base = quote(folder.rpartition("/")[0])
        private = f"{{ mount --bind {base} {base} && mount --make-private {base}; }}"
        return (
            f"mkdir -p {quote(folder)}",
            f"mountpoint -q {base} || {private}",
            f"touch {path}",
            f"mount --bind {quote(self.source)} {path}",
        )

    def undo(self) -> Op:
        return NsUnbind(self.path)


class NsUnbind(Op):
    """Lets go of a namespace that was kept at a path; its directory goes with the last of them."""

    path: str
    kind = "netns"

    def describe(self) -> str:
        return f"let go of the namespace at {self.path}"

    def shell(self) -> tuple[str, ...]:
        path = quote(self.path)
        folder = quote(self.path.rpartition("/")[0])
        return (f"umount -l {path}", f"rm -f {path}", f"rmdir --ignore-fail-on-non-empty {folder}")

    def undo(self) -> Final:
        return Final("a namespace that nothing holds is gone")


class NetnsEnd(Op):
    """Kills what runs in a namespace. Never part of a plan: who is inside is known only when it is done."""

    name: str
    kind = "netns"

    def describe(self) -> str:
        return f"end the processes in {self.name}"

    def shell(self) -> tuple[str, ...]:
        return (f"ip netns pids {quote(self.name)} | xargs -r kill -KILL || true",)

    def undo(self) -> Final:
        return Final("the dead stay dead")


class Sysctl(Op):
    """Sets one sysctl of a namespace. Keys have slashes, as interface names may have dots."""

    key: str
    value: str
    stays: str = ""
    netns: str = ""
    kind = "sysctl"

    def describe(self) -> str:
        return f"set {self.key} to {self.value}" + (f" in {self.netns}" if self.netns else "")

    def shell(self) -> tuple[str, ...]:
        write = f"sysctl -qw {quote(self.key)}={quote(self.value)}"
        if not self.netns:
            return (write,)
        if self.netns.startswith("/"):
            return (f"nsenter --net={quote(self.netns)} {write}",)
        return (f"ip netns exec {quote(self.netns)} {write}",)

    def undo(self) -> Final:
        return Final(self.stays) if self.stays else VANISHES


class EtcNetns(Op):
    """/etc/netns/NAME: hosts points to the network's shared file, resolv.conf is the container's own.

    ``ip netns exec`` and ``weft`` bind these files over /etc of what they run. ``hostname`` is for a
    container with a root of its own ("": no such file, since a host may lack what it would be bound over).
    """

    name: str
    hosts: str
    resolv: str
    hostname: str = ""
    kind = "file"

    def describe(self) -> str:
        return f"write the name files of {self.name} in {ETC_NETNS}/{self.name}"

    def shell(self) -> tuple[str, ...]:
        where = quote(f"{ETC_NETNS}/{self.name}")
        return (
            f"mkdir -p {where}",
            f"ln -sfn {quote(self.hosts)} {where}/hosts",
            f"printf %s {quote(self.resolv)} > {where}/resolv.conf",
            *([f"echo {quote(self.hostname)} > {where}/hostname"] if self.hostname else []),
        )

    def undo(self) -> Op:
        return EtcNetnsDel(self.name)


class ResolvConf(Op):
    """Changes the resolv.conf that a container sees, unless somebody has written to it: then it is his.

    The file stays the same one, as it is bound over /etc/resolv.conf of what runs inside.
    """

    name: str
    text: str
    old: str
    kind = "file"

    def describe(self) -> str:
        return f"change the name servers of {self.name}"

    def shell(self) -> tuple[str, ...]:
        path = quote(f"{ETC_NETNS}/{self.name}/resolv.conf")
        same = f'[ "$(cat {path}; echo .)" != "$(printf %s {quote(self.old)}; echo .)" ]'
        return (f"{same} || printf %s {quote(self.text)} > {path}",)

    def undo(self) -> Op:
        return ResolvConf(self.name, self.old, self.text)


class EtcNetnsDel(Op):
    """Removes the name files that weft wrote, and their directory when nothing else is in it."""

    name: str
    kind = "file"

    def describe(self) -> str:
        return f"remove the name files of {self.name}"

    def shell(self) -> tuple[str, ...]:
        where = quote(f"{ETC_NETNS}/{self.name}")
        return (
            f"rm -f {where}/hosts {where}/resolv.conf {where}/hostname",
            f"rmdir --ignore-fail-on-non-empty {where}",
        )

    def undo(self) -> Final:
        return Final("removed files are gone")
