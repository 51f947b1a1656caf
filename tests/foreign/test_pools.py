"""Where automatic subnets come from, and what they stay clear of."""

from __future__ import annotations

import pytest

from harness import Host
from weft.core.ipam.config import parse
from weft.core.ipam.pool import DEFAULT_POOLS, AutoPool
from weft.core.model.address import parse_subnet
from weft.core.model.errors import BadInput
from weft.linux.others import engine_subnets

TWO = """# who may have what
[[pool]]
base = "10.200.0.0/16"
size = 26

[[pool]]
base = "192.168.128.0/17"
size = 24
"""


def test_pools_in_their_order() -> None:
    found = parse(TWO, "weft.toml")
    wanted = ("10.200.0.0/16", 26), ("192.168.128.0/17", 24)
    assert found == tuple(AutoPool(parse_subnet(base), size) for base, size in wanted)


@pytest.mark.parametrize("text", ["", "# nothing\n", "pool = []\n"])
def test_none_are_those_built_in(text: str) -> None:
    assert parse(text, "weft.toml") == DEFAULT_POOLS


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (2, '[[pool]]\nbase = "10.0.0.0/8\nsize = 24\n'),
        (3, '[[pool]]\nbase = "10.81.0.0/16"\nsize = \n'),
        (1, "pools = 3\n"),
        (2, "\npool = 3\n"),
        (2, '\n[pool]\nbase = "10.81.0.0/16"\nsize = 24\n'),
        (7, TWO.replace("192.168.128.0/17", "192.168.128.1/17")),
        (7, TWO.replace("192.168.128.0/17", "10.200.7.0/24")),
        (7, TWO.replace('"192.168.128.0/17"', "7")),
        (7, TWO.replace("192.168.128.0/17", "fd00::/48")),
        (7, TWO.replace("192.168.128.0/17", "127.0.0.0/8")),
        (4, TWO.replace("26", "31")),
        (4, TWO.replace("26", "8")),
        (4, TWO.replace("26", '"26"')),
        (4, TWO.replace("26", "true")),
        (4, TWO.replace("size = 26", "sise = 26")),
        (2, TWO.replace("size = 26", "")),
        (6, TWO.replace('base = "192.168.128.0/17"\n', "")),
        (3, '[[pool]]\nbase = "10.81.0.0/16"\nbase = "10.82.0.0/16"\nsize = 24\n'),
    ],
)
def test_a_mistake_is_an_error_that_names_its_line(line: int, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text, "/etc/weft/weft.toml")
    assert caught.value.message.startswith(f"/etc/weft/weft.toml line {line}: "), caught.value.message
    assert caught.value.message.isprintable()


def subnets(host: Host, *names: str) -> list[str]:
    return [host.weft_json("net", "inspect", n)[0]["subnets"][0]["subnet"] for n in names]


def test_networks_use_them(host: Host) -> None:
    host.write("/etc/weft/weft.toml", TWO.replace("10.200.0.0/16", "10.200.0.0/25"))
    for name in ("one", "two", "three"):
        host.weft("net", "create", name)
    assert subnets(host, "one", "two", "three") == ["10.200.0.0/26", "10.200.0.64/26", "192.168.128.0/24"]


def test_a_root_has_its_own_file(host: Host) -> None:
    host.write("/etc/weft/weft.toml", "no")
    host.write("/run/lab/weft.toml", TWO)
    made = host.run(["sh", "-c", 'WEFT_ROOT=/run/lab "$0" net create one', _weft()])
    assert made.returncode == 0
    shown = host.run([_weft(), "--root", "/run/lab", "net", "inspect", "one"]).stdout
    assert "10.200.0.0/26" in shown


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[[pool]\n", "line 1: "),
        (b"# \xff\n", "line 1: a byte that is not UTF-8"),
        (b"a" * (1 << 21), "larger"),
    ],
)
def test_a_damaged_file_makes_no_network(host: Host, data: bytes, said: str) -> None:
    host.write("/etc/weft/weft.toml", "")
    host.path("/etc/weft/weft.toml").write_bytes(data)
    refused = host.weft("net", "create", "one", check=False)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "/etc/weft/weft.toml" in refused.stderr
    assert host.weft_json("net", "ls") == []


