"""OCI bundles: one to be run by weft, and what weft runs in a bundle's words."""

from __future__ import annotations

from weft.core.model.errors import BadInput, Unsupported
from weft.core.model.oci import Hook, Namespace, Spec
from weft.core.oci.read import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.model.oci import Seccomp
    from weft.core.model.publish import Publish
    from weft.engine.request import Join, RunRequest

#: Hooks that weft does not run, since they belong inside of the container.
_INSIDE = ("createContainer", "startContainer")
_RUN_NETNS = "/run/netns"
_STAGES = ("createRuntime", "poststop")


def load(data: bytes, directory: str, say: Callable[[str], None]) -> Spec:
    """The container of a bundle's config.json. BadInput, Unsupported."""
    found = read(data, directory)
    for remark in found.remarks:
        say(f"warning: {directory}/config.json: {remark}")
    return found.spec


def check_own(spec: Spec) -> None:
    """Unsupported for what another runtime does, but weft itself does not."""
    kind = next((hook.kind for hook in spec.hooks if hook.kind in _INSIDE), "")
    if kind:
        raise Unsupported(f"hooks.{kind}: weft runs no hooks inside of a container", "`--runtime runc` does")


def network_mode(spec: Spec) -> str:
    """What a bundle says about its network, as ``RunRequest.mode``: "" for one of its own, which weft's
    networks are for; ``host``; or ``path:`` and the namespace that it joins."""
    net = spec.namespace("net")
    if net is None:
        return "host"
    return f"path:{net.path}" if net.path else ""


def check_networks(spec: Spec, given: bool) -> None:
    """BadInput when networks are asked for (``given``) and the bundle has settled on another one."""
    mode = network_mode(spec)
    if mode and given:
        where = "the host's network" if mode == "host" else mode.partition(":")[2]
        raise BadInput(
            f"--network conflicts with the bundle's config.json: it is in {where}",
            "linux.namespaces must have a network without a path",
        )


def for_runtime(spec: Spec, name: str, default: Callable[[Spec], Seccomp]) -> Spec:
    """A container as a config.json can say it: with the ``default`` filter's rules, in a cgroup of its own.

    BadInput for one on the host's files, which other runtimes cannot change to.
    """
    if not spec.root:
        raise BadInput(
            "another runtime needs a directory as root: it cannot run on the host's files",
            "give --rootfs DIR",
        )
    return _said(spec, default)._replace(
        cgroups_path=_absolute(spec.cgroups_path or f"weft/{name}"), init=False
    )


def _said(spec: Spec, default: Callable[[Spec], Seccomp]) -> Spec:
    if spec.filter == "default":
        spec = spec._replace(filter="given", seccomp=default(spec))
    return spec._replace(init=False)


def _absolute(path: str) -> str:
    """As config-linux.md has it: from the root of the hierarchy."""
    return path if path.startswith("/") else f"/{path}"


def described(request: RunRequest, spec: Spec, program: str, default: Callable[[Spec], Seccomp]) -> Spec:
    """What ``weft spec`` writes: ``spec``, with a hook of weft's that connects it to the networks of the
    request."""
    kept = tuple([n for n in spec.namespaces if n.type != "net"])
    kind, _, donor = request.mode.partition(":")
    net = Namespace("net", f"{_RUN_NETNS}/{donor}" if donor else "")
    spec = spec._replace(
        namespaces=kept if kind == "host" else (net, *kept),
        hostname=spec.hostname or request.hostname or request.name,
        cgroups_path=_absolute(spec.cgroups_path) if spec.cgroups_path else "",
    )
    if not request.mode:
        hooks = [Hook(stage, program, ("weft", "oci-hook")) for stage in _STAGES]
        spec = spec._replace(hooks=(*spec.hooks, *hooks), annotations=(*spec.annotations, *_notes(request)))
    return _said(spec, default)


def _notes(request: RunRequest) -> list[tuple[str, str]]:
    """The annotations that weft's hook reads (engine/hook.py)."""
    notes = [("weft.network", ";".join([_network(join) for join in request.joins]))]
    if request.publish:
        notes.append(("weft.publish", ";".join([_port(one) for one in request.publish])))
    if request.hostname:
        notes.append(("weft.hostname", request.hostname))
    return notes


def _network(join: Join) -> str:
    options = [
        *[("ip", text) for text in join.addresses],
        ("mac", join.mac),
        *[("alias", text) for text in join.aliases],
        ("ifname", join.ifname),
        ("gw-priority", str(join.priority) if join.priority else ""),
        *[("sysctl", f"{key}={value}") for key, value in join.sysctls],
        *[("route", text) for text in join.routes],
    ]
    said = ",".join([f"{key}={value}" for key, value in options if value])
    return f"{join.network}:{said}" if said else join.network


def _port(one: Publish) -> str:
    """As ``-p`` takes it."""
    outer = f"{one.low}-{one.high}" if one.low and not one.host_port else str(one.host_port or "")
    return f"{one.shown}:{outer}:{one.port}/{one.proto}"
