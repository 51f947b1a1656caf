"""The real dockerd, firewalld and ufw in a throw-away machine: their state in its memory, their sockets in
its /run, their packages installed by ``./test --all``."""

from __future__ import annotations

import json
import shutil
from typing import Self

import pytest

from harness import Host, settle
from harness.host import HERE, PYTHON


def needs(*commands: str, hint: str = "./test --all installs them") -> None:
    """Skips the test where a program is missing, saying which."""
    missing = [c for c in commands if shutil.which(c, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)} ({hint})")


class Daemon:
    """A program of a host that is started, awaited, stopped, and restarted."""

    argv: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def __init__(self, host: Host) -> None:
        self.host = host
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """Where it writes, inside the host."""
        return f"/run/{self.argv[0]}.log"

    def start(self) -> None:
        """Ready when this returns."""
        with self.host.path(self.log).open("a") as log:
            self.process = self.host.popen(self.argv, stdout=log, stderr=log)
        assert settle(self.host, lambda: self.ended() or self.answers(), 30), self.host.read(self.log)
        assert not self.ended(), self.host.read(self.log)

    def ended(self) -> bool:
        return self.process.poll() is not None

    def answers(self) -> bool:
        return self.host.run(self.asked, check=False).returncode == 0

    def stop(self) -> None:
        """As an init system does: SIGTERM, and until it is gone."""
        self.process.terminate()
        self.process.wait(30)
        self.process.end()

    def restart(self) -> None:
        self.stop()
        self.start()


class Docker(Daemon):
    """dockerd with its own containerd. Containers see the host's /usr in an otherwise empty image."""

    asked = ("docker", "version")

    def __init__(self, host: Host, *arguments: str) -> None:
        # In the file, where others look for it as well.
        host.write("/etc/docker/daemon.json", json.dumps({"data-root": "/run/docker-data"}))
        places = ("--exec-root", "/run/docker")
        self.cgroup = f"weft-{host.pid}"  # the one thing that is the real machine's
        group = ("--cgroup-parent", f"/{self.cgroup}")
        # A container sees cgroups of its own: a path of the machine that it runs on would lead nowhere.
        own = ("--default-cgroupns-mode", "private")
        self.argv = ("dockerd", *places, "--storage-driver", "vfs", *group, *own, *arguments)
        super().__init__(host)
        links = " && ".join(f"ln -s usr/{name} {name}" for name in ("bin", "sbin", "lib", "lib64"))
        made = f"mkdir -p /run/image/usr && cd /run/image && {links} && tar c . | docker import - tiny"
        host.sh(made)

    def stop(self) -> None:
        if self.answers():
            names = self.host.run(["docker", "ps", "-q"]).stdout.split()
            if names:
                self.host.run(["docker", "kill", *names])
        super().stop()
        clear = "find /sys/fs/cgroup -depth -type d -path '*/%s*' -exec rmdir {} +"
        self.host.sh(clear % self.cgroup)

    def run(self, name: str, *options: str) -> str:
        """A container with a web server that says its name, which `ip netns` knows by it; its address."""
        shared = ("-v", "/usr:/usr:ro", "-v", f"{HERE}:/pages:ro")
        serve = (*PYTHON, "/pages/pages.py", "http", "", "80", name)
        self.host.run(["docker", "run", "-d", "--name", name, *shared, *options, "tiny", *serve])
        assert settle(self.host, lambda: "ready" in self.host.run(["docker", "logs", name]).stdout)
        return self.name(name)

    def again(self, name: str) -> str:
        """Starts a container that was stopped."""
        self.host.run(["docker", "start", name])
        self.host.ip("netns", "del", name)
        return self.name(name)

    def name(self, name: str) -> str:
        ask = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        pid, *address = self.host.run(["docker", "inspect", "-f", ask, name]).stdout.split()
        self.host.ip("netns", "attach", name, pid)
        return "".join(address)


class Bus(Daemon):
    """The system bus, which firewalld answers on."""

    argv = ("dbus-daemon", "--system", "--nofork", "--nopidfile")
    asked = ("test", "-S", "/run/dbus/system_bus_socket")

    def __init__(self, host: Host) -> None:
        host.sh("mkdir -p /run/dbus")
        super().__init__(host)


class Firewalld(Daemon):
    """firewalld, with the bus. Its zones are those of a fresh installation."""

    argv = ("firewalld", "--nofork", "--nopid")
    asked = ("firewall-cmd", "--state")

    def __init__(self, host: Host) -> None:
        self.bus = Bus(host)
        super().__init__(host)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.bus.stop()

    def reload(self) -> None:
        self.host.run(["firewall-cmd", "--reload"])

    def trusted(self) -> list[str]:
        """What is in the zone now."""
        return self.host.run(["firewall-cmd", "--zone=trusted", "--list-interfaces"]).stdout.split()
