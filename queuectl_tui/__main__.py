"""The ``queuectl`` command, also as ``python -m queuectl_tui``."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    try:
        from .interrupts import signals

        signals.install()
    except KeyboardInterrupt:
        os.write(2, b"queuectl: interrupted\n")
        os._exit(130)
    use_utf8()
    # Collecting garbage takes a quarter of a short verb's time, and what imports make is never
    # garbage. So there is no collection until the store is open (Session.run), and none at exit.
    gc.disable()
    from .cli.main import run

    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # the signal came just before the verb began, or just after it ended
        signals.leave()
        raise
    gc.freeze()
    return code


def use_utf8() -> None:
    """Make sure that text on the command line, in the environment and in paths is read as UTF-8,
    whatever the locale: a job runs the bytes that were typed, also on a host with another locale.

    Python decides this when it starts (it does so for the locale C), so we start it again.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding().lower() == "utf-8":
        if "utf8" in sys._xoptions and "PYTHONIOENCODING" not in os.environ:
            _write_as_locale()
    elif sys.executable:
        words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        try:
            os.execv(sys.executable, words)  # noqa: S606
        except OSError:
            pass  # without UTF-8 it works for most text


def _write_as_locale() -> None:
    """Write in the encoding of the terminal, and characters that it does not have as escapes."""
    import locale

    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(encoding=locale.getencoding(), errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
