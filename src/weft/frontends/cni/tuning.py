"""The plug-in tuning: sysctls of the container, and its interface's MAC, MTU, flags and queue length.

What the interface had before is written down and put back by DEL, as the reference plug-in does.
"""

from __future__ import annotations

from weft.core.model import jsontext
from weft.core.model.errors import BadInput, NotFound
from weft.core.model.names import check_mac
from weft.core.ops.netns import Sysctl
from weft.core.ops.tune import LinkTune
from weft.core.plan.plan import Plan
from weft.core.record import Record
from weft.engine import attachment
from weft.engine.request import sysctl_path
from weft.frontends.cni import checking, config, interface
from weft.frontends.cni import result as res
from weft.frontends.cni.answer import BAD_CONFIG, Failure
from weft.frontends.cni.field import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.core.model.inside import SeenInterface
    from weft.core.ops.base import Op
    from weft.engine.work import Work
    from weft.frontends.cni.call import Call
    from weft.frontends.cni.field import Loose
    from weft.frontends.cni.result import Result

_DATA_DIR = "/run/cni/tuning"
_ALLOWED = "/etc/cni/tuning/allowlist.conf"
#: The keys under which the reference plug-in writes down what was; ip-link(8)'s words for them.
_SETTINGS = (
    ("mac", "address"),
    ("promisc", "promisc"),
    ("mtu", "mtu"),
    ("allmulti", "allmulticast"),
    ("txQLen", "txqueuelen"),
)


class Tuning(Record):
    """What is asked for: settings by ip-link(8)'s words."""

    sysctls: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    file: str


def read(conf: Loose, call: Call) -> Tuning:
    """The configuration. BadInput, Failure."""
    run, found = conf.get("runtimeConfig"), []
    mac = run.get("mac").text() or conf.get("args").get("cni").get("mac").text() or call.arg("MAC")
    mac = mac or conf.get("mac").text()
    if mac:
        found.append(("address", check_mac(mac)))
    if conf.get("mtu").full():
        found.append(("mtu", str(conf.get("mtu").number(68, 65535))))
    for key, word in (("promisc", "promisc"), ("allmulti", "allmulticast")):
        if conf.get(key):
            found.append((word, "on" if conf.get(key).flag() else "off"))
    if conf.get("txQLen"):
        found.append(("txqueuelen", str(conf.get("txQLen").number(0, (1 << 31) - 1))))
    folder = conf.get("dataDir").text(_DATA_DIR) or _DATA_DIR
    if not folder.startswith("/") or len(folder) > 1000:
        raise conf.get("dataDir").wrong(f"{folder[:64]!a} is not an absolute path")
    file = f"{folder.rstrip('/')}/{call.container}_{call.ifname}.json"
    return Tuning(_sysctls(conf, call), tuple(found), file)


def _sysctls(conf: Loose, call: Call) -> tuple[tuple[str, str], ...]:
    found = []
    for key, field in conf.get("sysctl").members():
        parts = key.split("/") if "/" in key else key.split(".")
        path = "/".join([call.ifname if part == "IFNAME" else part for part in parts])
        found.append(sysctl_path(path, field.text()))
    _check_allowed([path.replace("/", ".") for path, _ in found])
    return tuple(found)


def _check_allowed(keys: list[str]) -> None:
    """The administrator's list of regular expressions, where there is one (plugins/meta/tuning)."""
    from weft.wiring import exists, small_file

    if not keys or not exists(_ALLOWED):
        return
    import re

    lines = [line.strip() for line in small_file(_ALLOWED, "allowlist").splitlines()]
    try:
        patterns = [re.compile(line) for line in lines if line and not line.startswith("#")]
    except re.error as error:
        raise Failure(BAD_CONFIG, f"{_ALLOWED}: {error}") from None
    refused = next((key for key in keys if not any(p.match(key) for p in patterns)), None)
    if refused is not None:
        raise Failure(BAD_CONFIG, f"Sysctl {refused} is not allowed. Only the following sysctls are: {lines}")


def _link(call: Call) -> SeenInterface:
    from weft.wiring import look_inside

    found = look_inside(call.netns).link(call.ifname)
    if found is None:
        raise NotFound(f"failed to get {call.ifname!a}: Link not found")
    return found


def _value(link: SeenInterface, setting: str) -> str:
    flags = {"promisc": link.promisc, "allmulticast": link.allmulti}
    if setting in flags:
        return "on" if flags[setting] else "off"
    return {"address": link.mac, "mtu": str(link.mtu), "txqueuelen": str(link.txqlen)}[setting]


