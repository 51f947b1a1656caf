"""A refusal of the kernel, or of a file system, in the reader's words."""

from __future__ import annotations

import errno

from weft.core.model.errors import Conflict, Exhausted, KernelError, NotPermitted, Unsupported, WeftError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.ops.base import Op
    from weft.linux.netlink import Refusal


def explain(op: Op, error: Refusal) -> WeftError:
    """A refusal in the reader's words: what failed, on which object, what to do."""
    from weft.core.ops.sublink import SublinkAdd
    from weft.core.ops.vlan import BridgeVlan, PortVlan, VlanFilter
    from weft.core.ops.wire import LinkRemove

    said = f"cannot {op.describe()}: {error}"
    number = error.errno
    if number == errno.EXFULL:
        return Exhausted(said, "a bridge takes 1023 ports (the kernel's BR_MAX_PORTS): use another network")
    if number in (errno.EPERM, errno.EACCES):
        return NotPermitted(said, "run weft as root")
    if number == errno.EEXIST:
        return Conflict(said, "something else made it meanwhile: look at it, then try again")
    if isinstance(op, SublinkAdd) and number in (errno.EOPNOTSUPP, errno.ENODEV) and "type" in str(error):
        option = f"CONFIG_{op.link_kind.upper()}"
        return Unsupported(f"the kernel has no {op.link_kind}: cannot {op.describe()}", f"{option} is needed")
    if isinstance(op, (BridgeVlan, PortVlan, VlanFilter)) and number == errno.EOPNOTSUPP:
        option = "CONFIG_BRIDGE_VLAN_FILTERING"
        return Unsupported(
            f"the kernel's bridges know no VLANs: cannot {op.describe()}", f"{option} is needed"
        )
    if isinstance(op, LinkRemove):
        return KernelError(said, number, "the kernel deletes only links that it made up itself")
    if number in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return Unsupported(said, "the running kernel lacks this feature")
    return KernelError(said, number)


def explain_os(op: Op, error: OSError) -> WeftError:
    said = f"cannot {op.describe()}: {error.strerror or error}"
    if isinstance(error, FileExistsError):
        return Conflict(said, "something else made it meanwhile: look at it, then try again")
    if isinstance(error, PermissionError):
        return NotPermitted(said, "run weft as root")
    return KernelError(said, error.errno or 0)
