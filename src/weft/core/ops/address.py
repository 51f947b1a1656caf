"""Addresses of interfaces (ip-address(8))."""

from __future__ import annotations

from weft.core.model.address import Address, Subnet
from weft.core.ops.base import VANISHES, Final, Names, Op, inside, quote
from weft.core.wire import rtnetlink as rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Message


def _broadcast(address: Address, prefix: int) -> bytes | None:
    """As ``ip addr add ... brd +`` works it out; none for IPv6 and for subnets too small for one."""
    if address.version != 4 or prefix > 30:
        return None
    size = 1 << (32 - prefix)
    return Subnet(4, address.value - address.value % size, prefix).last.packed


class AddressAdd(Op):
    """Gives an interface an address; the connected route comes with it, unless that is to be ``alone``.

    An IPv6 address is not probed for duplicates: whoever assigns it knows, and DAD takes 1.3 s (RFC 4862).
    """

    ifname: str
    address: Address
    prefix: int
    netns: str = ""
    alone: bool = False
    kind = "rtnl"

    def describe(self) -> str:
        where = f"{self.netns}:{self.ifname}" if self.netns else self.ifname
        return f"give {where} the address {self.address}/{self.prefix}"

    def shell(self) -> tuple[str, ...]:
        brd = " brd +" if _broadcast(self.address, self.prefix) else ""
        brd = " nodad" if self.address.version == 6 else brd
        words = f"addr add {self.address}/{self.prefix}{brd} dev {quote(self.ifname)}"
        words += " noprefixroute" if self.alone else ""
        return (inside(self.netns, words),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        address = rt.Address(
            ifindex=names.index(self.ifname),
            address=self.address.packed,
            prefixlen=self.prefix,
            broadcast=_broadcast(self.address, self.prefix),
            flags=(rt.IFA_F_NODAD if self.address.version == 6 else 0)
            | (rt.IFA_F_NOPREFIXROUTE if self.alone else 0),
        )
        return (rt.new_address(address),)

    def undo(self) -> Final:
        return VANISHES


class AddressLend(AddressAdd):
    """Gives a link that stays an address, which is taken away again."""

    def undo(self) -> Op:  # type: ignore[override]
        return AddressDel(self.ifname, self.address, self.prefix, self.netns)


class AddressDel(Op):
    """Takes an address away."""

    ifname: str
    address: Address
    prefix: int
    netns: str = ""
    kind = "rtnl"

    def describe(self) -> str:
        return f"take the address {self.address}/{self.prefix} from {self.ifname}"

    def shell(self) -> tuple[str, ...]:
        words = f"addr del {self.address}/{self.prefix} dev {quote(self.ifname)}"
        return (inside(self.netns, words),)

    def encode(self, names: Names) -> tuple[Message, ...]:
        address = rt.Address(
            ifindex=names.index(self.ifname), address=self.address.packed, prefixlen=self.prefix
        )
        return (rt.del_address(address),)

    def undo(self) -> Op:
        return AddressLend(self.ifname, self.address, self.prefix, self.netns)
