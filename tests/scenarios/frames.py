"""Raw frames for the guards' tests: ``python3 -IS frames.py send IFNAME HEX...`` and ``... catch IFNAME``.

``catch`` says ``ready``, then prints the payload's label of each frame that carries one, until the label
``end``; ``receive`` does so of what comes in only, not of what the interface sends. What is sent goes out in
that order from one CPU: a frame that has not come before ``end`` never will, so that nobody has to wait for
what must not happen.
"""

from __future__ import annotations

import os
import re
import socket
import sys

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
LABEL = re.compile(rb"<<([a-z0-9-]+)>>")


def send(ifname: str, *frames: str) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((ifname, 0))
        for frame in frames:
            sock.send(bytes.fromhex(frame))


def receive(ifname: str) -> None:
    _labels(ifname, outgoing=False)


def catch(ifname: str) -> None:
    _labels(ifname, outgoing=True)


def _labels(ifname: str, outgoing: bool) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as sock:
        if not outgoing:
            sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        sock.bind((ifname, ETH_P_ALL))
        print("ready", flush=True)
        while True:
            found = LABEL.search(sock.recv(65535))
            if found:
                label = found[1].decode()
                print(label, flush=True)
                if label == "end":
                    return


if __name__ == "__main__":
    {"send": send, "catch": catch, "receive": receive}[sys.argv[1]](*sys.argv[2:])
