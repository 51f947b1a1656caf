"""``weft loopback``: the loopback proxy's control, as printed plans call it. And the proxy's own start."""

from __future__ import annotations

import os

from weft.core.model.errors import BadInput
from weft.frontends.cli.main import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.cli.args import Args


def control(args: Args) -> int:
    """``weft loopback start PORT | add PROTO IP PORT TARGET PORT | del PROTO IP PORT | list | stop``."""
    from weft.linux.loopback import LoopbackClient, hold  # noqa: PLC0415
    from weft.wiring import Places, launcher  # noqa: PLC0415

    places = Places(args.one("root"))
    os.makedirs(places.run, 0o700, exist_ok=True)
    client = LoopbackClient(places.run, launcher())
    verb, *words = args.words
    if verb == "start" and len(words) == 1:
        client.start(int(words[0]), ())
    elif verb == "add" and len(words) == 5:
        fd = hold(words[0], words[1], int(words[2]))
        client.add([(words[0], words[1], int(words[2]), words[3], int(words[4]))], [fd])
    elif verb == "del" and len(words) == 3:
        if client.alive():
            client.remove([(words[0], words[1], int(words[2]))])
    elif verb == "list":
        for proto, host, port, target, target_port in client.list():
            out(f"{proto} {host}:{port} {target}:{target_port}")
    elif verb == "stop":
        if client.alive():
            client.stop()
    else:
        raise BadInput("usage: weft loopback start|add|del|list|stop ...")
    return 0


def serve(args: Args) -> int:
    """The proxy's own life: the two descriptors were opened by whoever started it."""
    from weft.services.loopback import serve as proxy  # noqa: PLC0415

    proxy(int(args.words[0]), int(args.words[1]))
    return 0
