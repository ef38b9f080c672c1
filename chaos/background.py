"""A detached supervisor with the campaign's additions, run by its path in place of queuectl's."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    from chaos.agent import put_in_seams

    put_in_seams()
    from queuectl_core.supervisor.__main__ import main

    sys.exit(main())
