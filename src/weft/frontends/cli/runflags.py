"""The flags of `weft run`, as spec.py has those of all commands."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.cli.spec import Flag

RUN: tuple[Flag, ...] = (
    ("--detach -d", "", "run in the background; print the id"),
    ("--name", "NAME", "the container's name (made up when left out)"),
    ("--rm", "", "remove the container when its command ends"),
    (
        "--network",
        "NET[:ip=..,mac=..,alias=..,ifname=..,gw-priority=..,sysctl=K=V,route=CIDR[@GW]]|host|none|container:C...",
        "the networks to join (default: default), or the host's, none, or another container's",
    ),
    ("--ip", "IP...", "a fixed address in the first network, one IPv4 and one IPv6 at most"),
    (
        "--publish -p",
        "[IP:][PORT|LO-HI:]PORT[-HI][/tcp|udp]...",
        "publish ports, on 127.0.0.1 unless an address is given; without a host port weft chooses one",
    ),
    ("--hostname", "H", "host name (default: the name)"),
    ("--network-alias", "A...", "another name in the network"),
    ("--dns", "IP...", "name server (default: the host's own upstreams)"),
    ("--dns-search", "D...", "search domain"),
    ("--env -e", "K=V...", "set an environment variable"),
    ("--workdir -w", "DIR", "working directory (default: the caller's; / with --rootfs)"),
    ("--domainname", "D", "NIS domain name"),
    ("--add-host", "H:IP...", "another line in /etc/hosts; IP may be host-gateway"),
    ("--sysctl", "K=V...", "set a sysctl of the network namespace (net.*)"),
    ("--pid", "MODE", "private (default), host, or container:C: whose processes it sees"),
    ("--ipc", "MODE", "private (default), none, shareable, host, or container:C (a shareable one)"),
    ("--uts", "MODE", "private (default) or host: whose host name it has"),
    ("--userns", "MODE", "host (default) or private: its root is nobody outside (subuid(5))"),
    (
        "--cgroupns",
        "MODE",
        "private or host (default: private with cgroup v2 alone): its cgroup is the root it sees",
    ),
    ("--memory -m", "SIZE", "at most so much memory, as 512m; at least 6m (default: 0, no limit)"),
    ("--cpus", "N", "at most so many CPUs' time, as 1.5 (default: 0, no limit)"),
    ("--pids-limit", "N", "at most so many processes and threads (default: 0, no limit)"),
    ("--rootfs", "DIR", "a directory as root: an unpacked image (default: the host's files)"),
    ("--read-only", "", "root read-only"),
    ("--tmpfs", "DIR[:OPTIONS]...", "mount a tmpfs"),
    ("--shm-size", "SIZE", "size of /dev/shm (default: 64m)"),
    ("--volume -v", "SRC:DST[:ro]...", "bind a file or directory of the host"),
    ("--user -u", "USER[:GROUP]", "run as another user: names of the container, or numbers"),
    ("--interactive -i", "", "keep stdin open, for `weft attach` too"),
    ("--tty -t", "", "a terminal of its own; -it passes the caller's through"),
    ("--detach-keys", "KEYS", "what leaves a terminal and lets the container go on (default: ctrl-p,ctrl-q)"),
    (
        "--init",
        "",
        "weft's init as pid 1: it reaps and passes signals on (default; --init=false: the command)",
    ),
    ("--cap-add", "CAP...", "add a capability (ALL: all)"),
    ("--cap-drop", "CAP...", "drop a capability (ALL: all)"),
    ("--privileged", "", "all capabilities, no seccomp filter, nothing masked"),
    ("--security-opt", "OPT...", "seccomp=unconfined, seccomp=FILE, no-new-privileges=false"),
    ("--ulimit", "NAME=SOFT[:HARD]...", "a resource limit (getrlimit(2)), as nofile=1024"),
    (
        "--restart",
        "no|on-failure[:N]|always|unless-stopped",
        "start the command again when it ends, after 100 ms, then twice as long each time up to a minute",
    ),
    ("--stop-signal", "SIGNAL", "what `weft stop` sends (default: TERM)"),
    ("--stop-timeout", "SECONDS", "how long it waits before it kills (default: 10; -1: for ever)"),
    ("--health-cmd", "CMD", "a command for /bin/sh that fails when the container is not well"),
    ("--health-interval", "DURATION", "time between checks (default: 30s)"),
    ("--health-timeout", "DURATION", "a check that takes longer has failed (default: 30s)"),
    ("--health-retries", "N", "failures in a row that make it unhealthy (default: 3)"),
    ("--health-start-period", "DURATION", "while failures do not count, as it starts (default: 0s)"),
    ("--health-start-interval", "DURATION", "time between checks in that (default: 5s)"),
    ("--log-opt", "KEY=VALUE...", "max-size=SIZE (default: 10m) and max-file=N (default: 3) of its log"),
    ("--bundle", "DIR", "an OCI bundle: what its config.json says, in weft's networks"),
    ("--runtime", "NAME", "let an OCI runtime start it: runc, crun, or a path"),
)

# Flags of run that are about its life: a config.json has no words for them.
_NOT_SPEC = (
    "--detach -d|--rm|--restart|--interactive -i|--detach-keys|--stop-signal|--stop-timeout|--health-cmd"
    "|--health-interval|--health-timeout|--health-retries|--health-start-period|--health-start-interval|--log-opt"
    "|--init|--bundle|--runtime"
).split("|")

#: What `weft spec` takes of them.
OF_SPEC = tuple([flag for flag in RUN if flag[0] not in _NOT_SPEC])
