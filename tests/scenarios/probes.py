"""Questions to the ground, each with a short word for what came of it."""

from __future__ import annotations

from collections.abc import Callable

from scenarios.ground import Ground

Probe = Callable[[Ground, float], str]


def web(who: str, url: str) -> Probe:
    def ask(ground: Ground, patience: float) -> str:
        page = ground.fetch(who, url, timeout=patience)
        return f"{page.body} saw {page.client}" if page.ok else "nothing"

    return ask


def datagram(who: str, address: str, port: int) -> Probe:
    def ask(ground: Ground, patience: float) -> str:
        page = ground.ask_udp(who, address, port, timeout=patience)
        return f"{page.body} saw {page.client}" if page.ok else "nothing"

    return ask


def ping(who: str, address: str) -> Probe:
    def ask(ground: Ground, patience: float) -> str:
        return "answer" if ground.host.pings(address, netns=who, timeout=patience) else "nothing"

    return ask
