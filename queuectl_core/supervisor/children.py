"""Children that stay while nobody waits for them. Each must be reaped when it exits, or it remains
a zombie for as long as we live: a supervisor, the console, or a program that embeds us."""

from __future__ import annotations

import subprocess
import threading

_unreaped: list[subprocess.Popen[bytes]] = []
"""Those that no thread waits for; asked now and then whether they have exited."""


def reap_later(process: subprocess.Popen[bytes]) -> None:
    """See to it that ``process`` is reaped when it exits, whenever that is."""
    _unreaped[:] = [one for one in _unreaped if one.poll() is None]
    try:
        threading.Thread(target=process.wait, daemon=True).start()
    except RuntimeError:  # the host refuses a thread
        _unreaped.append(process)
