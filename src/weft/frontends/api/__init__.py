"""weft as a Python library: the verbs and words of the command line as objects.

>>> with weft.Network("blue", subnet="192.168.10.0/24") as blue:
...     with blue.container("web", publish=["0.0.0.0:8080:80"]) as web:
...         print(web.address)

>>> with weft.run(["sleep", "60"], network="none", memory="64m") as job:
...     job.run(["ps"])
...     job.stop()

>>> with weft.Namespace("red") as red:
...     red.run(["ip", "link", "set", "lo", "up"], check=True)
...     with red.entered():
...         server = socket.create_server(("127.0.0.1", 80))

Everything raises the typed errors of ``weft.core.model.errors``. Root is needed. Objects are handles:
what they stand for lives on when they are dropped, and goes with ``remove`` or at the end of a ``with``.
"""

from __future__ import annotations

from weft.frontends.api.container import Container, run
from weft.frontends.api.namespace import Namespace
from weft.frontends.api.network import Network
from weft.frontends.api.wires import Switch, wire

__all__ = ["Container", "Namespace", "Network", "Switch", "run", "wire"]
