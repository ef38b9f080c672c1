"""The shim with the campaign's clock: run by path in its place, with the same arguments. One of
some begins late, as it may on a busy host: its supervisor can be dead and succeeded by then."""

from __future__ import annotations

import os
import random
import runpy
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LATE = 8
"""One of so many shims begins late."""
LATE_BY = 1.5
"""Seconds, at the most."""

if __name__ == "__main__":
    if random.randrange(LATE) == 0:
        time.sleep(random.uniform(0.0, LATE_BY))
    sys.path.insert(0, str(ROOT))  # it is run with -I, as the shim is
    from chaos.agent import move_clock

    sys.path.remove(str(ROOT))
    move_clock(Path(os.environ["CHAOS_CLOCK"]))
    runpy.run_path(str(ROOT / "queuectl_core" / "runner" / "__main__.py"), run_name="__main__")
