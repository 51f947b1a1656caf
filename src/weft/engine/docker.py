"""What dockerd asks of its network driver: networks, endpoints, published ports (libnetwork's remote
driver).

Docker knows networks, endpoints and sandboxes by ids of its own, and tells neither a network's nor a
container's name. A network is weft's network ``docker-ID``, or one that exists (the driver option
``weft.network``); what was told of it is kept, so that a restart of either side loses nothing. An
endpoint is on record from its creation and has a cable from its join on: Docker itself moves the
container's end into the sandbox and gives it its addresses.
"""

from __future__ import annotations

import json

from weft.core.drivers import bridge as driver
from weft.core.model.address import parse_address
from weft.core.model.errors import BadInput, Conflict, NotFound, WeftError
from weft.core.model.network import DEFAULT_ROUTE, REST, Endpoint, Network, Sandbox
from weft.core.model.publish import parse_publish
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine import connect, container, events, foreign, network, publish, whole
from weft.engine.lease import Claims
from weft.engine.network import NetworkRequest
from weft.engine.request import Join, check_join
from weft.engine.work import CONNECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from weft.engine.work import Work

#: Docker's ids are 64 hex digits; this much is room for those of other programs that speak its protocol.
_ID_MAX = 128
_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_NETWORKS, _ENDPOINTS = foreign.DOCKER_NETWORKS, "docker/endpoint/"
#: The endpoint's option and the sandbox's label by which Docker's ids are found again.
ENDPOINT, NAME = "docker.endpoint", "docker.name"


class Told(Record):
    """An endpoint as Docker told of it: addresses without prefix length; ``container`` is what it is
    called in networks once it has joined a sandbox, ``""`` before."""

    addresses: tuple[str, ...] = ()
    mac: str = ""
    container: str = ""


class Joined(Record):
    """What Docker needs to take the container's end: its name now, how it begins inside, the gateways
    ("": none)."""

    ifname: str
    prefix: str
    gateway4: str = ""
    gateway6: str = ""


def check_id(id: str, what: str) -> str:
    """BadInput unless it can be one of Docker's ids."""
    if not 0 < len(id) <= _ID_MAX or frozenset(id) - _ID:
        raise BadInput(f"{what} {id[:64]!a} is no id of Docker's")
    return id


# networks


def create_network(work: Work, id: str, request: NetworkRequest) -> Network:
    """Makes a network of Docker's, or finds it: the same again is no error. ``request.name`` "" is for one of
    its own. BadInput; Conflict when it is another by now, or its subnet is taken."""
    check_id(id, "network")
    wanted = request._replace(name=request.name or f"docker-{id[:12]}")
    found = foreign.ensure(work, _labelled(wanted, id), "docker")
    with work.machine.lock(), work.store.write():
        other = _owner(work, found)
        if other not in ("", id):
            raise Conflict(f"network {found.name} is Docker's network {other[:12]} already")
        if found.remote or found.ipam:
            raise Conflict(
                f"network {found.name} is the driver {found.remote or found.ipam}'s: use that in Docker"
            )
        work.store.put(_NETWORKS + id, json.dumps(dict(zip(wanted._fields, wanted._astuple(), strict=True))))
    return found


def _labelled(request: NetworkRequest, id: str) -> NetworkRequest:
    return request._replace(labels=(*request.labels, (foreign.DOCKER, id)))


def _owner(work: Work, found: Network) -> str:
    """The id of Docker's by which a network is known already."""
    for key, text in work.store.below(_NETWORKS):
        if _request(text).name == found.name:
            return key.removeprefix(_NETWORKS)
    return ""


def _request(text: str) -> NetworkRequest:
    """What was kept of a network. Lists come back as the tuples that they were."""

    def frozen(value: Any) -> Any:
        return tuple([frozen(one) for one in value]) if isinstance(value, list) else value

    return NetworkRequest(**{key: frozen(value) for key, value in json.loads(text).items()})


def of_docker(work: Work, id: str) -> Network:
    """The network that Docker means, made again when somebody has removed it. NotFound."""
    text = work.store.get(_NETWORKS + check_id(id, "network"))
    if not text:
        raise NotFound(
            f"weft knows no network {id[:12]} of Docker's", "remove it and make it again: docker network rm"
        )
    request = _request(text)
    return work.store.find_network(request.name) or foreign.ensure(work, _labelled(request, id), "docker")


