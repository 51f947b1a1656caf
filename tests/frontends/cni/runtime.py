"""A runtime of CNI in small, as libcni is one: a list of plug-ins one after the other, results handed on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness import Host
from harness.host import REPO

#: What weft answers to. ``weft`` is for ``"type": "weft"``.
NAMES = (
    "weft weft-cni bridge ptp macvlan host-local static portmap firewall bandwidth tuning loopback"
).split()
OWN = "/run/cni-bin"
REFERENCE = "/usr/lib/cni"


class Failed(AssertionError):
    """A plug-in that failed: ``code`` and ``error`` are what it said."""

    def __init__(self, said: dict[str, Any], stderr: str) -> None:
        super().__init__(f"{said} {stderr}")
        self.code, self.error = said.get("code"), said.get("msg", "")


def install(host: Host) -> None:
    """weft under all the names of its plug-ins."""
    host.run(["mkdir", "-p", OWN])
    for name in NAMES:
        host.run(["ln", "-sf", str(REPO / "weft"), f"{OWN}/{name}"])


class Runtime:
    """Calls plug-ins of ``path``, found by their type."""

    def __init__(self, host: Host, path: Sequence[str] = (OWN,)) -> None:
        self.host = host
        self.path = path
        self.kept: dict[tuple[str, str, str], dict[str, Any]] = {}

    def call(
        self,
        command: str,
        conf: object,
        container: str = "",
        netns: str = "",
        ifname: str = "eth0",
        *,
        plugin: str = "",
        args: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Any:
        """One plug-in's answer, None where it has none. Failed."""
        text = conf if isinstance(conf, str) else json.dumps(conf)
        kind = plugin or (conf.get("type", "") if isinstance(conf, dict) else "weft")
        given = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": ifname if container else "",
            "CNI_PATH": ":".join(self.path),
            "CNI_ARGS": args,
        }
        if command == "VERSION":  # as libcni does
            given |= dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"), "dummy")
        given = {k: v for k, v in {**given, **(env or {})}.items() if v}
        done = self.host.run([self._find(kind)], input=text, env=given, check=False, timeout=timeout)
        said = json.loads(done.stdout) if done.stdout.strip() else None
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode:
            assert done.returncode == 1, done
            assert isinstance(said, dict), done
            assert isinstance(said["code"], int), said
            assert said["msg"], said
            raise Failed(said, done.stderr)
        return said

    def _find(self, kind: str) -> str:
        for folder in self.path:
            if self.host.run(["test", "-x", f"{folder}/{kind}"], check=False).returncode == 0:
                return f"{folder}/{kind}"
        raise AssertionError(f"no plug-in {kind}")

    def _confs(self, listing: dict[str, Any], capabilities: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = []
        for plugin in listing["plugins"]:
            wanted = {k: v for k, v in capabilities.items() if plugin.get("capabilities", {}).get(k)}
            conf = {**plugin, "name": listing["name"], "cniVersion": listing["cniVersion"]}
            found.append({**conf, "runtimeConfig": wanted} if wanted else conf)
        return found

    def add(
        self,
        listing: dict[str, Any],
        container: str,
        netns: str,
        ifname: str = "eth0",
        args: str = "",
        **capabilities: Any,
    ) -> Any:
        """AddNetworkList: the last result."""
        result = None
        for conf in self._confs(listing, capabilities):
            conf = conf if result is None else {**conf, "prevResult": result}
            result = self.call("ADD", conf, container, f"/run/netns/{netns}", ifname, args=args)
        self.kept[listing["name"], container, ifname] = {"result": result, "capabilities": capabilities}
        return result

    def _each(self, command: str, listing: dict[str, Any], container: str, path: str, ifname: str) -> None:
        kept = self.kept.get((listing["name"], container, ifname), {})
        confs = self._confs(listing, kept.get("capabilities", {}))
        for conf in reversed(confs) if command == "DEL" else confs:
            conf = {**conf, "prevResult": kept["result"]} if kept else conf
            self.call(command, conf, container, path, ifname)

    def delete(self, listing: dict[str, Any], container: str, netns: str = "", ifname: str = "eth0") -> None:
        """DelNetworkList, with the result of ADD where that is known."""
        self._each("DEL", listing, container, f"/run/netns/{netns}" if netns else "", ifname)

    def check(self, listing: dict[str, Any], container: str, netns: str, ifname: str = "eth0") -> None:
        """CheckNetworkList."""
        self._each("CHECK", listing, container, f"/run/netns/{netns}", ifname)

    def collect(self, listing: dict[str, Any], *valid: tuple[str, str]) -> None:
        """GCNetworkList: these (container, ifname) stay."""
        stay = [{"containerID": c, "ifname": i} for c, i in valid]
        for conf in self._confs(listing, {}):
            self.call("GC", {**conf, "cni.dev/valid-attachments": stay})


def podman(name: str = "pod", subnet: str = "10.88.0.0/16", version: str = "0.4.0") -> dict[str, Any]:
    """What Podman 4.3 writes for a network (87-podman-bridge.conflist)."""
    return {
        "cniVersion": version,
        "name": name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": f"cni-{name}",
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "ranges": [[{"subnet": subnet}]],
                },
                "capabilities": {"ips": True},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "firewall", "backend": ""},
            {"type": "tuning", "capabilities": {"mac": True}},
        ],
    }


def whole(name: str = "blue", version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    """All in one."""
    plugin = {
        "type": "weft",
        "capabilities": dict.fromkeys("portMappings ips ipRanges mac bandwidth dns aliases".split(), True),
    }
    return {"cniVersion": version, "name": name, "plugins": [{**plugin, **more}]}
