"""What weft refuses, case by case: the command line, its exit status, words of the message.

``NAMES`` and ``FLAGS`` are refused before anything is looked at or touched; the groups are told to a machine
with these networks and containers (``test_bad_input.py`` makes it). After each nothing may have changed.
"""

from __future__ import annotations

from typing import NamedTuple

OWN = "203.0.113.1"
#: Made by weft, in this order.
SCENE = (
    "net create blue --subnet 192.168.10.0/24 --bridge lxcbr0",
    "net create red --subnet 10.7.0.0/16",
    f"run --name web --network blue --ip 192.168.10.10 -p 8080:80 -p 5353:53/udp -p {OWN}:9000-9001:90-91",
    "run -d --name job --network blue -- sleep 1000",
    "run -d --name done --network red -- true",
)
#: Made by others: listeners (kind, address, port), and what else has a name that weft could want.
LISTENERS = (
    ("http", "127.0.0.1", 7000),
    ("http", "0.0.0.0", 7001),
    ("http", OWN, 7002),
    ("udp", "127.0.0.1", 7003),
    ("udp", "0.0.0.0", 7004),
)
FOREIGN = f"""
ip address add {OWN}/32 dev lo
ip link add name br-theirs type bridge
ip address add 10.99.0.1/24 dev br-theirs
ip link set br-theirs up
ip netns add theirs
mkdir -p /etc/netns/written
echo 127.0.0.1 localhost > /etc/netns/written/hosts
rm -f /etc/resolv.conf
echo nameserver 203.0.113.53 > /etc/resolv.conf
echo true > /run/plain
printf '#!/nonexistent\\n' > /run/orphan
chmod +x /run/orphan
"""


class Case(NamedTuple):
    command: str
    status: int
    says: str


def all_of(status: int, says: str, *commands: str) -> tuple[Case, ...]:
    """Commands that are refused alike."""
    return tuple(Case(command, status, says) for command in commands)