def delete_network(work: Work, id: str) -> None:
    """Forgets a network of Docker's; it goes, unless it was there before or others are in it. Twice is fine.

    Conflict while endpoints of Docker's are in it."""
    check_id(id, "network")
    with work.machine.lock():
        work.recover()
        text = work.store.get(_NETWORKS + id)
        found = work.store.find_network(_request(text).name) if text else None
        if found is not None:
            members = work.store.endpoints(found.name)
            mine = next((e for e in members if e.option(ENDPOINT)), None)
            if mine is not None:
                raise Conflict(f"network {found.name} is in use by {mine.container}")
            if dict(found.labels).get(foreign.DOCKER) == id:
                _let_go(work, found, bool(members))
        with work.store.write():
            work.store.take(_NETWORKS + id)
            for key, _ in work.store.below(f"{_ENDPOINTS}{id}/"):
                work.store.take(key)


def _let_go(work: Work, found: Network, used: bool) -> None:
    """A network that was made for Docker. One that others are in goes with the last of them."""
    if not used:
        network.drop(work, found)
        return
    with work.store.write():
        labels = tuple([pair for pair in found.labels if pair[0] != foreign.DOCKER])
        work.store.change_network(found._replace(labels=labels))


# endpoints


def create_endpoint(work: Work, network_id: str, id: str, told: Told) -> Endpoint:
    """Puts an endpoint on record; with addresses of the network's, and a MAC, where Docker gives none.

    NotFound, BadInput; Conflict when somebody has one of them, Exhausted. The same again is no error.
    """
    check_id(id, "endpoint")
    found = of_docker(work, network_id)
    join = Join(found.name, told.addresses, told.mac)
    check_join(join)
    with work.machine.lock():
        work.recover()
        key = f"{_ENDPOINTS}{network_id}/{id}"
        if work.store.get(key):
            _forget(work, key)
        endpoint, _ = container.decide_endpoint(work, found, f"docker:{id[:12]}", join, Claims(), ())
        addresses = [c.address for c in endpoint.addresses]
        kept = Told(tuple([str(a) for a in addresses]), endpoint.hardware)
        with work.store.write():
            _keep(work, key, kept)
            # Until it joins, nobody else is to choose them.
            work.store.rest(found.name, addresses, work.machine.uptime() + REST)
        return endpoint


def _keep(work: Work, key: str, told: Told) -> None:
    work.store.put(key, json.dumps([list(told.addresses), told.mac, told.container]))


def _told(work: Work, network_id: str, id: str) -> Told:
    text = work.store.get(f"{_ENDPOINTS}{check_id(network_id, 'network')}/{check_id(id, 'endpoint')}")
    if not text:
        raise NotFound(f"weft knows no endpoint {id[:12]} of Docker's")
    addresses, mac, name = json.loads(text)
    return Told(tuple(addresses), mac, name)


def join(work: Work, network_id: str, id: str, key: str) -> Joined:
    """Plugs an endpoint into its network for a sandbox: ``key`` is the path at which its namespace is to be.

    Again is anew. NotFound, BadInput, Conflict.
    """
    found = of_docker(work, network_id)
    told = _told(work, network_id, id)
    name = _sandbox_name(key)
    with work.machine.lock():
        work.recover()
        for one in {told.container, name} - {""}:
            _unplug(work, found, one)
        endpoint = _plug(work, found, name, key, told, id)
        with work.store.write():
            _keep(work, f"{_ENDPOINTS}{network_id}/{id}", told._replace(container=name))
    gateways = (
        {}
        if found.internal
        else {c.address.version: found.gateway_for(c.address) for c in endpoint.addresses}
    )
    shown = {version: str(address) for version, address in gateways.items()}
    prefix = found.option("ifname_prefix", "eth")
    return Joined(driver.handed_name(endpoint), prefix, shown.get(4, ""), shown.get(6, ""))


def _sandbox_name(key: str) -> str:
    """What a sandbox is called in networks: by the last part of its path, which is its id."""
    name = key.rpartition("/")[2]
    if (
        not key.startswith("/")
        or len(key) > 1000
        or "\0" in key
        or not 0 < len(name) <= 64
        or frozenset(name) - _ID
    ):
        raise BadInput(f"sandbox {key[:64]!a} is not a path of Docker's")
    return f"docker:{name}"


def _plug(work: Work, found: Network, name: str, key: str, told: Told, id: str) -> Endpoint:
    whole.check_network(work, found)
    members = connect.members_of(work, name)
    wish = Join(found.name, told.addresses, told.mac)
    others = [e for _, e in members]
    endpoint, _ = container.decide_endpoint(work, found, name, wish, Claims(), others)
    # The default route inside is Docker's to set.
    endpoint = endpoint._replace(options=((ENDPOINT, id), (DEFAULT_ROUTE, "false")))
    ops = [
        *whole.stale_links(work, [endpoint]),
        *container.shard_steps(work, [(found, endpoint)]),
        *driver.handed_wants(found, endpoint),
    ]

    def store() -> None:
        work.store.wake(work.machine.uptime(), REST)
        if not members:
            sandbox = Sandbox(work.store.root, name, "", created=work.machine.now(), target=key)
            work.store.add_container(sandbox, "running")
        work.store.add_endpoint(endpoint)
        container.note_shards(work, [(found, endpoint)])

    entry = work.make(CONNECT, f"{found.name}\n{name}", Plan(tuple(ops)), store)
    work.settle(entry, lambda: events.note_members(work, "connect", [endpoint]))
    return endpoint


