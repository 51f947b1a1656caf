"""Names: what is accepted, what is refused before anything is touched, what is derived from them."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weft.core.model import names
from weft.core.model.errors import BadInput

#: cli.md: whole string, ASCII.
CONTRACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
RESERVED = {"container": {"host", "none", "all"}, "network": {"host", "none", "all", "container"}}
#: The letters of names, what is near them, and what looks like them.
LETTERS = st.text(st.one_of(st.sampled_from("aZ09_.-/ \n\0:@%٣é\u202e\ud800"), st.characters()), max_size=70)
IDS = st.text("0123456789abcdef", min_size=16, max_size=16)

HOSTILE = [
    "",
    "a\n",
    "\na",
    "a b",
    "a\0",
    "a/b",
    "..",
    ".hidden",
    "-rf",
    "_a",
    "1234",
    "٣٤",
    "a٣",
    "é",
    "a\u202eb",
    "a\ud800",
    "a" * 64,
    "a:b",
    "a%s",
    "$(reboot)",
    "../../etc/passwd",
]


@pytest.mark.parametrize("what", ["container", "network"])
@given(name=LETTERS)
def test_the_contracts_own_expression_is_the_oracle(what: str, name: str) -> None:
    good = bool(CONTRACT.fullmatch(name)) and not name.isdigit() and name not in RESERVED[what]
    try:
        assert names.check_name(name, what) == name
    except BadInput as error:
        assert not good
        assert error.status == 2
        assert re.fullmatch(r"[ -~]+", error.message), "an error message must not carry what it refuses"
    else:
        assert good


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names(name: str) -> None:
    with pytest.raises(BadInput, match="is not valid"):
        names.check_name(name, "container")
    with pytest.raises(BadInput):
        names.check_name(name, "network")


@pytest.mark.parametrize("name", ["a", "0a", "a" * 63, "a.b", "a-b_c.d", "0x1", "1e9", "1.2", "A", "default"])
def test_names_that_are_fine(name: str) -> None:
    assert names.check_name(name, "container") == name


@pytest.mark.parametrize("name", ["host", "none", "all"])
def test_reserved_names(name: str) -> None:
    for what in ("container", "network"):
        with pytest.raises(BadInput, match="is reserved"):
            names.check_name(name, what)


@pytest.mark.parametrize("name", ["eth0", "a", "br-lan.5", "lxcbr0", "a" * 15, "eth0:1", "wv012345678901"])
def test_interface_names_that_are_fine(name: str) -> None:
    assert names.check_ifname(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a" * 16, "lo", "all", "default", "a b", "a/b", ".", "..", "-a", "eth0\n", "eth٠", "a\0", "%d", "é"],
    ids=ascii,
)
def test_interface_names_that_are_not(name: str) -> None:
    with pytest.raises(BadInput, match="interface name"):
        names.check_ifname(name)


@pytest.mark.parametrize("name", ["web", "web-1", "a.b.c", "my_app", "x" * 63, "1"])
def test_host_names_that_are_fine(name: str) -> None:
    assert names.check_hostname(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a",
        "a-",
        "a.-b",
        "a b",
        "a\n",
        "a\tb",
        "é",
        "x" * 64,
        "a\n1.2.3.4\tb",
        "a#b",
    ],
    ids=ascii,
)
def test_host_names_that_are_not(name: str) -> None:
    with pytest.raises(BadInput, match=r"alias .* is not valid"):
        names.check_hostname(name, "alias")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("02:42:ac:11:00:02", "02:42:ac:11:00:02"),
        ("02:42:AC:11:00:02", "02:42:ac:11:00:02"),
        ("00:00:00:00:00:01", "00:00:00:00:00:01"),
    ],
)
def test_macs(text: str, kept: str) -> None:
    assert names.check_mac(text) == kept
    assert names.mac_text(names.mac_bytes(kept)) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02:42:ac:11:00",
        "02:42:ac:11:00:02:03",
        "02-42-ac-11-00-02",
        "2:42:ac:11:00:02",
        "02:42:ac:11:00:0g",
        "02:42:ac:11:00:٠2",
        "02:42:ac:11:00:02\n",
        " 2:42:ac:11:00:02",
        "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "0x:42:ac:11:00:02",
    ],
    ids=ascii,
)
def test_macs_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="MAC address"):
        names.check_mac(text)


@given(IDS)
def test_derived_names_are_valid_in_the_kernel(oid: str) -> None:
    for name in (names.bridge_name(oid), names.host_ifname(oid)):
        assert names.check_ifname(name) == name
    mac = names.mac_of(oid)
    assert names.check_mac(mac) == mac
    assert int(mac[:2], 16) & 0x02, "locally administered"
    # An altname holds 127 bytes (ALTIFNAMSIZ less its NUL).
    assert re.fullmatch(r"weft:[0-9a-f]{16}", names.mark(oid))


@given(st.lists(st.text(max_size=8), max_size=4), st.lists(st.text(max_size=8), max_size=4))
def test_ids_tell_different_words_apart(one: list[str], two: list[str]) -> None:
    """Also where the words say the same when joined: ``a.b``+``c`` and ``a``+``b.c``."""
    assume(not any("\0" in word for word in (*one, *two)))  # no name holds one
    assert (names.object_id("r", *one) == names.object_id("r", *two)) == (one == two)


def test_derivations_never_change() -> None:
    """A crash is mended by the names it left behind: a later weft must derive the same."""
    oid = names.object_id("0123abcd", "endpoint", "blue", "web")
    assert oid == "815fbabdd73b4df8"
    assert names.root_id("/var/lib/weft") == "45d7dee1"
    assert names.bridge_name(oid) == "wb815fbabdd73b"
    assert names.host_ifname(oid) == "wv815fbabdd73b"
    assert names.mac_of(oid) == "82:5f:ba:bd:d7:3b"