NAMES = (
    *all_of(
        2,
        "network name",
        "net create ''",
        "net create 4711",
        "net create .hidden",
        "net create a/b",
        "net create ..",
        "net create 'a b'",
        "net create bl\u00fcte",
        "net create -- -x",
        f"net create {'n' * 64}",
        "net create host",
        "net create none",
        "net create all",
        "net create default",
    ),
    *all_of(
        2,
        "container name",
        "run --name a/b",
        "run --name 'a;b'",
        "run --name=-x",
        "run --name 0123",
        f"run --name {'c' * 64}",
        "run --name all",
        "run --name a: -- true",
    ),
    *all_of(
        2,
        "host name",
        "run --hostname=-a",
        "run --hostname a..b",
        "run --hostname 'a b'",
        f"run --hostname {'h' * 64}",
    ),
    *all_of(
        2,
        "alias",
        "run --network-alias 'a b'",
        "run --network-alias=-a",
        "run --network blue:alias=a/b",
        "run --network-alias db --network blue:alias=\u0434\u0431",
    ),
    *all_of(
        2,
        "interface name",
        "run --network blue:ifname=0123456789abcdef",
        "run --network blue:ifname=a/b",
        "run --network blue:ifname=lo",
        "run --network blue:ifname=all",
        "net create x --bridge 'a b'",
        "net create x --bridge 0123456789abcdef",
        "net create x --bridge default",
    ),
    Case("run --network blue:mac=02:00:00:00:00", 2, "MAC address"),
    Case("run --network blue:mac=01:00:5e:00:00:01", 2, "not a unicast address"),
    Case("run --network blue:mac=00:00:00:00:00:00", 2, "not a unicast address"),
    Case("run --network blue:speed=9", 2, "--network option"),
    Case("run --network blue:ip", 2, "--network option"),
    Case("run --network blue:ip=", 2, "--network option"),
    Case("run --network blue:ip=192.168.10.4 --ip 192.168.10.5", 2, "given twice"),
    Case("run --dns 8.8.8", 2, "DNS server '8.8.8' is not an IP address"),
    Case("run --dns 127.0.0.53", 2, "loopback"),
    Case("run --dns-search 'a b'", 2, "search domain"),
    Case("net create x --label =v", 2, "is not KEY=VALUE"),
    Case("net create x --mtu many", 2, "is not a number"),
    Case("net create x --mtu 67", 2, "is not between 68 and 65535"),
    Case("net create x --mtu 65536", 2, "is not between 68 and 65535"),
    Case("net create x --driver ../token-ring", 2, "is not a name"),
    *all_of(
        2,
        "is not an IP address",
        "net create x --subnet 192.168.20/24",
        "net create x --subnet 192.168.020.0/24",
        "net create x --subnet 192.168.256.0/24",
        "net create x --subnet blue/24",
        "net create x --subnet fd00:::/64",
        "net create x --subnet ''/24",
        "net create x --subnet 192.168.20.0/24 --gateway 192.168.20",
        "run --ip 192.168.10",
        "run --ip 192.168.10.11/24",
        "run -p 300.0.0.1:80:80",
    ),
    *all_of(
        2,
        "has no valid prefix length",
        "net create x --subnet 192.168.20.0",
        "net create x --subnet 192.168.20.0/",
        "net create x --subnet 192.168.20.0/33",
        "net create x --subnet 192.168.20.0/+24",
        "net create x --subnet 192.168.20.0/24/24",
        "net create x --subnet 192.168.20.0/255.255.255.0",
    ),
    Case("net create x --subnet 192.168.20.5/24", 2, "has host bits set"),
    *all_of(
        2,
        "is not between /8 and /31",
        "net create x --subnet 192.168.20.1/32",
        "net create x --subnet 10.0.0.0/7",
    ),
    *all_of(
        2,
        "overlaps",
        "net create x --subnet 127.1.0.0/16",
        "net create x --subnet 169.254.0.0/16",
        "net create x --subnet 224.0.0.0/24",
        "net create x --subnet 0.0.0.0/8",
    ),
    Case("net create x --subnet 192.168.20.0/24 --gateway 192.168.21.1", 2, "outside the subnet"),
    Case("net create x --subnet 192.168.20.0/24 --gateway fd00::1", 2, "outside the subnet"),
    Case("net create x --subnet 192.168.20.0/24 --gateway 192.168.20.0", 2, "network or broadcast"),
    Case("net create x --subnet 192.168.20.0/24 --gateway 192.168.20.255", 2, "network or broadcast"),
    Case("net create x --gateway 192.168.20.1", 2, "--gateway needs --subnet"),
    Case("net create x --subnet fd00::/128", 2, "is not between /16 and /127"),
    Case("net create x --subnet fd00::1/64", 2, "has host bits set"),
    Case("net create x --subnet fd00::/64 --gateway fd00::", 2, "routers' anycast address"),
    *all_of(
        2,
        "overlaps fe80::/10: link-local",
        "net create x --subnet fe80::/64",
        "net create x --subnet fe80:1::/32",
    ),
    *all_of(
        2,
        "overlap",
        "net create x --subnet 192.168.20.0/24 --subnet 192.168.20.128/25",
        "net create x --subnet fd00::/64 --subnet fd00::/80",
    ),
    Case("net create x --ip-range 192.168.20.0/25", 2, "--ip-range needs --subnet"),
    Case("net create x --subnet 192.168.20.0/24 --ip-range 192.168.21.0/25", 2, "is outside the subnet"),
    Case("net create x --subnet 192.168.20.0/24 --ip-range 192.168.20.0/23", 2, "is larger than its subnet"),
    Case("net create x --subnet 192.168.20.0/24 --aux-address 192.168.20.9", 2, "is not NAME=IP"),
    Case("net create x --subnet 192.168.20.0/24 --aux-address a=192.168.21.9", 2, "is outside the subnet"),
    Case(
        "net create x --subnet 192.168.20.0/24 --gateway 192.168.20.1 --gateway 192.168.20.2",
        2,
        "given twice",
    ),
    Case("net create x --nat maybe", 2, "is not nat or routed"),
    Case("net create x --internal --nat routed", 2, "conflicts with --nat routed"),
    Case("net create x -o nonsense=1", 2, "is not known"),
    Case("net create x -o nonsense", 2, "is not KEY=VALUE"),
    Case("net create x -o mtu=1400 --mtu 1500", 2, "differ"),
    Case("net create x --ipv6 --mtu 1279", 2, "is not between 1280 and 65535"),
    Case("net edit x", 2, "needs something to change"),
    Case("net edit x --isolated=maybe", 2, "is true or false"),
    Case("net connect x 0", 2, "is not a pid"),
    Case("net connect x web --ip 10.0.0.1 --ip 10.0.0.1", 2, "asked for twice"),
    Case("net connect x web --gw-priority high", 2, "is not a number"),
    Case("net connect x web --route 0.0.0.0/0@10.0.0.1", 2, "is a default route"),
    Case("net connect x web --sysctl net.ipv4.conf.all.forwarding=1", 2, "names no interface"),
    Case("net connect x web --sysctl net.ipv4.conf.IFNAME.route_localnet=1", 2, "is refused"),
    Case("run --sysctl kernel.hostname=x", 2, "does not belong to a network namespace"),
    Case("run --sysctl net.ipv4.conf.all.route_localnet=1", 2, "is refused"),
    Case("run --sysctl net/../kernel/hostname=x", 2, "is not valid"),
    Case("run --add-host db", 2, "is not H:IP"),
    Case("run --add-host db:nowhere", 2, "is not an IP address"),
    Case("run --add-host a/b:10.0.0.1", 2, "--add-host name"),
    Case("run --network blue --network blue", 2, "network blue is given twice"),
    Case("run --network none --network blue", 2, "cannot be combined"),
    Case("run --network host", 2, "needs a command"),
    *all_of(
        2,
        "conflicts with --network",
        "run --network host -p 8080:80 -- true",
        "run --network none -p 8080:80",
        "run --network container:web --hostname x",
        "run --network container:web --dns 8.8.8.8",
        "run --network host --add-host a:10.0.0.1 -- true",
        "run --network none --ip 10.0.0.1",
    ),
    Case("run --name a --network container:a", 2, "cannot share its own"),
    *all_of(
        2,
        "is not a port",
        "run -p 0:80",
        "run -p 65536:80",
        "run -p 8081:0",
        "run -p http:80",
        "run -p 8081:http",
        "run -p ' 8081:80'",
        "run -p +8081:80",
        "run -p -1:80",
        "run -p 1-:80",
        "run -p \u0668\u0660:80",
        "run -p ''",
    ),
    Case("run -p 8090-8089:80-81", 2, "runs backwards"),
    Case("run -p 8081-8083:80-81", 2, "differ in length"),
    *all_of(2, "malformed", "run -p 1:2:3:4", "run -p ::1:8081:80", "run -p [::1]8081:80", "run -p [::1"),
    Case("run -p [127.0.0.1]:8081:80", 2, "brackets are for IPv6"),
    Case("run -p 8081:80/sctp", 2, "SCTP is not served"),
    Case("run -p 8081:80/", 2, "is not tcp or udp"),
    Case("run -p 8081:80 -p 0.0.0.0:8081:81", 2, "clashes with"),
    Case("run -p 8081-8083:80-82 -p 8083:90", 2, "clashes with"),
)