def _unplug(work: Work, found: Network, name: str) -> None:
    """The lock is held; nothing when it is not plugged in."""
    if work.store.endpoint(name, found.name) is not None:
        sandbox = work.store.container(name)[0]
        try:
            connect.disconnect_locked(work, found, sandbox)
        finally:
            work.machine.unpin()


def delete_endpoint(work: Work, network_id: str, id: str) -> None:
    """Takes all of an endpoint away. One that is not known is fine: it is what was wanted."""
    check_id(network_id, "network")
    check_id(id, "endpoint")
    with work.machine.lock():
        work.recover()
        _forget(work, f"{_ENDPOINTS}{network_id}/{id}")


def _forget(work: Work, key: str) -> None:
    """An endpoint and all that was made for it; the lock is held."""
    network_id, _, id = key.removeprefix(_ENDPOINTS).partition("/")
    try:
        told, text = _told(work, network_id, id), work.store.get(_NETWORKS + network_id)
    except NotFound:
        return
    found = work.store.find_network(_request(text).name) if text else None
    place = work.store.endpoint(told.container, found.name) if found and told.container else None
    # Its sandbox may have been given another endpoint in this network since.
    if found is not None and place is not None and place.option(ENDPOINT) == id:
        _unplug(work, found, told.container)
    with work.store.write():
        work.store.take(key)


def place_of(work: Work, network_id: str, id: str) -> Endpoint | None:
    """An endpoint that is plugged in."""
    try:
        told, text = _told(work, network_id, id), work.store.get(_NETWORKS + network_id)
    except NotFound:
        return None
    found = work.store.endpoint(told.container, _request(text).name) if told.container and text else None
    return found if found is not None and found.option(ENDPOINT) == id else None


# ports


def publish_ports(work: Work, network_id: str, id: str, specs: Sequence[str]) -> None:
    """Publishes ports of an endpoint beside those that are. NotFound, Conflict, BadInput."""
    wanted = [p for spec in specs for p in parse_publish(spec)]
    endpoint = place_of(work, network_id, id)
    if endpoint is None:
        raise NotFound(f"weft knows no endpoint {id[:12]} of Docker's that has joined")
    there = set(endpoint.publish)
    kept = {(p.proto, p.host, p.port) for p in there}
    # What Docker left to weft, or to a range, was chosen when it first asked.
    fresh = [p for p in wanted if p not in there and (p.host_port or (p.proto, p.host, p.port) not in kept)]
    if fresh:
        publish.add(work, endpoint, fresh)


def revoke_ports(work: Work, network_id: str, id: str) -> None:
    """Takes all published ports of an endpoint back; none, or no endpoint, is fine."""
    endpoint = place_of(work, network_id, id)
    if endpoint is not None and endpoint.publish:
        publish.unpublish(work, endpoint.network, endpoint.container, [str(p) for p in endpoint.publish])


# names


def unnamed(work: Work) -> list[Sandbox]:
    """The sandboxes of which it is not known which container they are."""
    found = [
        s for s, _ in work.store.foreign() if s.name.startswith("docker:") and not dict(s.labels).get(NAME)
    ]
    return [s for s in found if any(e.option(ENDPOINT) for e in work.store.endpoints_of(s.name))]


def learn(work: Work, name: str) -> bool:
    """Asks Docker's files which container a sandbox is, and puts its names into its networks; whether that is
    known now."""
    if not work.store.has_container(name):
        return True
    sandbox = work.store.container(name)[0]
    try:
        inode = work.machine.namespace_at(sandbox.target)[1]
    except WeftError:
        return False  # its namespace is not there yet
    called, id = work.machine.docker_name(inode)
    with work.machine.lock():
        work.recover()
        if not work.store.has_container(name):
            return True
        labels = ((NAME, called), ("id", id)) if called else ()
        hostname = called.lower() if connect.is_hostname(called.lower()) else ""
        known = work.store.container(name)[0]._replace(inode=inode, labels=labels, hostname=hostname)
        ops = [
            op
            for found, endpoint in connect.members_of(work, name)
            for op in driver.names_want(known, endpoint, work.hosts_files(found.name))
        ]
        work.machine.apply(Plan(tuple(ops)), work.step)
        with work.store.write():
            work.store.set_foreign(known)
    return bool(called)


def gateway_text(text: str) -> str:
    """An address of Docker's, ``10.1.0.1/24``, without its prefix length. BadInput."""
    return str(parse_address(text.partition("/")[0], "address"))
