"""The command line as data: every command, its flags, its help. Parser, help, completion and the
reference page are all made from this table.

A flag is (names, metavar, help). A metavar ending in ``...`` may be repeated, "" is a switch, and a
leading ``!`` marks what the contract names and weft refuses so far (exit 5).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Flag = tuple[str, str, str]

GLOBAL: tuple[Flag, ...] = (
    ("--format", "table|json", "how lists and errors are written"),
    ("--quiet -q", "", "print ids or names only"),
    ("--filter", "KEY=VALUE...", "only what matches, for every ls, ps and inspect"),
    ("--root", "DIR", "keep state and run files under DIR (WEFT_ROOT)"),
    ("--dry-run", "", "print the commands that would be done, and do nothing"),
    ("--show", "commands", "print the commands each step equals, while doing it"),
    ("--help -h", "", "this help"),
)

_RUN: tuple[Flag, ...] = (
    ("--detach -d", "", "run in the background; print the id"),
    ("--name", "NAME", "the container's name (made up when left out)"),
    ("--rm", "", "remove the container when its command ends"),
    ("--network", "NET[:ip=..,mac=..,alias=..,ifname=..]...", "the network to join (default: default)"),
    ("--ip", "IP", "a fixed address in the network"),
    (
        "--publish -p",
        "[IP:]PORT:PORT[/tcp|udp]...",
        "publish a port, on 127.0.0.1 unless an address is given",
    ),
    ("--hostname", "H", "host name (default: the name)"),
    ("--network-alias", "A...", "another name in the network"),
    ("--dns", "IP...", "name server (default: the host's own upstreams)"),
    ("--dns-search", "D...", "search domain"),
    ("--env -e", "K=V...", "set an environment variable"),
    ("--workdir -w", "DIR", "working directory (default: the caller's)"),
    ("--domainname", "!D", "NIS domain name"),
    ("--add-host", "!H:IP...", "another line in /etc/hosts"),
    ("--sysctl", "!K=V...", "set a sysctl of the namespace"),
    ("--pid", "!MODE", "private, host or container:C"),
    ("--ipc", "!MODE", "none, private, shareable, host or container:C"),
    ("--uts", "!MODE", "private or host"),
    ("--userns", "!MODE", "private or host"),
    ("--cgroupns", "!MODE", "private or host"),
    ("--memory", "!SIZE", "memory limit"),
    ("--cpus", "!N", "CPU limit"),
    ("--pids-limit", "!N", "limit of processes"),
    ("--rootfs", "!DIR", "a directory as root"),
    ("--read-only", "!", "root read-only"),
    ("--tmpfs", "!DIR...", "mount a tmpfs"),
    ("--volume -v", "!SRC:DST[:ro]...", "bind a directory"),
    ("--user -u", "!USER", "run as another user"),
    ("--interactive -i", "!", "keep stdin open"),
    ("--tty -t", "!", "a terminal of its own"),
    ("--init", "!", "a tiny init as pid 1"),
    ("--cap-add", "!C...", "add a capability"),
    ("--cap-drop", "!C...", "drop a capability"),
    ("--privileged", "!", "all capabilities"),
    ("--restart", "!POLICY", "restart policy"),
    ("--health-cmd", "!CMD", "health check"),
    ("--bundle", "!DIR", "an OCI bundle"),
    ("--runtime", "!NAME", "an OCI runtime"),
)

_CREATE: tuple[Flag, ...] = (
    ("--driver -d", "bridge", "the driver (default: bridge)"),
    ("--subnet", "CIDR...", "the subnet (default: the first free /24 of 10.81.0.0/16)"),
    ("--gateway", "IP", "the gateway (default: the first address)"),
    ("--bridge", "NAME", "the bridge's name (default: derived)"),
    ("--mtu", "N", "MTU of the bridge and its cables (default: 1500)"),
    ("--label", "K=V...", "a label"),
    ("--ip-range", "!CIDR...", "where addresses are taken from"),
    ("--aux-address", "!NAME=IP...", "an address to keep free"),
    ("--ipv6", "!", "IPv6 too"),
    ("--internal", "!", "no way out"),
    ("--isolated", "!", "members cannot talk to each other"),
    ("--nat", "!nat|routed", "masquerade, or route"),
    ("--opt -o", "!KEY=VALUE...", "a driver option"),
)

_EXEC: tuple[Flag, ...] = (
    ("--env -e", "K=V...", "set an environment variable"),
    ("--workdir -w", "DIR", "working directory (default: the caller's)"),
    ("--detach -d", "!", "in the background"),
    ("--interactive -i", "!", "keep stdin open"),
    ("--tty -t", "!", "a terminal of its own"),
    ("--user -u", "!USER", "as another user"),
)

#: command -> (arguments, flags, module:function, what it does, example)
COMMANDS: dict[str, tuple[str, tuple[Flag, ...], str, str, str]] = {
    "net create": (
        "NAME",
        _CREATE,
        "net:create",
        "make a network",
        "weft net create blue --subnet 192.168.10.0/24 --gateway 192.168.10.1 --bridge lxcbr0",
    ),
    "net ls": ("", (), "show:net_ls", "list the networks", "weft net ls --format json"),
    "net inspect": (
        "NAME...",
        (),
        "show:net_inspect",
        "all about networks",
        "weft net inspect blue --format json",
    ),
    "net rm": (
        "NAME...",
        (("--force -f", "", "remove its containers first"),),
        "net:remove",
        "remove networks",
        "weft net rm blue",
    ),
    "run": (
        "[--] [CMD...]",
        _RUN,
        "run:run",
        "run a command in a container of its own; without CMD, a container with no process",
        "weft run -d --name web --network blue -p 8080:80 -- python3 -m http.server 80",
    ),
    "exec": (
        "C [--] CMD...",
        _EXEC,
        "run:execute",
        "run a command inside a container",
        "weft exec web -- ip addr",
    ),
    "ps": (
        "",
        (("--all -a", "", "those that have exited too"),),
        "show:ps",
        "list the containers",
        "weft ps -a --format json",
    ),
    "inspect": ("C...", (), "show:inspect", "all about containers", "weft inspect web --format json"),
    "logs": (
        "C",
        (("--follow -f", "!", "go on as more comes"),),
        "show:logs",
        "what a detached container has written",
        "weft logs web",
    ),
    "port": ("C", (), "show:port", "a container's published ports", "weft port web"),
    "rm": (
        "C...",
        (("--force -f", "", "end its processes first"),),
        "net:remove_containers",
        "remove containers",
        "weft rm -f web",
    ),
    "map": (
        "",
        (
            ("--format", "text|svg|dot|mermaid|json", "how it is drawn (only text so far)"),
            ("--out", "!FILE", "write to a file"),
        ),
        "show:draw",
        "draw networks and containers",
        "weft map",
    ),
    "completion": (
        "SHELL",
        (),
        "words:completion",
        "completion for bash, zsh or fish",
        "weft completion bash",
    ),
    "version": ("", (), "words:version", "weft's version", "weft version"),
}

#: Called by weft itself, by printed plans and by its developers; not part of the contract.
HIDDEN: dict[str, tuple[str, tuple[Flag, ...], str, str, str]] = {
    "loopback": ("WORD...", (), "loopback:control", "talk to the loopback proxy", "weft loopback list"),
    "finished": ("WORD...", (), "run:finished", "what a monitor becomes when its command has ended", ""),
    "reference": ("", (), "words:page", "docs/reference.md", "weft reference > docs/reference.md"),
    "loopback-serve": ("FD...", (), "loopback:serve", "the loopback proxy itself", ""),
}

NOT_YET = (
    "net edit",
    "net prune",
    "net connect",
    "net disconnect",
    "net publish",
    "net unpublish",
    *(f"ns {v}" for v in "ls add rm exec enter unshare identify pids same adopt forget watch".split()),
    "wire",
    *(f"switch {v}" for v in "add ls show rm plug unplug".split()),
    *(f"link {v}" for v in "ls rm whose".split()),
    *"wait stop kill pause unpause rename top stats events spec oci-hook".split(),
    *"why doctor repair gc watch serve dns up down diff config status".split(),
    "kernel birth",
    *"shape partition heal capture".split(),
)