SUBNETS = (
    *all_of(
        4,
        "overlaps 192.168.10.0/24 of network blue",
        "net create x --subnet 192.168.10.0/24",
        "net create x --subnet 192.168.0.0/16",
        "net create x --subnet 192.168.10.128/25",
    ),
    *all_of(
        4,
        "overlaps the host's route to 10.99.0.0/24 by br-theirs",
        "net create x --subnet 10.99.0.0/24",
        "net create x --subnet 10.96.0.0/13",
        "net create x --subnet 10.99.0.252/30",
    ),
    Case("run --network blue --ip 192.168.11.2", 2, "outside the subnet 192.168.10.0/24"),
    Case("run --network blue --ip fd00::2", 2, "network blue has no IPv6 subnet"),
    Case("run --network blue --ip 192.168.10.0", 2, "network or broadcast address"),
    Case("run --network blue --ip 192.168.10.255", 2, "network or broadcast address"),
    Case("run --network blue --ip 192.168.10.1", 4, "is the gateway"),
    Case("run --network blue --ip 192.168.10.10", 4, "is taken by container web"),
    Case("run --network blue:ip=192.168.10.10 -- true", 4, "is taken by container web"),
)

PORTS = (
    *all_of(
        4,
        "is published by container web",
        "run --network red -p 8080:80",
        "run --network red -p 0.0.0.0:8080:80",
        "run --network red -p 8081:80 -p 5353:1/udp",
        f"run --network red -p {OWN}:9001:1",
        f"run --network red -p {OWN}:8999-9000:1-2 -- true",
        "run --network red -p 0.0.0.0:9000:1",
        "run -p 8080:80",  # by the default network, which goes again
    ),
    *all_of(
        4,
        "is taken by another program",
        "run --network red -p 7000:80",
        "run --network red -p 0.0.0.0:7000:80",
        "run --network red -p 8081:80 -p 7001:80",
        f"run --network red -p {OWN}:7001:80",
        f"run --network red -p {OWN}:7002:80 -- true",
        "run -d --network red -p 6999-7000:80-81 -- sleep 1000",
        "run --network red -p 7003:53/udp",
        "run --network red -p 0.0.0.0:7003:53/udp",
        "run --network red -p 8081:80 -p 7004:53/udp",
        f"run --network red -p {OWN}:7004:53/udp",
        "run -p 7000:80",
    ),
    Case("run --network red -p 203.0.113.99:8081:80", 2, "is not an address of this host"),
)

