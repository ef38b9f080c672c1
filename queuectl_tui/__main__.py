"""The ``queuectl`` command, also as ``python -m queuectl_tui``."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    # A quarter of a short verb's time goes to collecting what imports made, which is never
    # garbage: no collection until the verb has what it needs (Session.run), none at exit.
    gc.disable()
    from .cli.main import run

    code = run(sys.argv[1:])
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
