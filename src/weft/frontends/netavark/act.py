"""setup, teardown and update: what Podman asks for, done by the engine."""

from __future__ import annotations

import posix

from weft.core.model.errors import BadInput, Conflict, IfnameTaken, NotFound, WeftError
from weft.engine import connect, foreign
from weft.frontends.netavark import translate
from weft.frontends.netavark.translate import OWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.core.model.network import Endpoint, Network
    from weft.core.model.publish import Publish
    from weft.engine.foreign import Wish as Join
    from weft.engine.work import Work
    from weft.frontends.netavark.args import Line
    from weft.frontends.netavark.read import Place, Wish
    from weft.frontends.netavark.translate import Asked

ENGINE = "podman"
#: The label by which a container is found again, whatever it is called by then.
ID = "id"
#: How often a network is made anew that went with its last member before we were in it.
_TRIES = 100


def check_namespace(path: str) -> None:
    """A network namespace is there. BadInput in netavark's words."""
    try:
        found = posix.stat(path)
        posix.close(posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK))
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", 22) or 22
        raise BadInput(
            f"invalid namespace path: IO error: {posix.strerror(number)} (os error {number})"
        ) from None
    # A namespace's file is on nsfs, and so on another device than the directory that it is bound in.
    if found.st_dev != posix.stat("/proc/self/ns/net").st_dev:
        raise BadInput("invalid namespace path: IO error: Invalid argument (os error 22)")


def setup(work: Work, line: Line, wish: Wish) -> dict[str, object]:
    """Puts a container into its networks, all or none; what Podman is told. WeftError."""
    path = line.words[0]
    own = [place for place in wish.places if place.net.driver in OWN]
    others = [place for place in wish.places if place.net.driver not in OWN]
    programs = [translate_plugin(place, line) for place in others]
    requests = [translate.asked(place.net, line.firewall, line.dns_port) for place in own]
    hostname = translate.called(wish)
    ports = _ports(work, line, wish, own)
    joins = [translate.join(place, hostname) for place in own]
    check_namespace(path)
    name = known(work, wish) or _free_name(work, wish)
    wishes = [(j, ports if place is _carrier(own) else ()) for j, place in zip(joins, own, strict=True)]
    made = _attach(work, path, name, hostname, wish, requests, wishes) if own else ()
    answers = {
        place.net.name: _answer(work, path, wish, place, endpoint)
        for place, endpoint in zip(own, made, strict=True)
    }
    if others and not own:
        foreign.open_loopback(work, path)
    done: list[tuple[str, Place]] = []
    try:
        for program, place in zip(programs, others, strict=True):
            from weft.frontends.netavark import plugins

            done.append((program, place))
            answers[place.net.name] = plugins.ask(work, program, "setup", path, wish, place)
    except BaseException:
        _take_back(work, line, wish, name, done, [r.name for r in requests])
        raise
    return {place.net.name: answers[place.net.name] for place in wish.places}


def translate_plugin(place: Place, line: Line) -> str:
    """The program of a network whose driver is none of weft's."""
    from weft.frontends.netavark import plugins

    return plugins.find(place.net.driver, line.plugins)


def _carrier(own: Sequence[Place]) -> Place | None:
    """The network in which ports are published."""
    return next((place for place in own if translate.carries_ports(place.net)), None)


def _ports(work: Work, line: Line, wish: Wish, own: Sequence[Place]) -> tuple[Publish, ...]:
    name = known(work, wish)
    held = {p.key for e in (work.store.endpoints_of(name) if name else ()) for p in e.publish}
    found = tuple([p for p in translate.publishes(wish.ports, has_ipv6()) if p.key not in held])
    if not found:
        return ()
    if line.firewall == "none":
        work.say("warning: published ports are left out: the firewall driver is none")
        return ()
    if _carrier(own) is None:
        work.say("warning: published ports are left out: no network of the container is behind this host")
        return ()
    return found


def has_ipv6() -> bool:
    """Whether the host has IPv6 at all."""
    from _socket import AF_INET6, SOCK_DGRAM, socket

    try:
        socket(AF_INET6, SOCK_DGRAM).close()  # a look at /proc/net would take 3 ms
    except OSError:
        return False
    return True


def known(work: Work, wish: Wish) -> str:
    """What a container is called in the networks that it is in; "" for one that is in none."""
    return next((n for n in work.store.labelled(ID, wish.id) if n.startswith(f"{ENGINE}:")), "")


def _free_name(work: Work, wish: Wish) -> str:
    """Its own name; by its id where another one of that name is there, as of another Podman."""
    name = translate.member_name(wish.id, wish.name)
    if work.store.has_container(name):
        sandbox = work.store.container(name)[0]
        lives = foreign.lives(work, sandbox)
        work.machine.unpin()
        if lives:
            return f"{ENGINE}:{wish.id[:12]}"
    return name


