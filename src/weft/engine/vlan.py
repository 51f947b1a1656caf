"""Networks in a VLAN of their bridge, and in a VRF."""

from __future__ import annotations

from weft.core.drivers.bridge import FILTERS
from weft.core.model.errors import BadInput, Conflict, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.facts import BridgeFact, HostFacts, VrfFact
    from weft.core.model.network import Network


def placed(
    network: Network, facts: HostFacts, found: BridgeFact | None, known: tuple[Network, ...]
) -> Network:
    """The network where it is to be. ``found``: its bridge, where that was there before. Unsupported where
    the kernel has no VRFs (whether it has VLANs is seen when the bridge is made); NotFound, BadInput,
    Conflict."""
    if network.vrf:
        network = _in_vrf(network, facts, found, known)
    if network.vlan and found is not None and not found.filters:
        network = network._replace(options=(*network.options, (FILTERS, "true")))
    return network


def _in_vrf(
    network: Network, facts: HostFacts, found: BridgeFact | None, known: tuple[Network, ...]
) -> Network:
    vrf = _vrf(network, facts)
    # The firewall tells networks apart by where packets come from, and all of a VRF come by that.
    other = next((one.name for one in known if one.vrf == vrf.ifname), "")
    if other:
        raise Conflict(f"VRF {vrf.ifname} has the network {other}", "give each network a VRF of its own")
    if found is not None and found.vrf != vrf.ifname:
        raise Conflict(
            f"bridge {network.bridge} was there before, and is not in the VRF {vrf.ifname}",
            f"`ip link set {network.bridge} master {vrf.ifname}`, or choose another --bridge",
        )
    if not network.follows_mtu:
        return network
    return network._replace(mtu=max(vrf.mtu, 1280) if network.ipv6 else vrf.mtu, follows_mtu=False)


def _vrf(network: Network, facts: HostFacts) -> VrfFact:
    """The VRF's device. It is the administrator's: a network neither makes nor deletes it."""
    name = network.vrf
    vrf = next((one for one in facts.vrfs if one.ifname == name), None)
    if vrf is not None:
        return vrf
    link = facts.link(name)
    if link is not None:
        raise BadInput(f"{name} is no VRF ({link.kind or 'device'})", "the option vrf names a VRF's device")
    make = f"`ip link add {name} type vrf table N` makes it"
    if not facts.knows_vrfs:
        raise Unsupported(
            f"there is no VRF {name} to put network {network.name} into, and the kernel has none at all",
            f"CONFIG_NET_VRF is needed; {make}",
        )
    raise NotFound(f"there is no VRF {name} to put network {network.name} into", make)
