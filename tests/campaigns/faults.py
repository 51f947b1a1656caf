"""weft with a kernel that refuses one netlink request: ``python -c SHIM NUMBER ERRNO WORDS...``.

Requests are counted over the whole command, each message by itself, from 0; NUMBER -1 refuses none. In the
end stderr says how many there were. A refused rtnetlink message is not sent, the others of its batch are, as
the kernel would do; of an nf_tables transaction none is.
"""

from __future__ import annotations

from crash.stories import WEFT
from harness.host import REPO

SHIM = f"""
import os, struct, sys
sys.path.insert(0, {str(REPO / "src")!r})
os.environ["WEFT_PROGRAM"] = {WEFT!r}
from weft.frontends.cli.main import main
from weft.linux import netlink
from weft.linux.netlink import Netlink, Refusal

wanted, number = int(sys.argv[1]), int(sys.argv[2])
me, seen = os.getpid(), 0

def due(count):
    # Which of the next requests is refused, None for none of them.
    global seen
    if os.getpid() != me:
        return None
    first, seen = seen, seen + count
    return wanted - first if first <= wanted < seen else None

def split(data):
    at, found = 0, []
    while at < len(data):
        length = struct.unpack_from("=I", data, at)[0]
        found.append(bytearray(data[at : at + length]))
        at += (length + 3) & ~3
    return found

def padded(frame):
    return bytes(frame) + bytes(-len(frame) % 4)

exchange, ask_each, dump = Netlink._exchange, Netlink.ask_each, Netlink._dump

def exchanging(self, data, first, count, offset):
    which = due(count)
    if which is None:
        return exchange(self, data, first, count, offset)
    refused = Refusal(offset + which, number, "")
    frames = split(data)
    if struct.unpack_from("=H", frames[0], 4)[0] == 0x10 or count == 1:
        return [refused]
    del frames[which]
    struct.pack_into("=H", frames[-1], 6, struct.unpack_from("=H", frames[-1], 6)[0] | 4)
    left = count - 1 if which == count - 1 else count
    errors = exchange(self, b"".join(map(padded, frames)), first, left, offset)
    return sorted([*errors, refused], key=lambda e: e.index)

def asking(self, messages):
    which = due(len(messages))
    found = ask_each(self, messages)
    if which is not None:
        found[which] = Refusal(which, number, "")
        if number == 1:
            raise found[which]
    return found

def dumping(self, message):
    if due(1) is not None:
        raise Refusal(0, number, "")
    return dump(self, message)

Netlink._exchange, Netlink.ask_each, Netlink._dump = exchanging, asking, dumping
status = main(sys.argv[3:])
sys.stderr.write(f"\\nrequests={{seen}}\\n")
sys.exit(status)
"""