def _attach(
    work: Work,
    path: str,
    name: str,
    hostname: str,
    wish: Wish,
    requests: Sequence[Asked],
    wishes: Sequence[Join],
) -> tuple[Endpoint, ...]:
    """The networks, made where they are missing, and the container in them."""
    labels = ((ID, wish.id), ("engine", ENGINE))
    called = connect.Called(name, hostname, labels, wish.dns_servers, loopback=True)
    for left in range(_TRIES, 0, -1):
        for one in requests:
            if not foreign.stands(work, one):
                foreign.ensure(work, translate.request(one), ENGINE)
        try:
            return foreign.attach(work, path, called, wishes)
        except NotFound:
            # Its last member took a network along in between; else it is the namespace that is gone.
            if left == 1 or all(work.store.find_network(r.name) is not None for r in requests):
                foreign.tidy(work, [r.name for r in requests])
                raise
        except IfnameTaken as error:
            foreign.tidy(work, [r.name for r in requests])
            raise _taken(error, wishes) from None
        except BaseException:
            foreign.tidy(work, [r.name for r in requests])
            raise
    raise AssertionError("not reached")


def _taken(error: IfnameTaken, wishes: Sequence[Join]) -> Conflict:
    """As netavark words it."""
    ifname = next((j.ifname for j, _ in wishes if j.ifname in error.message.split()), "")
    exists = "Netlink error: File exists (os error 17)"
    return Conflict(f"create veth pair: interface {ifname} already exists on container namespace: {exists}")


def _answer(work: Work, path: str, wish: Wish, place: Place, endpoint: Endpoint) -> dict[str, object]:
    network = work.store.network(endpoint.network)
    # A network that was there before may answer no names, whatever Podman's file says.
    named = place.net.dns and network.dns
    addresses = [str(c) for c in endpoint.addresses]
    return translate.answer(place, _mac(work, path, network, endpoint), addresses, wish, named)


def _mac(work: Work, path: str, network: Network, endpoint: Endpoint) -> str:
    """The MAC of a container's interface: of an ipvlan's the one that its parent has."""
    if network.driver != "ipvlan":
        return endpoint.hardware
    links = work.machine.links_of(path)
    work.machine.unpin()
    return next((link.mac.hex(":") for link in links if link.ifname == endpoint.ifname and link.mac), "")


def _take_back(
    work: Work,
    line: Line,
    wish: Wish,
    name: str,
    done: Sequence[tuple[str, Place]],
    networks: Sequence[str],
) -> None:
    from weft.frontends.netavark import plugins

    for program, place in reversed(done):
        try:
            plugins.ask(work, program, "teardown", line.words[0], wish, place)
        except WeftError as error:
            work.say(f"warning: {error.message}")
    if networks:
        foreign.detach(work, name, networks)


def teardown(work: Work, line: Line, wish: Wish) -> None:
    """Takes a container out of these networks, whatever is missing, its namespace too. All errors are
    collected."""
    errors: list[WeftError] = []
    own = [place for place in wish.places if place.net.driver in OWN]
    for place in [p for p in wish.places if p.net.driver not in OWN]:
        try:
            from weft.frontends.netavark import plugins

            plugins.ask(work, translate_plugin(place, line), "teardown", line.words[0], wish, place)
        except WeftError as error:
            errors.append(error)
    names = [translate.network_name(place.net) for place in own]
    try:
        name = known(work, wish)
        if name and names:
            held = _held(work, name, names)
            foreign.detach(work, name, names)
            _move_ports(work, name, held)
        else:
            foreign.tidy(work, names)
    except WeftError as error:
        errors.append(error)
    if len(errors) > 1:
        lines = "".join([f"\n\t- {error.message}" for error in errors])
        raise WeftError(f"netavark encountered multiple errors:{lines}")
    if errors:
        raise errors[0]


def _held(work: Work, name: str, networks: Sequence[str]) -> list[Publish]:
    """The ports that a container publishes in networks that it leaves."""
    found = work.store.endpoints_of(name)
    return [p for e in found if e.network in networks for p in e.publish]


def _move_ports(work: Work, name: str, held: Sequence[Publish]) -> None:
    """What is published stays so while the container is in any network that can carry it."""
    if not held:
        return
    for endpoint in work.store.endpoints_of(name):
        network = work.store.network(endpoint.network)
        if network.managed and not network.internal:
            from weft.engine import publish

            publish.publish(work, network.name, name, [str(p) for p in held])
            return


def update(work: Work, line: Line, name: str, words: str) -> None:
    """Other upstream name servers of a network; none clears them. NotFound, BadInput."""
    from weft.core.model.address import parse_address

    servers = [str(parse_address(word.strip(), "dns server")) for word in words.split(",") if word.strip()]
    found = work.store.find_network(name)
    if found is None:
        return  # it is made with the next container, and Podman says then what its servers are
    foreign.set_option(work, found.name, "dns_servers", " ".join(servers))
