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


def _all(status: int, says: str, *commands: str) -> tuple[Case, ...]:
    return tuple(Case(command, status, says) for command in commands)


NAMES = (
    *_all(
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
    *_all(
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
    *_all(
        2,
        "host name",
        "run --hostname=-a",
        "run --hostname a..b",
        "run --hostname 'a b'",
        f"run --hostname {'h' * 64}",
    ),
    *_all(
        2,
        "alias",
        "run --network-alias 'a b'",
        "run --network-alias=-a",
        "run --network blue:alias=a/b",
        "run --network-alias db --network blue:alias=\u0434\u0431",
    ),
    *_all(
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
    Case("net create x --driver token-ring", 2, "no driver 'token-ring'"),
    *_all(
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
    *_all(
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
    *_all(
        2,
        "is not between /8 and /30",
        "net create x --subnet 192.168.20.0/31",
        "net create x --subnet 192.168.20.1/32",
        "net create x --subnet 10.0.0.0/7",
    ),
    *_all(
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
    Case("net create x --subnet fd00::/64", 5, "IPv6"),
    Case("net create x --subnet 192.168.20.0/24 --subnet fd00::/64", 5, "several subnets"),
    *_all(
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
    Case("run -p 8081-8082:80", 2, "differ in length"),
    Case("run -p 1:2:3:4", 2, "malformed"),
    Case("run -p 8081:80/sctp", 2, "is not tcp or udp"),
    Case("run -p 8081:80/", 2, "is not tcp or udp"),
    Case("run -p 8081:80 -p 0.0.0.0:8081:81", 2, "clashes with"),
    Case("run -p 8081-8083:80-82 -p 8083:90", 2, "clashes with"),
    Case("run -p 80", 5, "chosen by weft"),
    Case("run -p [::1]:8081:80", 5, "IPv6"),
)

SUBNETS = (
    *_all(
        4,
        "overlaps 192.168.10.0/24 of network blue",
        "net create x --subnet 192.168.10.0/24",
        "net create x --subnet 192.168.0.0/16",
        "net create x --subnet 192.168.10.128/25",
    ),
    *_all(
        4,
        "overlaps the host's route to 10.99.0.0/24 by br-theirs",
        "net create x --subnet 10.99.0.0/24",
        "net create x --subnet 10.96.0.0/13",
        "net create x --subnet 10.99.0.252/30",
    ),
    Case("run --network blue --ip 192.168.11.2", 2, "outside the subnet 192.168.10.0/24"),
    Case("run --network blue --ip fd00::2", 2, "outside the subnet 192.168.10.0/24"),
    Case("run --network blue --ip 192.168.10.0", 2, "network or broadcast address"),
    Case("run --network blue --ip 192.168.10.255", 2, "network or broadcast address"),
    Case("run --network blue --ip 192.168.10.1", 4, "is the gateway"),
    Case("run --network blue --ip 192.168.10.10", 4, "is taken by container web"),
    Case("run --network blue:ip=192.168.10.10 -- true", 4, "is taken by container web"),
)

PORTS = (
    *_all(
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
    *_all(
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
    Case("net create x --bridge br-theirs", 4, "br-theirs (bridge) exists and is not weft's"),
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
    *_all(
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
    *_all(
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
    *_all(
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
    *_all(
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
    *_all(
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
    *_all(2, "needs a value", "run --name", "net create x --subnet", "ps --filter", "run -p", "--root"),
    *_all(
        2,
        "needs a value, not ''",
        "run --name ''",
        "run --ip= -- true",
        "run -w '' -- true",
        "net create x --gateway ''",
        "net create x --bridge ''",
    ),
    *_all(
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
    *_all(2, "needs NAME", "net create", "net rm", "net inspect"),
    *_all(2, "needs C", "rm", "inspect", "logs", "port", "exec"),
    *_all(2, "does not take 'extra'", "net create x extra", "net ls extra", "ps extra", "logs web extra"),
    Case("net", 2, "`weft net` needs a command"),
    Case("--quiet", 2, "no command is given"),
    *_all(2, "no command", "frobnicate", "net frobnicate", "nets ls", "''", "-- ps"),
    *_all(
        5,
        "is not built yet",
        "net connect blue web",
        "why a b",
        "stop web",
        "run --memory 1g -- true",
        "run -v /a:/b -- true",
        "exec -it web sh",
        "logs -f web",
        "net create x --ipv6",
        "net create x -d macvlan",
        "run --network host -- true",
        "run --network none",
        "run --network container:web -- true",
    ),
    Case("run --network blue --network red", 5, "several networks"),
)

GROUPS = {
    "subnets and addresses": SUBNETS,
    "ports": PORTS,
    "objects": OBJECTS,
    "commands": COMMANDS,
}
