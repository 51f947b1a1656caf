"""What the program says of itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELP = """\
weft-netavark: what Podman calls netavark, done by weft (docs/podman.md)

Usage: weft-netavark [-f FILE] [--firewall-driver DRIVER] [-c DIR] [-r BOOL] [-a PATH]
                     [--plugin-directory DIR]... COMMAND

  setup NSPATH       puts a container into its networks; JSON on stdin or in FILE
  teardown NSPATH    takes it out, whether its namespace is there or not
  update NAME --network-dns-servers LIST    name servers of a network, joined by commas; "" clears them
  create             checks and completes a network; JSON on stdin
  version            JSON
  firewall-reload    makes firewall and bridges agree with the wishes again, as `weft repair`
  firewalld-reload   the same whenever something is amiss, as `weft watch`

  -f, --file FILE             input instead of stdin
  -c, --config DIR            required for setup, teardown and update; nothing is kept there
  -r, --rootless BOOL         accepted
  -a, --aardvark-binary PATH  accepted: `weft dns` answers
      --firewall-driver DRIVER  nftables, firewalld, iptables: weft's own tables; none: no NAT, no ports.
                              Also in NETAVARK_FW
      --plugin-directory DIR  where drivers are that are none of bridge, macvlan, ipvlan
  -h, --help                  this
  -V, --version

Example: weft-netavark --config /run/containers/networks setup /run/netns/blue < container.json
"""


def version(protocol: str) -> dict[str, Any]:
    """What ``version`` prints: netavark's keys, and weft's own version."""
    from weft import __version__

    return {
        "version": protocol,
        "commit": f"weft-{__version__}",
        "build_time": "",
        "target": "python",
        "default_fw_driver": "nftables",
    }
