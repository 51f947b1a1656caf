"""OCI bundles: one to be run by weft, and what weft runs in a bundle's words."""

from __future__ import annotations

from weft.core.model.errors import BadInput, Unsupported
from weft.core.model.oci import RUNTIME, RUNTIME_DIR, Hook, Namespace, Spec
from weft.core.oci.export import OWN, absolute, said, without_notes
from weft.core.oci.read import read
from weft.engine.hook import networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.model.oci import Seccomp
    from weft.core.model.publish import Publish
    from weft.engine.request import Join, RunRequest

_RUN_NETNS = "/run/netns"
_STAGES = ("createRuntime", "poststop")
_HOOK = "oci-hook"


def load(data: bytes, directory: str, say: Callable[[str], None]) -> tuple[Spec, list[str], dict[str, str]]:
    """The container of a bundle's config.json; the networks that it asks weft's hook for, and what else.

    Weft's own hook is not in it any more: where weft runs the bundle there is nothing for it to do.
    BadInput, Unsupported.
    """
    found = read(data, directory)
    for remark in found.remarks:
        say(f"warning: {directory}/config.json: {remark}")
    notes = {k.removeprefix(OWN): v for k, v in found.spec.annotations if k.startswith(OWN)}
    hooks = tuple([hook for hook in found.spec.hooks if hook.args[1:2] != (_HOOK,)])
    spec = without_notes(found.spec)._replace(hooks=hooks)
    return spec, networks(notes.get("network", "")), notes


def check_own(spec: Spec) -> None:
    """Unsupported for what another runtime does, but weft by itself does not."""
    if spec.hooks:
        kind = spec.hooks[0].kind
        raise Unsupported(f"hooks.{kind}: weft runs no hooks by itself", "`--runtime runc` does")


def network_mode(spec: Spec) -> str:
    """What a bundle says about its network: "" for a new one, which weft's networks are for; ``host`` for the
    host's; else the path of the one that it joins."""
    net = spec.namespace("net")
    return "host" if net is None else net.path


def with_runtime(spec: Spec, runtime: str, run_dir: str) -> Spec:
    """To be started by another runtime, which keeps its files below ``run_dir``."""
    notes = ((RUNTIME, runtime), (RUNTIME_DIR, f"{run_dir}/oci"))
    return spec._replace(annotations=(*spec.annotations, *notes))


def described(request: RunRequest, spec: Spec, program: str, filter: Seccomp | None) -> Spec:
    """What ``weft spec`` writes: ``spec``, with a hook of weft's that connects it to the networks of the
    request. ``filter`` is what its seccomp filter says. BadInput for what another runtime cannot know."""
    asks = [n for n in spec.namespaces if n.path.startswith("container:")]
    if asks:
        raise BadInput(f"--{asks[0].type} {asks[0].path}: a config.json cannot name weft's containers")
    kept = tuple([n for n in spec.namespaces if n.type != "net"])
    kind, _, donor = request.mode.partition(":")
    net = Namespace("net", f"{_RUN_NETNS}/{donor}" if donor else "")
    named = any(n.type == "uts" for n in kept)
    spec = without_notes(spec)._replace(
        namespaces=kept if kind == "host" else (net, *kept),
        hostname=(spec.hostname or request.hostname or request.name) if named else "",
        cgroups_path=absolute(spec.cgroups_path),
    )
    if not request.mode:
        hooks = [Hook(stage, program, ("weft", _HOOK)) for stage in _STAGES]
        spec = spec._replace(hooks=(*spec.hooks, *hooks), annotations=(*spec.annotations, *_notes(request)))
    return said(spec, filter)


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
    words = ",".join([f"{key}={value}" for key, value in options if value])
    return f"{join.network}:{words}" if words else join.network


def _port(one: Publish) -> str:
    """As ``-p`` takes it."""
    outer = f"{one.low}-{one.high}" if one.low and not one.host_port else str(one.host_port or "")
    return f"{one.shown}:{outer}:{one.port}/{one.proto}"
