"""The command line as data: every command, its flags, its help. Parser, help, completion and the
reference page are all made from this table.

A flag is (names, metavar, help). A metavar ending in ``...`` may be repeated, "" is a switch, and a
leading ``!`` marks what the contract names and weft refuses so far (exit 5).
"""

from __future__ import annotations

from weft.frontends.cli.runflags import OF_SPEC, RUN

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

_CREATE: tuple[Flag, ...] = (
    ("--driver -d", "NAME", "bridge (default), macvlan, ipvlan, or a plug-in of Docker's (docs/docker.md)"),
    ("--ipam-driver", "NAME", "a plug-in of Docker's that subnets and addresses come from"),
    ("--ipam-opt", "KEY=VALUE...", "an option for it"),
    ("--subnet", "CIDR...", "a subnet, IPv4 or IPv6 (default: the first free one of the pools)"),
    ("--ip-range", "CIDR...", "where in its subnet addresses are taken from"),
    ("--gateway", "IP...", "the gateway of its subnet (default: the first address)"),
    ("--aux-address", "NAME=IP...", "an address that is never given away"),
    ("--ipv6", "", "IPv6 too: a subnet of this host's own ULA prefix unless one is given"),
    ("--internal", "", "no way out, and none in but from the host"),
    ("--isolated", "", "members cannot talk to each other"),
    (
        "--nat",
        "nat|routed",
        "masquerade (default), or route: others reach what is published, by its own address",
    ),
    ("--bridge", "NAME", "the bridge's name (default: derived); one that exists is used and never deleted"),
    ("--mtu", "N", "MTU of the bridge and its cables (default: the uplink's)"),
    ("--opt -o", "KEY=VALUE...", "an option, by weft's or Docker's name (docs/docker-options.md)"),
    ("--label", "K=V...", "a label"),
)

_CONNECT: tuple[Flag, ...] = (
    ("--ip", "IP...", "a fixed address, one IPv4 and one IPv6 at most"),
    ("--mac", "MAC", "a fixed MAC (default: derived from network and container)"),
    ("--ifname", "NAME", "the interface's name (default: the next free ethN)"),
    ("--alias", "NAME...", "another name in the network"),
    ("--gw-priority", "N", "the highest of a container's networks gives its default route (default: 0)"),
    ("--sysctl", "K=V...", "of the interface, as net.ipv4.conf.IFNAME.arp_notify=1"),
    ("--route", "CIDR[@GW]...", "another route by this network"),
    ("--publish -p", "[IP:][PORT|LO-HI:]PORT[-HI][/tcp|udp]...", "publish ports"),
)

_EXEC: tuple[Flag, ...] = (
    ("--env -e", "K=V...", "set an environment variable"),
    ("--workdir -w", "DIR", "working directory (default: the caller's; the container's with --rootfs)"),
    ("--detach -d", "", "in the background"),
    ("--interactive -i", "", "keep stdin open; without -t it always is"),
    ("--tty -t", "", "a terminal of its own; -it passes the caller's through"),
    ("--detach-keys", "KEYS", "what leaves a terminal and lets the command go on (default: ctrl-p,ctrl-q)"),
    ("--user -u", "USER[:GROUP]", "as another user (default: the container's)"),
    ("--privileged", "", "with all capabilities and without a seccomp filter"),
)

