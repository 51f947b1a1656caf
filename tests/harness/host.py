"""A throw-away machine for one test: its own net, mnt, uts, ipc and pid namespaces.

Inside, /run, /etc/netns and /var/lib/weft are empty and in memory, the rest of /etc and /var/lib is
copy on write, /proc and /sys belong to the namespaces; everything else (the checkout, /tmp, /usr) is
the real machine's. Nothing in it outlives ``close``, or the process that made it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

REPO = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYTHON = ("/usr/bin/python3", "-IS")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
SYSCTLS = {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"}

type_file = int | IO[Any] | None


class CommandFailed(AssertionError):
    """A command of a test ended otherwise than it should: says everything that it said."""

    def __init__(self, argv: Sequence[str], status: int | None, stdout: str, stderr: str) -> None:
        ended = "did not end in time" if status is None else f"ended with status {status}"
        super().__init__(f"{shlex.join(argv)}\n{ended}\nstdout: {stdout}\nstderr: {stderr}")
        self.status, self.stdout, self.stderr = status, stdout, stderr


class Process(subprocess.Popen[str]):
    """A command inside a Host. Signals go to the command itself, not to the nsenter which waits for it."""

    def outer_pid(self) -> int:
        """The command's pid as this test sees it, once the command has started."""
        deadline = time.monotonic() + 5
        while self.poll() is None and time.monotonic() < deadline:
            child = _only_child(self.pid)
            if child and not _is_nsenter(child):
                return child
            time.sleep(0.001)  # the exec of another process: nothing tells
        return self.pid

    def inner_pid(self) -> int:
        """The command's pid as the machine sees it; ProcessLookupError when it has ended."""
        outer = self.outer_pid()
        try:
            with open(f"/proc/{outer}/status") as file:
                pids = next(line.split()[1:] for line in file if line.startswith("NSpid:"))
        except FileNotFoundError:
            raise ProcessLookupError from None
        if outer == self.pid:  # nsenter's own, a number from outside
            raise ProcessLookupError
        return int(pids[-1])

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            try:
                os.kill(self.outer_pid(), sig)
            except ProcessLookupError:
                pass  # it has just ended by itself

    def end(self) -> None:
        """Kill it if it still runs, and collect it.

        The command goes first, and nsenter by itself after having reaped it: an orphan would be left to
        the machine outside, and a pid namespace is not gone before its last zombie is.
        """
        self.kill()
        self.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                stream.close()


