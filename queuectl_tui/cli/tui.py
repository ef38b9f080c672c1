"""``queuectl tui``: the way into the operator console."""

from __future__ import annotations

import gc
import math
import sys

import click

from ..interrupts import signals
from .command import Session, pass_session, verb


@verb("tui", examples=("queuectl tui", "queuectl tui --read-only --refresh 5"))
@click.option("--read-only", is_flag=True, help="Without the keys that change anything.")
@click.option(
    "--refresh",
    metavar="S",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    help="Seconds between looks at the store; 1 if not given.",
)
@click.option("--no-mouse", is_flag=True, help="Leave the mouse to the terminal.")
@pass_session
@click.pass_context
def tui(
    ctx: click.Context, session: Session, /, *, read_only: bool, refresh: float, no_mouse: bool
) -> int:
    """Open the operator console: states, workers, the DLQ and jobs on one screen.

    Press ? in it for the keys.
    """
    if not math.isfinite(refresh):  # click lets nan pass: no comparison with it is true
        raise click.BadParameter("give a number of seconds", ctx, param_hint="'--refresh'")
    if session.json:
        raise click.UsageError("the console has no --json; see: queuectl status --json", ctx)
    if not session.err.terminal or sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("the console needs a terminal; see: queuectl status --watch", ctx)
    from queuectl_tui.app import run_console

    signals.give_back()  # it has handlers of its own, and can be left at any time
    gc.freeze()  # see __main__
    gc.enable()
    return run_console(session.store, read_only=read_only, refresh=refresh, mouse=not no_mouse)
