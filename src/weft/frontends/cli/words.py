"""Help, completion and the reference page: all made from the table in ``spec``."""

from __future__ import annotations

from weft import __version__
from weft.core.model import errors
from weft.core.model.errors import BadInput
from weft.frontends.cli import spec
from weft.frontends.cli.main import out, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weft.frontends.cli.args import Args
    from weft.frontends.cli.spec import Flag


def _flags(flags: tuple[Flag, ...]) -> str:
    rows = [(f"{names} {metavar}".rstrip(), said) for names, metavar, said in flags if metavar[:1] != "!"]
    width = min(max([len(left) for left, _ in rows], default=0), 34)
    return "".join([f"  {left.ljust(width)}  {said}\n" for left, said in rows])


def usage(command: str, shared: bool = True) -> str:
    """``weft COMMAND --help``; ``shared``: with the flags that every command has."""
    takes, flags, _, said, example = spec.COMMANDS.get(command) or spec.HIDDEN[command]
    own = f"\nflags:\n{_flags(flags)}" if flags else ""
    later = [f[0].split()[0] for f in flags if f[1][:1] == "!"]
    refused = f"\nnot yet (refused, exit 5): {' '.join(later)}\n" if later else ""
    head = f"usage: weft {command}{' [FLAGS]' if flags else ''} {takes}".rstrip()
    everywhere = f"\neverywhere:\n{_flags(spec.GLOBAL)}" if shared else ""
    return f"{head}\n{said}\n{own}{refused}{everywhere}\nexample:\n  {example}"


def overview(group: str = "") -> str:
    """``weft --help``, or the commands of one group."""
    names = [n for n in spec.COMMANDS if not group or n.startswith(f"{group} ")]
    width = max(len(n) for n in names or [""])
    rows = "".join([f"  {n.ljust(width)}  {spec.COMMANDS[n][3]}\n" for n in names])
    head = f"usage: weft {group or 'COMMAND'} ...\n\nDocker's networks without Docker.\n\ncommands:\n"
    later = [n for n in spec.NOT_YET if n.startswith(f"{group} ")] if group else []
    refused = f"\nnot yet (refused, exit 5): {', '.join(later)}\n" if later else ""
    example = next((c[4] for n, c in spec.COMMANDS.items() if n in names), "")
    tail = f"\neverywhere:\n{_flags(spec.GLOBAL)}\n`weft COMMAND --help` says more, with an example."
    return head + rows + refused + tail + (f"\n\nexample:\n  {example}" if example else "")


def version(args: Args) -> int:
    """``weft version``."""
    out(f"weft {__version__}")
    return 0


def _long(flags: tuple[Flag, ...]) -> list[str]:
    return [w for names, metavar, _ in flags if metavar[:1] != "!" for w in names.split() if w[:2] == "--"]


#: The commands of which the arguments are names under /run/netns.
_NAMED = "|".join([f'"ns {verb}"' for verb in "rm exec enter pids same forget".split()]) + "|wire"

#: Those of which the first is a network's and the second a container's.
_MEMBERS = "|".join([f'"net {verb}"' for verb in "connect disconnect publish unpublish".split()])


def _groups() -> dict[str, list[str]]:
    """The commands of two words: the first, with all that may follow."""
    found: dict[str, list[str]] = {}
    for name in spec.COMMANDS:
        group, _, verb = name.partition(" ")
        if verb:
            found.setdefault(group, []).append(verb)
    return found


def _bash() -> str:
    cases = "".join(
        [
            f'    "{name}") words="{" ".join(_long(c[1] + spec.GLOBAL))}";;\n'
            for name, c in spec.COMMANDS.items()
        ]
    )
    firsts = " ".join(dict.fromkeys(n.split()[0] for n in spec.COMMANDS))
    groups = _groups()
    verbs = "".join([f'    {group}) words="{" ".join(found)}";;\n' for group, found in groups.items()])
    one = "|".join(groups)
    return f"""_weft() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} cmd=${{COMP_WORDS[1]}} words=
  case "$cmd" in {one}) [ "$COMP_CWORD" -gt 2 ] && cmd="$cmd ${{COMP_WORDS[2]}}";; esac
  if [ "$COMP_CWORD" = 1 ]; then words="{firsts}"
  elif [[ " {one.replace("|", " ")} " == *" $cmd "* ]]; then case "$cmd" in
{verbs}  esac
  elif [[ $cur == -* ]]; then case "$cmd" in
{cases}  esac
  else case "$cmd" in
    attach|exec|inspect|kill|logs|port|rename|restart|rm|start|stop|wait) words=$(weft ps -a -q 2>/dev/null);;
    "net inspect"|"net rm"|"net edit") words=$(weft net ls -q 2>/dev/null);;
    {_MEMBERS}) if [ "$COMP_CWORD" = 3 ]; then words=$(weft net ls -q 2>/dev/null)
      else words=$(weft ps -a -q 2>/dev/null); fi;;
    {_NAMED}) words=$(ls /run/netns 2>/dev/null);;
    "switch "*) words=$(weft switch ls -q 2>/dev/null);;
    completion) words="bash zsh fish";;
  esac; fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _weft weft"""


