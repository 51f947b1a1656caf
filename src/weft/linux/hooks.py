"""Hooks of a bundle that weft runs by itself (runtime-spec, config.md, POSIX-platform Hooks)."""

from __future__ import annotations

import os

from weft.core.model.errors import KernelError
from weft.core.oci.state import ContainerState, write_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from weft.core.model.oci import Hook

_SAID = 4096


def run(hooks: Iterable[Hook], kinds: tuple[str, ...], state: ContainerState) -> None:
    """Runs those of some kinds one after another, in the bundle, with the state on stdin.

    KernelError for the first that fails or takes longer than it may; those after it are not run.
    """
    for hook in hooks:
        if hook.kind in kinds:
            _run(hook, state)


def _run(hook: Hook, state: ContainerState) -> None:
    import subprocess

    env = dict([pair.partition("=")[::2] for pair in hook.env])
    try:
        done = subprocess.run(
            list(hook.args) or [hook.path],
            executable=hook.path,
            env=env,
            cwd=state.bundle or "/",
            input=write_state(state),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=hook.timeout or None,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise KernelError(f"{hook.kind} hook {hook.path!a} took longer than {hook.timeout} s") from None
    except OSError as error:
        raise KernelError(
            f"{hook.kind} hook {hook.path!a}: {os.strerror(error.errno or 0)}", error.errno or 0
        ) from None
    if done.returncode:
        said = done.stderr[-_SAID:].decode(errors="replace").strip()
        raise KernelError(f"{hook.kind} hook {hook.path!a} failed with status {done.returncode}", hint=said)
