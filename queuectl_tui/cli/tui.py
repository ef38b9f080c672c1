"""``queuectl tui``: the way into the operator console."""

from __future__ import annotations

import gc
import math
import sys

from ..interrupts import signals
from .declare import UsageError, option, verb
from .session import Session


@verb("tui", examples=("queuectl tui", "queuectl tui --read-only --refresh 5"))
@option("--read-only", is_flag=True, about="Without the keys that change anything.")
@option(
    "--refresh",
    metavar="S",
    kind=float,
    least=0.1,
    most=3600,
    default=1.0,
    about="Seconds between looks at the store; 1 if not given.",
)
@option("--no-mouse", is_flag=True, about="Leave the mouse to the terminal.")
def tui(session: Session, /, *, read_only: bool, refresh: float, no_mouse: bool) -> int:
    """Open the operator console: states, workers, the DLQ and jobs on one screen.

    Press ? in it for the keys.
    """
    if not math.isfinite(refresh):  # click lets nan pass: no comparison with it is true
        raise UsageError("--refresh: give a number of seconds")
    if session.json:
        raise UsageError("the console has no --json; see: queuectl status --json")
    if not session.err.terminal or sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("the console needs a terminal; see: queuectl status --watch")
    from queuectl_tui.console.run import run_console

    signals.give_back()  # it has handlers of its own, and can be left at any time
    gc.freeze()  # see __main__
    gc.enable()
    return run_console(session.store, read_only=read_only, refresh=refresh, mouse=not no_mouse)