OBJECTS = (
    Case("net create blue", 4, "network blue exists already"),
    Case("net create x --bridge lxcbr0", 4, "belongs to network blue"),
    Case("net create x --bridge lo9 --subnet 10.99.1.0/24 -o bridge=lo8", 2, "differ"),
    Case("net connect blue nobody", 3, "no network namespace nobody"),
    Case("net connect blue web", 4, "container web is in network blue already"),
    Case("net connect nowhere web", 3, "no network 'nowhere'"),
    Case("net connect blue host", 2, "the host is in every network already"),
    Case("net disconnect red web", 3, "web is not in network red"),
    Case("net disconnect blue nobody", 3, "nobody is not in network blue"),
    Case("net publish red web 80", 3, "web is not in network red"),
    Case("net unpublish blue web 81", 3, "does not publish 81"),
    Case("net edit nowhere --mtu 1400", 3, "no network 'nowhere'"),
    Case("run --network container:nobody", 3, "no container 'nobody'"),
    Case("run --network container:done", 4, "container done is not running"),
    Case("net rm blue", 4, "network blue is in use by job, web"),
    Case("run --name web --network red", 4, "container web exists already"),
    Case("run --name done --network red -- true", 4, "container done exists already"),
    Case("run --name theirs --network red", 4, "theirs exists under /run/netns and is not weft's"),
    Case("run --name written --network red", 4, "/etc/netns/written/hosts exists and is not weft's"),
    Case("rm job", 4, "container job has running processes"),
    Case("rm web job", 4, "container job has running processes"),
    Case("exec done true", 4, "container done has exited"),
    Case("logs web", 3, "container web has no log"),
    Case("--root /etc/passwd ps", 1, "cannot make /etc/passwd/state"),
    Case("--root /var/lib/elsewhere net create x", 4, "is not this root's"),
    Case("--root /var/lib/elsewhere net rm blue", 3, "no network 'blue'"),
    *all_of(
        3,
        "no network 'nope'",
        "net rm nope",
        "net rm nope blue",
        "net rm -f nope",
        "net inspect nope",
        "net inspect blue nope",
        "run --network nope",
        "run --network nope:ip=192.168.10.4 -- true",
    ),
    Case("net rm ''", 3, "no network ''"),
    Case("run --network ''", 3, "no network ''"),
    *all_of(
        3,
        "no container 'nope'",
        "rm nope",
        "rm -f web nope",
        "inspect nope",
        "inspect web nope",
        "logs nope",
        "port nope",
        "exec nope true",
    ),
    Case("rm -f ''", 3, "no container ''"),
)

