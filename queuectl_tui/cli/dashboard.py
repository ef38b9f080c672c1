"""``queuectl dashboard``: the way into the browser dashboard."""

from __future__ import annotations

import gc

from queuectl_core.domain.errors import QueueError

from ..interrupts import signals
from .declare import FILE, UsageError, option, verb
from .output import StdoutClosed, StdoutFailed
from .session import Session


@verb(
    "dashboard",
    examples=(
        "queuectl dashboard",
        "queuectl dashboard --listen 127.0.0.1:8080 --read-only",
        "queuectl dashboard --listen 0.0.0.0:3000 --token-file token --name queue.example.org",
    ),
)
@option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:3000",
    about="Where to listen; 127.0.0.1:3000 if not given.",
)
@option("--read-only", is_flag=True, about="Refuse every change, and show no buttons.")
@option("--open", dest="open_browser", is_flag=True, about="Open it in the browser.")
@option(
    "--token-file",
    metavar="FILE",
    complete=FILE,
    about="A file with the token to sign in with, and for programs. Needed to listen for others.",
)
@option(
    "--name",
    dest="names",
    metavar="NAME",
    multiple=True,
    about="A further name by which browsers ask for it, as behind a proxy; repeatable.",
)
def dashboard(
    session: Session,
    /,
    *,
    listen: str,
    read_only: bool,
    open_browser: bool,
    token_file: str | None,
    names: tuple[str, ...],
) -> int:
    """Serve the browser dashboard and the HTTP API until ctrl-c or SIGTERM.

    It prints a link that signs one browser in. Only this machine can connect, unless --listen says
    otherwise. With --token-file the token in the file signs in, again and again, and programs send
    it as "Authorization: Bearer TOKEN" to /api/v1 (described at /api/v1/openapi.json).
    """
    if session.json:
        raise UsageError("the dashboard has no --json; its API is at /api/v1")
    try:
        from queuectl_web.server import Options, serve
    except ImportError as error:
        raise QueueError(
            f"the dashboard needs the package {error.name}",
            "in the clone of queuectl, run: make, or: pip install '.[web]'",
        ) from None
    from .session import run_loop

    signals.give_back()  # it has handlers of its own
    gc.freeze()  # see __main__
    gc.enable()
    options = Options(session.store, listen, read_only, token_file, names, open_browser)

    def say(text: str) -> None:
        try:
            session.out.line(text)
            session.out.flush()
        except (StdoutClosed, StdoutFailed):
            session.err.line(text)

    return run_loop(lambda: serve(options, say=say, warn=session.err.warn, debug=session.err.debug))