def _weft() -> str:
    from harness import REPO

    return str(REPO / "weft")


PODMAN = """{"name": "podnet", "network_interface": "podman1", "driver": "bridge",
  "subnets": [{"subnet": "10.81.0.0/24", "gateway": "10.81.0.1"}, {"subnet": "fd81::/64"}]}"""
CNI = """{"cniVersion": "0.4.0", "name": "cnet", "plugins": [
  {"type": "bridge", "bridge": "cni0",
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.81.1.0/24"}]]}},
  {"type": "portmap"}]}"""
OLD_CNI = '{"name": "old", "type": "bridge", "ipam": {"subnet": "10.81.2.0/24"}}'
LIBVIRT = """<network>
  <name>default</name>
  <bridge name='virbr0' stp='on' delay='0'/>
  <ip address='10.81.3.1' netmask='255.255.255.0'>
    <dhcp><range start='10.81.3.2' end='10.81.3.254'/></dhcp>
  </ip>
  <ip family='ipv6' address='fd83::1' prefix='64'/>
</network>"""


def furnish(host: Host) -> None:
    host.write("/etc/containers/networks/podnet.json", PODMAN)
    host.write("/etc/cni/net.d/10-c.conflist", CNI)
    host.write("/etc/cni/net.d/20-old.conf", OLD_CNI)
    host.write("/etc/libvirt/qemu/networks/default.xml", LIBVIRT)


def test_what_other_engines_keep(host: Host) -> None:
    furnish(host)
    facts = engine_subnets(f"/proc/{host.pid}/root")
    names = {f.by.rpartition(" ")[0]: f.name for f in facts if f.by.endswith(("podnet", "cnet", "default"))}
    assert names == {"Podman's network": "podnet", "the CNI network": "cnet", "libvirt's network": ""}
    found = {(str(f.subnet), f.by, f.bridge) for f in facts}
    assert found >= {
        ("10.81.0.0/24", "Podman's network podnet", "podman1"),
        ("fd81::/64", "Podman's network podnet", "podman1"),
        ("10.81.1.0/24", "the CNI network cnet", "cni0"),
        ("10.81.2.0/24", "the CNI network old", ""),
        ("10.81.3.0/24", "libvirt's network default", "virbr0"),
        ("fd83::/64", "libvirt's network default", "virbr0"),
    }


def test_no_automatic_subnet_is_theirs_and_a_clash_names_them(host: Host) -> None:
    furnish(host)
    host.weft("net", "create", "one")
    assert subnets(host, "one") == ["10.81.4.0/24"]
    for subnet, whose in (
        ("10.81.0.128/25", "Podman's network podnet"),
        ("10.81.3.0/24", "libvirt's network"),
    ):
        refused = host.weft("net", "create", "two", "--subnet", subnet, check=False)
        assert refused.returncode == 4
        assert whose in refused.stderr
    # Their own bridge may be adopted.
    host.ip("link", "add", "podman1", "type", "bridge")
    host.weft("net", "create", "two", "--subnet", "10.81.0.0/24", "--bridge", "podman1")


BROKEN = (
    *("", "{", "[]", '{"name": 3, "subnets": 7}', "\0" * 100, "[" * 100_000),
    *('{"name": "a", "subnets": [{"subnet": "x"}]}', '{"name": "a", "subnets": [3]}'),
    *('{"plugins": [3]}', '{"name": "a", "plugins": [{}]}'),
    "<network><name>a</name><ip address='1.2.3'/>",
    "<name>a</name><ip address='1.1.1.1' prefix='x'/>",
)


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_of_theirs_says_nothing(host: Host, text: str) -> None:
    places = ("/etc/containers/networks/a.json", "/etc/cni/net.d/a.conf", "/etc/libvirt/qemu/networks/a.xml")
    for place in places:
        host.write(place, text)
    root = f"/proc/{host.pid}/root"
    assert [f for f in engine_subnets(root) if f.by.endswith(" a")] == []
