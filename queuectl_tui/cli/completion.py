"""``queuectl completion``, and the answers to its script."""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    split_arg_string,
)

from .declare import Noun, argument, verb
from .session import COMPLETE, PROGRAM, Session

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" prefix="" word completion value found
    # Bash takes "a:b" for three words and replaces only the last: leave out what is before it.
    word="${line##*[[:space:]]}"
    word="${word##*=}"
    [[ $COMP_WORDBREAKS == *:* ]] && prefix="${word%%"${word##*:}"}"
    COMPREPLY=()
    found=$(env COMP_WORDS="$line" COMP_CWORD=-1 %(complete_var)s=bash_complete "$1")
    for completion in $found; do
        value="${completion#*,}"
        case "${completion%%%%,*}" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$prefix"}") ;;
        esac
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Reads the line as it is typed: bash splits words at a colon, which an id may contain."""

    source_template = _BASH

    def source(self) -> str:
        return ShellComplete.source(self)  # without starting a bash to ask for its version

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_WORDS", "")
        if os.environ.get("COMP_CWORD") != "-1":  # a script that an older version printed
            return super().get_completion_args()
        words = split_arg_string(line)
        if not words or line[-1:].isspace():
            return words[1:], ""
        return words[1:-1], words[-1]


class _Zsh(ZshComplete):
    """Also works in a shell whose start-up file does not call compinit."""

    source_template = ZshComplete.source_template.replace(
        "    compdef ",
        "    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }\n    compdef ",
    )


class _Fish(FishComplete):
    """Splits at the first comma only: values and descriptions may contain commas."""

    source_template = FishComplete.source_template.replace(
        'string split "," ', 'string split -m 1 "," '
    )


CLASSES: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


@verb(
    "completion",
    examples=(
        'eval "$(queuectl completion bash)"      # in ~/.bashrc',
        'eval "$(queuectl completion zsh)"       # in ~/.zshrc',
        "queuectl completion fish > ~/.config/fish/completions/queuectl.fish",
    ),
)
@argument("shell", metavar="SHELL", choices=tuple(CLASSES))
def completion(session: Session, /, shell: str) -> None:
    """Print a script to source, for bash, zsh or fish. It completes verbs, options, job and
    worker ids, states and settings."""
    root = click.get_current_context().find_root().command
    script = CLASSES[shell](root, {"obj": session}, PROGRAM, COMPLETE).source().strip()
    if session.json:
        session.out.json({"shell": shell, "script": script})
    else:
        session.out.line(script)


def answer(session: Session, root: Noun, instruction: str) -> int:
    """Answer the script. ``instruction``: what it has put in the environment."""
    from .command import built

    shell, _, verb_ = instruction.rpartition("_")
    found = CLASSES.get(shell)
    if found is None:
        return 1
    maker = found(built(root, is_root=True), {"obj": session}, PROGRAM, COMPLETE)
    session.out.line(maker.complete() if verb_ == "complete" else maker.source())
    return 0