COMMANDS = (
    *all_of(
        127,
        "is not found",
        "run --network blue -- nonexistent",
        "run --network blue nonexistent -x",
        "run -d --network blue -- /run/nonexistent",
        "run --network blue -w /run -- ./nonexistent",
        "run --network blue -- ''",
        "run --network blue -e PATH=/nowhere -- true",
        "run -- nonexistent",
        "run --network blue -- /run/orphan",
        "run -d --network blue -- /run/orphan",
        "run -- /run/orphan",
        "exec web nonexistent",
        "exec job /run/orphan",
    ),
    *all_of(
        126,
        "execut",
        "run --network blue -- /run/plain",
        "run --network blue -w /run -- ./plain",
        "run -d --network blue -- /run/plain",
        "exec web /run/plain",
        "exec job /run",
    ),
    Case("run --network blue -- /run", 126, "is a directory"),
    Case("run --network blue -w /nonexistent -- true", 2, "working directory '/nonexistent'"),
    Case("run --network blue -w /run/plain -- true", 2, "working directory '/run/plain'"),
    Case("exec web -w /nonexistent true", 2, "working directory '/nonexistent'"),
    Case("exec -w /nonexistent web true", 2, "working directory '/nonexistent'"),
    Case("run --network blue -e =v -- true", 2, "--env '=v' is not KEY=VALUE"),
    Case("exec -e '' web true", 2, "--env '' is not KEY=VALUE"),
    Case("exec web", 2, "needs a command"),
    Case("map --format svg", 5, "--format svg of `weft map` is not built yet"),
    Case("ps --filter name", 2, "is not KEY=VALUE of a known key"),
    Case("net ls --filter colour=blue", 2, "is not KEY=VALUE of a known key"),
)

FLAGS = (
    *all_of(
        2,
        "unknown flag",
        "--nope ps",
        "ps --nope",
        "net create x --nope=1",
        "run --nam web",
        "run -dx -- true",
        "rm -x web",
        "exec --rm web true",
    ),
    *all_of(2, "needs a value", "run --name", "net create x --subnet", "ps --filter", "run -p", "--root"),
    *all_of(
        2,
        "needs a value, not ''",
        "run --name ''",
        "run -w '' -- true",
        "net create x --bridge ''",
    ),
    *all_of(
        2,
        "is given twice",
        "net create x --mtu 1400 --mtu 1400",
        "run --name a --name b",
        "--root /run/a ps --root /run/b",
    ),
    Case("ps --all=maybe", 2, "takes true or false"),
    Case("ps --format yaml", 2, "--format takes table|json"),
    Case("map --format yaml", 2, "--format takes text|"),
    Case("net create x --show steps", 2, "--show takes `commands`"),
    Case("--root= ps", 2, "--root needs a value, not ''"),
    Case("rm --filter name=web web", 2, "`weft rm` has no --filter"),
    Case("completion tcsh", 2, "no completion for 'tcsh'"),
    *all_of(2, "needs NAME", "net create", "net rm", "net inspect"),
    *all_of(2, "needs C", "rm", "inspect", "logs", "port", "exec"),
    *all_of(2, "does not take 'extra'", "net create x extra", "net ls extra", "ps extra", "logs web extra"),
    Case("net", 2, "`weft net` needs a command"),
    Case("--quiet", 2, "no command is given"),
    *all_of(2, "no command", "frobnicate", "net frobnicate", "nets ls", "''", "-- ps"),
    *all_of(
        5,
        "is not built yet",
        "why a b",
        "net create x -d vlan",
    ),
)

GROUPS = {
    "subnets and addresses": SUBNETS,
    "ports": PORTS,
    "objects": OBJECTS,
    "commands": COMMANDS,
}