def _zsh() -> str:
    return "#compdef weft\nautoload -U +X bashcompinit && bashcompinit\n" + _bash()


#: What follows a command in fish: (condition, words).
_FISH = (
    (
        "__fish_seen_subcommand_from attach exec inspect kill logs port rename restart rm start stop wait;"
        " and not __fish_seen_subcommand_from net",
        "(weft ps -a -q 2>/dev/null)",
    ),
    (
        "__fish_seen_subcommand_from net; and __fish_seen_subcommand_from inspect rm edit",
        "(weft net ls -q 2>/dev/null)",
    ),
    (
        "__fish_seen_subcommand_from connect disconnect publish unpublish",
        "(weft net ls -q 2>/dev/null; weft ps -a -q 2>/dev/null)",
    ),
    ("__fish_seen_subcommand_from completion", "bash zsh fish"),
    ("__fish_use_subcommand", "net ns switch link"),
)


def _fish() -> str:
    lines = []
    for name, (_, flags, _, said, _) in spec.COMMANDS.items():
        *group, verb = name.split()
        seen = f"__fish_seen_subcommand_from {group[0]}" if group else "__fish_use_subcommand"
        said = said.replace("'", r"\'")
        lines.append(f"complete -c weft -f -n '{seen}' -a {verb} -d '{said}'")
        for flag in _long(flags):
            lines.append(f"complete -c weft -n '__fish_seen_subcommand_from {verb}' -l {flag[2:]}")
    lines += [f"complete -c weft -f -n '{seen}' -a '{found}'" for seen, found in _FISH]
    lines += [f"complete -c weft -l {flag[2:]}" for flag in _long(spec.GLOBAL)]
    return "\n".join(lines)


def completion(args: Args) -> int:
    """``weft completion bash|zsh|fish``."""
    shells = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    if args.words[0] not in shells:
        raise BadInput(f"no completion for {args.words[0]!a}", "bash, zsh or fish")
    out(shells[args.words[0]]())
    return 0


_PAGE = """# Reference

Printed by `weft reference` from the table of commands (`src/weft/frontends/cli/spec.py`): do not edit.

## Everywhere

```
{everywhere}```

## Errors and exit status

Data goes to stdout, all else to stderr. An error is one line, `weft: error: MESSAGE`, and a line
`hint: WHAT TO DO` where there is one; with `--format json` it is
`{{"error": {{"code": "...", "message": "...", "hint": "..."}}}}`.

| exit | code | what it means |
|---|---|---|
{errors}

`run` and `exec`: until the command starts, the same with 125 in place of 1; then the command's own status,
128+N when it was killed by signal N.
"""


def _errors() -> str:
    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.WeftError)]
    lines = [(e.status, e.code, " ".join((e.__doc__ or "").partition("\n\n")[0].split())) for e in kinds]
    return "\n".join([f"| {status} | `{code}` | {said} |" for status, code, said in sorted(lines)])


def reference() -> str:
    """The reference page in Markdown: docs/reference.md is this text."""
    parts = [_PAGE.format(everywhere=_flags(spec.GLOBAL), errors=_errors())]
    for name in spec.COMMANDS:
        parts.append(f"\n## weft {name}\n\n```\n{usage(name, shared=False)}\n```\n")
    parts.append(
        "\n## Not yet\n\nRefused with exit 5: " + ", ".join([f"`{n}`" for n in spec.NOT_YET]) + ".\n"
    )
    return "".join(parts)


def page(args: Args) -> int:
    """``weft reference``."""
    put(reference())
    return 0
