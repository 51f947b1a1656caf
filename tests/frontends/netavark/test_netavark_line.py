"""netavark's command line, and what the program says of itself."""

from __future__ import annotations

import json

import pytest

from weft.core.model.errors import BadInput
from weft.frontends.netavark import args, main

PODMAN = "--config /run/containers/networks --rootless=false --aardvark-binary=/usr/lib/podman/aardvark-dns"


def line(text: str, **env: str) -> args.Line:
    return args.read(text.split(), {k.encode(): v.encode() for k, v in env.items()})


def test_as_podman_calls_it() -> None:
    found = line(f"{PODMAN} setup /run/netns/netns-1")
    assert (found.command, found.words, found.config) == (
        "setup",
        ("/run/netns/netns-1",),
        "/run/containers/networks",
    )
    found = line(f"{PODMAN} --plugin-directory /a --plugin-directory=/b teardown /run/netns/n")
    assert found.plugins == ("/a", "/b")
    found = line(f"{PODMAN} update blue --network-dns-servers 1.1.1.1,8.8.8.8")
    assert (found.words, found.dns_servers) == (("blue",), "1.1.1.1,8.8.8.8")
    assert args.read(["update", "blue", "--network-dns-servers", ""], {}).dns_servers == ""


def test_letters_and_variables() -> None:
    found = line("-f /in -c/run/x -r=false -a /y setup NS", NETAVARK_FW="none", NETAVARK_DNS_PORT="5353")
    assert (found.file, found.config, found.firewall, found.dns_port) == ("/in", "/run/x", "none", 5353)
    assert line("--firewall-driver nftables setup NS", NETAVARK_FW="none").firewall == "nftables"
    assert line("setup NS").dns_port == 53


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "subcommand is required"),
        ("frob", "unrecognized subcommand"),
        ("--frob setup x", "unexpected argument"),
        ("-z setup x", "unexpected argument"),
        ("setup", "takes 1 arguments, 0"),
        ("setup a b", "takes 1 arguments, 2"),
        ("create x", "takes 0 arguments"),
        ("update blue", "--network-dns-servers"),
        ("setup x --config", "a value is required for --config"),
    ],
)
def test_what_is_refused(words: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        line(words)


@pytest.mark.parametrize(
    ("port", "why"),
    [
        ("abc", "invalid digit found in string"),
        ("-1", "invalid digit found in string"),
        ("65536", "number too large to fit in target type"),
        ("9" * 5000, "number too large to fit in target type"),
    ],
)
def test_a_wrong_dns_port_is_said_as_netavark_says_it(port: str, why: str) -> None:
    with pytest.raises(BadInput, match=f"^Invalid NETAVARK_DNS_PORT {port[:64]}: {why}$"):
        line("setup x", NETAVARK_DNS_PORT=port)


def test_version() -> None:
    assert main.run(["--version"]) == (0, f"netavark {main.PROTOCOL}\n")
    assert main.run(["-V"]) == main.run(["--version"])
    status, text = main.run(["version"])
    found = json.loads(text)
    assert (status, found["version"], found["default_fw_driver"]) == (0, main.PROTOCOL, "nftables")
    assert set(found) == {"version", "commit", "build_time", "target", "default_fw_driver"}
    assert found["commit"].startswith("weft-")


def test_help_names_every_command() -> None:
    status, text = main.run(["--help"])
    assert status == 0
    assert all(command in text for command in args.COMMANDS if command not in ("help", "dhcp-proxy"))
    assert main.run(["help"]) == (0, text)


def test_an_error_is_one_object_with_one_key() -> None:
    status, text = main.run(["setup", "/run/netns/x"])
    assert status == 1
    assert json.loads(text) == {"error": "--config not specified but required for netavark setup"}
    for words in (["teardown", "x"], ["update", "x", "--network-dns-servers", ""]):
        assert f"required for netavark {words[0]}" in json.loads(main.run(words)[1])["error"]
    assert "DHCP" in json.loads(main.run(["dhcp-proxy"])[1])["error"]
