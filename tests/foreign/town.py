"""A host with an uplink on which weft and somebody else both have containers."""

from __future__ import annotations

from typing import Self

from harness import Host, Lan

FAR, HOST = Lan.FAR, Lan.HOST


class Town:
    """The host, its neighbour "box", and weft's network blue with the container c, published at 8080."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.lan = Lan(host)
        self.lan.serve(80, "box")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lan.close()

    def settle_in(self, *options: str) -> None:
        """weft's side."""
        self.host.weft("net", "create", "blue", *options)
        self.host.weft("run", "--name", "c", "--network", "blue", "-p", "0.0.0.0:8080:80")
        self.host.serve(80, "c", netns="c")

    @property
    def bridge(self) -> str:
        (network,) = self.host.weft_json("net", "inspect", "blue")
        return str(network["bridge"])

    @property
    def address(self) -> str:
        """The container's."""
        (found,) = self.host.weft_json("inspect", "c")
        return str(found["networks"]["blue"]["addresses"][0].partition("/")[0])

    def reaches_out(self, who: str = "c") -> bool:
        return self.host.fetch(f"http://{FAR}/", netns=who).body == "box"

    def is_reached(self, port: int = 8080, who: str = "c") -> bool:
        return self.lan.fetch(f"http://{HOST}:{port}/").body == who

    def works(self) -> bool:
        """Both ways."""
        return self.reaches_out() and self.is_reached()

    def bridge_of_others(self, name: str = "docker0", subnet: str = "172.17.0") -> str:
        """Another engine's bridge with a member, who serves his name at port 80; his address."""
        self.host.sh(
            f"ip link add {name} type bridge\nip addr add {subnet}.1/16 dev {name}\nip link set {name} up\n"
            f"ip netns add other\nip link add vother master {name} type veth peer name eth0 netns other\n"
            f"ip link set vother up\nip -n other addr add {subnet}.2/16 dev eth0\n"
            f"ip -n other link set eth0 up\nip -n other route add default via {subnet}.1\n"
        )
        self.host.serve(80, "other", netns="other")
        return f"{subnet}.2"

    def gets(self, who: str, address: str) -> bool:
        """Whether a member gets an answer of an address."""
        return self.host.fetch(f"http://{address}/", netns=who, timeout=1).ok

    def mend(self) -> None:
        self.host.weft("repair")

    def rules(self, *table: str) -> str:
        """A table of nf_tables without its counters."""
        from re import sub

        listed = self.host.nft("list", "table", *table)
        return sub(r"counter packets \d+ bytes \d+ ", "", listed)
