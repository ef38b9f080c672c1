"""``queuectl completion``, and what its script asks for."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .command import Session, pass_session, verb

SHELLS = ("bash", "zsh", "fish")


@verb(
    "completion",
    examples=(
        'eval "$(queuectl completion bash)"      # in ~/.bashrc',
        'eval "$(queuectl completion zsh)"       # in ~/.zshrc',
        "queuectl completion fish > ~/.config/fish/completions/queuectl.fish",
    ),
)
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
@pass_session
@click.pass_context
def completion(ctx: click.Context, session: Session, /, shell: str) -> None:
    """Print a script to source, for bash, zsh or fish. It completes verbs, options, job and
    worker ids, states and settings."""
    from .main import COMPLETE, PROGRAM, root

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click knows these three
    script = found(root, {"obj": session}, PROGRAM, COMPLETE).source().strip()
    if session.json:
        session.out.json({"shell": shell, "script": script})
    else:
        session.out.line(script)


def complete(root: click.Command, session: Session, instruction: str) -> int:
    """Answer the script: ``instruction`` is what it put in the environment."""
    from .main import COMPLETE, PROGRAM

    shell, _, verb_ = instruction.rpartition("_")
    found = get_completion_class(shell)
    if found is None:
        return 1
    maker = found(root, {"obj": session}, PROGRAM, COMPLETE)
    session.out.line(maker.complete() if verb_ == "complete" else maker.source())
    return 0