def _only_child(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def _is_nsenter(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith("/nsenter")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Page(NamedTuple):
    """What a client got: ``client`` is its own address as the server saw it."""

    ok: bool
    body: str = ""
    client: str = ""
    error: str = ""


class Host:
    def __init__(
        self,
        name: str = "machine",
        *,
        bridge_nf: int = 1,
        sysctls: Mapping[str, str] | None = None,
        shared: bool = False,
        state_size: str = "256m",
    ) -> None:
        """``bridge_nf``: net.bridge.bridge-nf-call-*; ``shared``: mounts propagate, as under systemd;
        ``state_size``: of the file system at /var/lib/weft, to fill it."""
        families = ("iptables", "ip6tables", "arptables")
        bridge = {f"net.bridge.bridge-nf-call-{family}": str(bridge_nf) for family in families}
        spec = {
            "name": name,
            "sysctls": SYSCTLS | bridge | dict(sysctls or {}),
            "shared": shared,
            "state_size": state_size,
        }
        self.name = name
        self.processes: list[Process] = []
        self._holder = subprocess.Popen(
            [*PYTHON, str(HERE / "machine.py"), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert self._holder.stdout
        pid, ready = self._holder.stdout.readline(), self._holder.stdout.readline()
        if ready != "ready\n":
            raise RuntimeError(f"no machine: {self._holder.communicate()[1]}")
        #: pid 1 of the machine, as seen from outside: /proc/PID/ns/* are its namespaces.
        self.pid = int(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything inside, and with it the namespaces. Twice is fine."""
        if self._holder.poll() is None:
            self._holder.communicate()  # closes its standard input, which it takes as its end
        for process in self.processes:
            process.end()
        self.processes.clear()

    # -- commands inside

    def _inside(self, argv: Sequence[str], netns: str | None, cwd: str) -> list[str]:
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--ipc", "--pid"]
        # The name is looked up inside, hence a second nsenter.
        named = ["nsenter", f"--net=/run/netns/{netns}", "--"] if netns else []
        return [*enter, f"--wdns={cwd}", "--", *named, *argv]

    def popen(
        self,
        argv: Sequence[str],
        *,
        netns: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        stdin: type_file = subprocess.DEVNULL,
        stdout: type_file = subprocess.PIPE,
        stderr: type_file = subprocess.PIPE,
    ) -> Process:
        """Start a command; ``netns`` is a name under /run/netns. It is killed at ``close`` at the latest."""
        process = Process(
            self._inside(argv, netns, str(cwd)),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="surrogateescape",
            env=ENVIRONMENT | dict(env or {}),
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        cwd: str | Path = "/",
        netns: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which includes that nobody holds its output open any more."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(argv, netns=netns, env=env, cwd=cwd, stdin=stdin)
        try:
            stdout, stderr = process.communicate(input, timeout)
        except subprocess.TimeoutExpired as expired:
            raise CommandFailed(argv, None, _text(expired.stdout), _text(expired.stderr)) from None
        finally:
            process.end()
            self.processes.remove(process)
        if check and process.returncode:
            raise CommandFailed(argv, process.returncode, stdout, stderr)
        return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)

    def weft(
        self,
        *args: str,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        cwd: str | Path = "/",
    ) -> subprocess.CompletedProcess[str]:
        return self.run(
            [str(REPO / "weft"), *args], check=check, input=input, env=env, timeout=timeout, cwd=cwd
        )

    def weft_json(self, *args: str) -> Any:
        return json.loads(self.weft(*args, "--format", "json").stdout)

    def sh(self, script: str, *, netns: str | None = None) -> str:
        """Several commands, one a line; the first that fails is an error."""
        return self.run(["sh", "-e"], input=script, netns=netns).stdout

    def ip(self, *args: str, netns: str | None = None) -> str:
        return self.run(["ip", *args], netns=netns).stdout

    def nft(self, *args: str, netns: str | None = None) -> str:
        """``nft('list', 'ruleset')``; or one argument, which is a script."""
        if len(args) == 1:
            return self.run(["nft", "-f", "-"], input=args[0], netns=netns).stdout
        return self.run(["nft", *args], netns=netns).stdout

    def pings(self, address: str, *, netns: str | None = None, timeout: float = 2) -> bool:
        argv = ["ping", "-n", "-c1", f"-W{timeout}", address]
        return self.run(argv, netns=netns, check=False, timeout=timeout + 5).returncode == 0

    # -- files inside

    def path(self, inside: str) -> Path:
        """Where this test finds the machine's file: symlinks to absolute paths would lead outside."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def read(self, path: str) -> str:
        return self.path(path).read_text()

    def sysctl(self, key: str, value: str | None = None, *, netns: str | None = None) -> str:
        """Read a value, or set it first. Interface names with dots need the path form, with slashes."""
        file = "/proc/sys/" + (key if "/" in key else key.replace(".", "/"))
        if value is not None:
            self.run(["tee", file], input=value, netns=netns)
        return self.run(["cat", file], netns=netns).stdout.strip()

    # -- traffic

    def serve(
        self,
        port: int,
        text: str = "hello",
        *,
        address: str = "",
        netns: str | None = None,
        kind: str = "http",
    ) -> Process:
        """A server of ``kind`` http or udp on that port, open when this returns. ``.end()`` stops it."""
        argv = [*PYTHON, str(HERE / "pages.py"), kind, address, str(port), text]
        server = self.popen(argv, netns=netns)
        assert server.stdout
        assert server.stderr
        if server.stdout.readline() != "ready\n":
            raise CommandFailed(argv, server.wait(), "", server.stderr.read())
        return server

    def fetch(self, url: str, *, netns: str | None = None, timeout: float = 2) -> Page:
        """One GET, never raises for what the network does."""
        argv = ["curl", "-gsSi", "--noproxy", "*", "--max-time", str(timeout), url]
        got = self.run(argv, netns=netns, check=False, timeout=timeout + 5)
        if got.returncode:
            return Page(ok=False, error=got.stderr.strip())
        head, _, body = got.stdout.replace("\r\n", "\n").partition("\n\n")
        headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
        return Page(head.split()[1] == "200", body, headers.get("X-Client", ""), head.splitlines()[0])

    def ask_udp(self, address: str, port: int, *, netns: str | None = None, timeout: float = 1) -> Page:
        """One datagram to a ``serve(kind='udp')`` and its answer."""
        argv = [*PYTHON, str(HERE / "pages.py"), "ask", address, str(port), str(timeout)]
        got = self.run(argv, netns=netns, check=False, timeout=timeout + 5)
        if got.returncode:
            return Page(ok=False, error=got.stderr.strip())
        text, client = got.stdout.splitlines()
        return Page(True, text, client)


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


class Lan:
    """A host's uplink and who is behind it.

    The host has ``eth-up`` with 203.0.113.1/24 and 2001:db8:113::1/64 and its default routes by the
    neighbour, ``box``, at .2 and ::2. The box also answers at 198.51.100.1, a far place of the Internet.
    It knows no way back to any other network: only translated addresses get answers.
    """

    UPLINK = "eth-up"
    HOST, BOX, FAR = "203.0.113.1", "203.0.113.2", "198.51.100.1"
    HOST6, BOX6, FAR6 = "2001:db8:113::1", "2001:db8:113::2", "2001:db8:51::1"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.box = Host("lan")
        self.run = self.box.run
        self.serve = self.box.serve
        self.fetch = self.box.fetch
        try:
            self._plug_in()
        except BaseException:
            self.close()
            raise

    def _plug_in(self) -> None:
        veth = f"link add {self.UPLINK} index 100 type veth peer name eth0 netns {self.box.pid}"
        # Not entering the pid namespace: the box's pid is one of the outside. The index differs from the
        # other end's: a veth whose peer has its own number is taken for no veth, and is UP a second later.
        enter = ["nsenter", f"--target={self.host.pid}", "--net", "--"]
        subprocess.run([*enter, "ip", *veth.split()], check=True, timeout=10)
        for machine, ifname, own, own6, other, other6 in (
            (self.box, "eth0", self.BOX, self.BOX6, None, None),
            (self.host, self.UPLINK, self.HOST, self.HOST6, self.BOX, self.BOX6),
        ):
            lines = [
                f"address add {own}/24 brd + dev {ifname}",
                f"address add {own6}/64 dev {ifname} nodad",
                f"link set {ifname} up",
            ]
            if other:
                lines += [f"route add default via {other}", f"route add default via {other6}"]
            else:
                lines += [f"address add {self.FAR}/32 dev lo", f"address add {self.FAR6}/128 dev lo"]
            machine.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.box.close()