_IN = ("--in", "TARGET", "the namespace (default: this one)")
_TYPES = "net|mnt|pid|uts|ipc|user|cgroup|time"
_NS = ("--ns", "TYPE,...", f"which namespaces: {_TYPES}, or all")
_ENTER: tuple[Flag, ...] = (
    _NS,
    ("--env -e", "K=V...", "set an environment variable"),
    ("--workdir -w", "DIR", "working directory (default: the caller's)"),
)
_NEW = {
    "net": "; with --mnt also /sys is its own",
    "mnt": "; mounts neither come in nor leak out",
    "pid": ": the command is pid 1 in it; with --mnt also /proc is its own",
    "user": ": the caller is root in it; needs no root outside where the kernel lets anybody",
}
_END = "NS[:IF][=ADDR,..]"

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
    "net edit": (
        "NAME",
        (
            ("--label", "K=V...", "set a label; without a value it goes"),
            ("--isolated", "true|false", "whether members can talk to each other"),
            ("--nat", "nat|routed", "masquerade, or route"),
            ("--mtu", "N", "MTU of the bridge and all its cables"),
            ("--opt -o", "K=V...", "dns, dns_port, dns_servers, dns_inside; without a value it goes"),
        ),
        "net:edit",
        "change a network while it is used",
        "weft net edit blue --isolated=true --mtu 1400",
    ),
    "net prune": ("", (), "net:prune", "remove the networks that nobody is in", "weft net prune"),
    "net connect": (
        "NET CONTAINER|TARGET",
        _CONNECT,
        "net:connect",
        "connect a running container, or any namespace of any engine, to a network",
        "weft net connect blue podman:web --alias web",
    ),
    "net disconnect": (
        "NET CONTAINER|TARGET",
        (("--force -f", "", "no error when it is not in it"),),
        "net:disconnect",
        "take one out of a network",
        "weft net disconnect blue web",
    ),
    "net publish": (
        "NET CONTAINER SPEC...",
        (),
        "net:publish",
        "publish ports of a running container",
        "weft net publish blue web 0.0.0.0:8080:80",
    ),
    "net unpublish": (
        "NET CONTAINER SPEC...",
        (),
        "net:unpublish",
        "take published ports back",
        "weft net unpublish blue web 0.0.0.0:8080:80",
    ),
    "run": (
        "[--] [CMD...]",
        RUN,
        "run:run",
        "run a command in a container of its own; without CMD, a container with no process",
        "weft run -d --name web --network blue -p 8080:80 -- python3 -m http.server 80",
    ),
    "exec": (
        "C [--] CMD...",
        _EXEC,
        "command:execute",
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
        (
            ("--follow -f", "", "go on as more comes, until the container ends"),
            ("--since", "TIME", "from then on: 2026-11-25T08:44:50Z, seconds since 1970, or 10m (ago)"),
            ("--until", "TIME", "up to then"),
            ("--tail -n", "N", "the last N lines (default: all)"),
            ("--timestamps -t", "", "when each line was written"),
        ),
        "life:logs",
        "what a container with a monitor has written",
        "weft logs -f --tail 20 web",
    ),
    "attach": (
        "C",
        (
            ("--no-stdin", "", "nothing that is typed goes to it"),
            ("--sig-proxy", "true|false", "pass signals on where it has no terminal (default: true)"),
            ("--detach-keys", "KEYS", "what leaves a terminal (default: ctrl-p,ctrl-q)"),
        ),
        "life:attach",
        "the caller's input and output become a container's",
        "weft attach web",
    ),
    "wait": (
        "C...",
        (),
        "life:wait",
        "wait until containers have ended; print their exit codes",
        "weft wait job",
    ),
    "stop": (
        "C...",
        (("--time -t", "SECONDS", "until it is killed (default: the container's --stop-timeout, 10)"),),
        "life:stop",
        "ask containers to end, and kill those that do not",
        "weft stop -t 3 web db",
    ),
    "kill": (
        "C...",
        (("--signal -s", "SIGNAL", "by name or number (default: KILL)"),),
        "life:kill",
        "send a signal to containers",
        "weft kill -s HUP web",
    ),
    "start": (
        "C...",
        (
            ("--attach -a", "", "its output becomes the caller's"),
            ("--interactive -i", "", "the caller's input goes to it, too"),
            ("--detach-keys", "KEYS", "what leaves a terminal (default: ctrl-p,ctrl-q)"),
        ),
        "life:start",
        "start containers that have exited, with the addresses they had where those are free",
        "weft start web",
    ),
    "restart": (
        "C...",
        (("--time -t", "SECONDS", "until it is killed (default: the container's --stop-timeout, 10)"),),
        "life:restart",
        "stop containers and start them again",
        "weft restart web",
    ),
    "rename": ("C NAME", (), "life:rename", "rename a container that has exited", "weft rename web old-web"),
    "events": (
        "",
        (
            ("--since", "TIME", "from then on: 2026-11-25T08:44:50Z, seconds since 1970, or 10m (ago)"),
            ("--until", "TIME", "up to then; without it they are told as they come"),
        ),
        "life:events",
        "what happens to containers and networks",
        "weft events --since 1h --until 0s --filter event=die",
    ),
    "port": ("C", (), "show:port", "a container's published ports", "weft port web"),
    "stats": (
        "[C...]",
        (("--no-stream", "", "once; else again every second, on a terminal"),),
        "limits:stats",
        "what containers use of CPU, memory, network and processes",
        "weft stats --no-stream web",
    ),
    "top": (
        "[C] [COLUMN...]",
        (),
        "limits:top",
        "the processes of a container, or of all, with their pids outside and inside",
        "weft top web pid,nspid,rss,args",
    ),
    "pause": (
        "C...",
        (),
        "limits:pause",
        "stop all processes of containers where they are",
        "weft pause web",
    ),
    "unpause": ("C...", (), "limits:unpause", "let paused containers go on", "weft unpause web"),
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
    "ns ls": (
        "",
        (
            ("--type", f"{_TYPES}|all", "namespaces of this type (default: net)"),
            ("--tree", "", "as a tree: who owns what, and pid namespaces within each other"),
        ),
        "nsls:ls",
        "list the namespaces there are: named, held by a process, mount, file, socket, or a device alone",
        "weft ns ls --type all --format json",
    ),
    "ns add": ("NAME...", (), "ns:add", "make named network namespaces", "weft ns add blue red"),
    "ns rm": (
        "[NAME...]",
        (
            ("--all", "", "the names that weft made or adopted"),
            ("--wait", "", "wait until the kernel has ended them"),
        ),
        "ns:remove",
        "take names off; says what stays alive without them",
        "weft ns rm blue red",
    ),
    "ns exec": (
        "TARGET|--all [--] CMD...",
        (*_ENTER, ("--all", "", "in every named one, in parallel, each line after its name, without input")),
        "nsexec:execute",
        "execute a command inside a namespace, in place of weft",
        "weft ns exec /proc/4913/ns/net -- ifconfig",
    ),
    "ns enter": (
        "TARGET",
        _ENTER,
        "nsexec:enter",
        "a shell inside; its prompt says where",
        "weft ns enter blue",
    ),
    "ns unshare": (
        "[--] [CMD...]",
        (
            *[(f"--{t}", "", f"a new {t} namespace{_NEW.get(t, '')}") for t in _TYPES.split("|")],
            ("--clock", "OFFSET...", "with --time: shift monotonic and boot time, as +30s or boottime=-1d"),
            ("--name", "NAME", "name them, to be entered again; they stay when the command ends (not pid)"),
            *_ENTER[1:],
        ),
        "nsexec:unshare",
        "a command (default: a shell) in new namespaces",
        "weft ns unshare --net --pid --mnt -- ps aux",
    ),
    "ns identify": (
        "[PID]",
        (("--type", f"{_TYPES}|all", "of this type (default: net)"),),
        "nsls:identify",
        "the names of a process's namespaces (default: this one's)",
        "weft ns identify 4913",
    ),
    "ns pids": (
        "TARGET",
        (("--type", _TYPES, "of this type (default: net)"),),
        "nsls:pids",
        "the processes in a namespace",
        "weft ns pids blue",
    ),
    "ns same": (
        "TARGET TARGET",
        (("--type", f"{_TYPES}|all", "of this type (default: net)"),),
        "nsls:same",
        "whether two share a namespace: exit 0 when they do, 1 when not, 2 when that cannot be told",
        "weft ns same 4913 blue",
    ),
    "ns adopt": ("NAME TARGET", (), "ns:adopt", "name a namespace that has none", "weft ns adopt blue 4913"),
    "ns forget": (
        "NAME...",
        (),
        "ns:forget",
        "take a name off a namespace that something else keeps alive",
        "weft ns forget blue",
    ),
    "ns watch": (
        "",
        (),
        "watch:watch",
        "report names, namespaces and links as they come, go and move, until stopped",
        "weft ns watch --format json",
    ),
    "wire": (
        f"{_END} {_END}",
        (),
        "wire:wire",
        "lay a veth pair between two namespaces",
        "weft wire red:eth0=10.0.1.1/24 blue:eth0=10.0.1.2/24",
    ),
    "switch add": (
        "NAME",
        (
            _IN,
            ("--addr", "CIDR...", "an address of its own"),
            ("--stp", "", "with the spanning tree protocol"),
        ),
        "switch:add",
        "make a bridge",
        "weft switch add br0 --addr 10.0.1.254/24",
    ),
    "switch ls": ("", (_IN,), "switch:ls", "list the bridges", "weft switch ls"),
    "switch show": (
        "NAME",
        (_IN,),
        "switch:show",
        "a bridge's ports, MAC table, spanning tree and counters",
        "weft switch show br0",
    ),
    "switch rm": ("NAME...", (_IN,), "switch:remove", "remove bridges and their wires", "weft switch rm br0"),
    "switch plug": (
        f"NAME {_END}...",
        (_IN,),
        "switch:plug",
        "connect namespaces to a bridge",
        "weft switch plug br0 red=10.0.1.1/24 blue=10.0.1.2/24",
    ),
    "switch unplug": (
        "NAME NS[:IF]...",
        (_IN,),
        "switch:unplug",
        "disconnect a namespace from a bridge",
        "weft switch unplug br0 red",
    ),
    "link ls": (
        "",
        (_IN, ("--all", "", "of every namespace, with its peer's namespace and name")),
        "link:ls",
        "list the links",
        "weft link ls --all",
    ),
    "link rm": (
        "IFNAME...",
        (_IN,),
        "link:remove",
        "remove links, whatever is in their names",
        "weft link rm veth1",
    ),
    "link whose": (
        "IFNAME[@ifN]",
        (_IN,),
        "link:whose",
        "the other end of a veth: its namespace, container and address",
        "weft link whose veth71f2650@if17",
    ),
    "repair": (
        "",
        (),
        "repair:repair",
        "make the kernel agree with the wishes again: after a flush, a reboot, or a foreign hand",
        "weft repair --dry-run",
    ),
    "watch": (
        "",
        (),
        "repair:watch",
        "keep repairing, at once when the kernel tells of a change, until stopped",
        "weft watch --format json",
    ),
    "dns": (
        "[start|stop]",
        (),
        "dns:control",
        "where names are answered: networks made with -o dns=true (docs/dns.md)",
        "weft dns",
    ),
    "gc": ("", (), "repair:gc", "remove what nothing wants any more", "weft gc --dry-run"),
    "spec": (
        "[--] [CMD...]",
        (*OF_SPEC, ("--bundle", "DIR", "write DIR/config.json")),
        "oci:spec",
        "a config.json of run's flags, for OCI runtimes; weft's hook brings it into the networks",
        "weft spec --rootfs /srv/root --network blue -- sh > config.json",
    ),
    "oci-hook": (
        "",
        (),
        "oci:hook",
        "what an OCI runtime runs as createRuntime and poststop hook: networks by annotations (docs/oci.md)",
        "weft oci-hook",
    ),
    "serve": (
        "",
        (
            ("--docker", "", "as network and IPAM plug-in of dockerd (docs/docker.md)"),
            ("--socket", "PATH", "where (default: /run/docker/plugins/weft.sock)"),
        ),
        "serve:serve",
        "answer another engine, until stopped",
        "weft serve --docker",
    ),
    "completion": ("SHELL", (), "words:completion", "completion: bash, zsh, fish", "weft completion bash"),
    "version": ("", (), "words:version", "weft's version", "weft version"),
}

#: Called by weft itself, by printed plans and by its developers; not part of the contract.
HIDDEN: dict[str, tuple[str, tuple[Flag, ...], str, str, str]] = {
    "loopback": ("WORD...", (), "loopback:control", "talk to the loopback proxy", "weft loopback list"),
    "finished": ("WORD...", (), "life:finished", "what a monitor becomes when its command has ended", ""),
    "again": ("WORD...", (), "life:once_more", "what a monitor becomes to start its command again", ""),
    "health": ("WORD...", (), "life:health", "what a monitor runs when a container's health has changed", ""),
    "reference": ("", (), "words:page", "docs/reference.md", "weft reference > docs/reference.md"),
    "dns-serve": ("FD", (), "dns:serve", "the DNS server itself", ""),
    "loopback-serve": ("FD...", (), "loopback:serve", "the loopback proxy itself", ""),
}

NOT_YET = (
    *"why doctor up down diff config status".split(),
    "kernel birth",
    *"shape partition heal capture".split(),
)