def add(work: Work, call: Call, conf: Loose) -> Result:
    """ADD: all of it, or none."""
    from weft.wiring import write_file

    before, wanted = res.need_previous(conf), read(conf, call)
    link = _link(call)
    settings = dict(wanted.settings)
    if settings:
        write_file(wanted.file, _kept(link, settings))
    mac = settings.pop("address", "")
    try:
        moved = bool(mac) and mac != link.mac and _own_mac(work, call, conf, mac)
        if mac and not moved:
            settings["address"] = mac
        ops: list[Op] = [
            LinkTune(call.ifname, key, value, _value(link, key), call.netns)
            for key, value in settings.items()
        ]
        ops += [Sysctl(key, value, netns=call.netns) for key, value in wanted.sysctls]
        work.machine.apply(Plan(tuple(ops)), work.step)
    except BaseException:
        _forget(wanted.file)
        raise
    return _told(call, before, mac, int(settings.get("mtu", "0")))


def _own_mac(work: Work, call: Call, conf: Loose, mac: str) -> bool:
    """A member of a weft network has its MAC from weft, whose guard would drop frames with another one."""
    name = config.name_of(conf)
    if not work.store.has_container(call.member) or work.store.endpoint(call.member, name) is None:
        return False
    attachment.change_mac(work, name, call.member, mac)
    return True


def _kept(link: SeenInterface, settings: dict[str, str]) -> bytes:
    found: dict[str, object] = {}
    for key, word in _SETTINGS:
        if word in settings:
            value = _value(link, word)
            found[key] = value == "on" if word in ("promisc", "allmulticast") else value
            if word in ("mtu", "txqueuelen"):
                found[key] = int(value)
    return jsontext.dump(found).encode()


def _told(call: Call, before: Result, mac: str, mtu: int) -> Result:
    links = []
    for one in before.interfaces:
        if one.name == call.ifname and one.sandbox:
            one = one._replace(mac=mac or one.mac, mtu=mtu or one.mtu)
        links.append(one)
    return before._replace(interfaces=tuple(links))


def _forget(file: str) -> None:
    from weft.wiring import remove_file

    remove_file(file)


def delete(work: Work, call: Call, conf: Loose) -> None:
    """DEL: what the interface had before, where it is there still."""
    from weft.wiring import exists, small_file

    wanted = read(conf, call)
    if not exists(wanted.file):
        return
    try:
        if call.netns:
            _put_back(work, call, conf, document(small_file(wanted.file, "dataDir").encode(), wanted.file))
    except (NotFound, BadInput):
        pass  # the namespace is gone, and what it had with it; or that is no file of ours
    _forget(wanted.file)


def _put_back(work: Work, call: Call, conf: Loose, was: Loose) -> None:
    link, ops = _link(call), []
    for key, word in _SETTINGS:
        field = was.get(key)
        if field and not (word == "address" and _is_member(work, call, conf)):
            flag = word in ("promisc", "allmulticast")
            value = ("on" if field.flag() else "off") if flag else str(field.value())
            value = check_mac(value) if word == "address" else value
            ops.append(LinkTune(call.ifname, word, value, _value(link, word), call.netns))
    for error in work.machine.revert(Plan(tuple(ops))):
        work.say(f"warning: {error}")


def _is_member(work: Work, call: Call, conf: Loose) -> bool:
    """Whether its MAC is weft's to give: it goes with its place in the network."""
    there = work.store.has_container(call.member)
    return there and work.store.endpoint(call.member, config.name_of(conf)) is not None


def check(work: Work, call: Call, conf: Loose) -> None:
    """CHECK."""
    from weft.wiring import sysctls_inside

    res.need_previous(conf)
    wanted = read(conf, call)
    link = _link(call)
    for word, value in wanted.settings:
        if _value(link, word) != value:
            raise checking.differs(
                f"Error: Tuning configured {word} is {value}, current value is {_value(link, word)}"
            )
    there = sysctls_inside(call.netns, [key for key, _ in wanted.sysctls])
    for (key, value), now in zip(wanted.sysctls, there, strict=True):
        if value.split() != now.split():
            raise checking.differs(
                f"Error: Tuning configured value of {key} is {value}, current value is {now}"
            )


def collect(work: Work, call: Call, conf: Loose) -> None:
    """GC: what was written down about interfaces that are no more."""
    from weft.wiring import folder_names

    valid = {f"{container}_{ifname}.json" for container, ifname in interface.attachments(conf)}
    folder = (conf.get("dataDir").text(_DATA_DIR) or _DATA_DIR).rstrip("/")
    for name in folder_names(folder) if folder.startswith("/") else ():
        if name.endswith(".json") and name not in valid:
            _forget(f"{folder}/{name}")
